"""An API server that answers as a test tells it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain

from cryptography import x509
from cryptography.x509.oid import NameOID
from kubernetes.client import Configuration


@dataclass(frozen=True)
class SeenRequest:
    """A request as the API server got it, headers in their order."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class ScriptedReply:
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("Content-Type", "application/json"),)
    body: bytes = b'{"kind":"PodList"}'
    hang_up: bool = False
    chunks: Iterable[bytes] | None = None
    """In the place of `body`: sent one by one, as they come."""


class ScriptedApiServer:
    """An HTTP/1.1 server that records requests and answers as told; `before_reply` runs in its thread."""

    def __init__(self) -> None:
        self.seen: list[SeenRequest] = []
        self.reply: Callable[[SeenRequest], ScriptedReply] = lambda _: ScriptedReply()
        self.connections = 0
        self.peers: list[str] = []
        """The common name of each request's client certificate; only with TLS that asks for one."""
        self.now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    @property
    def configuration(self) -> Configuration:
        return Configuration(host=f"http://127.0.0.1:{self.port}")

    port = 0


@contextmanager
def scripted_api_server(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedApiServer]:
    script = ScriptedApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            script.connections += 1
            super().setup()

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            # As on the wire: the library's own `path` leaves out slashes.
            target = self.requestline.split(" ")[1]
            request = SeenRequest(self.command, target, list(self.headers.items()), self.rfile.read(length))
            script.seen.append(request)
            if isinstance(self.connection, ssl.SSLSocket):
                script.peers += _common_names(self.connection)
            reply = script.reply(request)
            if reply.hang_up:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            if reply.chunks is not None:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for chunk in chain(reply.chunks, [b""]):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                return
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  the library's names

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(script.now_ms() // 1000)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        # The handshake belongs to the connection's thread.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    script.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _common_names(connection: ssl.SSLSocket) -> list[str]:
    der = connection.getpeercert(binary_form=True)
    if der is None:
        return []
    subject = x509.load_der_x509_certificate(der).subject
    return [str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
