"""Serving a cluster over TLS: in the foreground for the stack, in a thread for tests."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

import uvicorn

from infra.local.kube.cluster import Cluster

_START_SECONDS = 10
_LAST_WORDS_SECONDS = 0.05  # for answers and watches to finish when the server ends


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback address; port 0 takes a free one. OSError if the port is in use."""
    # With its protocol named: asyncio turns Nagle's algorithm off only for sockets that say they are TCP.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


class _Server(uvicorn.Server):
    """uvicorn that tells when it accepts requests, and that ends watches instead of waiting for them."""

    def __init__(self, cluster: Cluster, certificate: Path, key: Path) -> None:
        self._cluster = cluster
        config = uvicorn.Config(
            cluster.app,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
            # The application says it, by the cluster's clock and not up to a second old.
            date_header=False,
        )
        super().__init__(config)

        self.on_start: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._cluster.close()
        await asyncio.sleep(_LAST_WORDS_SECONDS)
        self.force_exit = True  # what is still open now belongs to clients that do not read
        await super().shutdown(sockets)


def serve(cluster: Cluster, port: int, certificate: Path, key: Path) -> None:
    """Serves until SIGTERM or SIGINT; prints one JSON line once requests are accepted."""
    with listen(port) as sock:
        server = _Server(cluster, certificate, key)

        def stop(signum: int, frame: FrameType | None) -> None:
            server.should_exit = True

        def announce() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            bound = sock.getsockname()[1]
            ready = {"ready": True, "port": bound, "url": f"https://127.0.0.1:{bound}"}
            print(json.dumps(ready), flush=True)

        server.on_start = announce
        asyncio.run(server.serve(sockets=[sock]))


class ThreadedServer:
    """A cluster on a free port, in a thread of its own. Use as a context manager; `url` is its address."""

    def __init__(self, cluster: Cluster, certificate: Path, key: Path, port: int = 0) -> None:
        self.cluster = cluster
        self._socket = listen(port)
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = _Server(cluster, certificate, key)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kube-api", daemon=True)

    def __enter__(self) -> ThreadedServer:
        self._thread.start()
        if not self._started.wait(_START_SECONDS) or not self._server.started:
            raise RuntimeError("the in-memory Kubernetes API did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        self._server.on_start = self._started.set
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._started.set()  # so that nobody waits for a server that failed
