"""An HTTP/1.1 server for the place of an API server: it keeps what came byte for byte, and answers as told.

It parses no more than framing, so that neither side's library can hide what was on the wire. The listener's
own Leases it keeps itself: what is asked of them in nobody's name is not among the requests.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from io import BufferedIOBase

from tests.unit.scripted_api_server import SeenRequest
from tests.unit.scripted_leases import ScriptedLeases

_NO_BODY = frozenset({204, 304})
NAMESPACE = "daas-system"
"""The listener's own."""
_OWN = (
    f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
    f"/api/v1/namespaces/{NAMESPACE}/secrets/",
)


@dataclass(frozen=True)
class WireRequest:
    """One request as it was on the wire; header values are Latin-1, as HTTP has them."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header, by case-insensitive name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True)
class WireReply:
    """What is put on the wire; framing is added."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b"{}"


class WireServer:
    """`requests` is everything that came; `answer` decides on each reply, in the connection's
    thread; without one, the connection ends. `own` are the listener's objects."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[WireRequest] = []
        self.answer: Callable[[WireRequest], WireReply | None] = lambda _: WireReply()
        self.own = ScriptedLeases()

    def serve(self, lines: BufferedIOBase, out: BufferedIOBase) -> bool:
        """One request and its reply; whether another may follow."""
        head = _head(lines)
        if not head:
            return False
        method, target, _version = head[0].split(" ")
        headers = tuple(
            (name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:])
        )
        request = WireRequest(method, target, headers, b"")
        [length] = request.values("Content-Length") or ["0"]
        assert not request.values("Transfer-Encoding"), "the listener knows how long its bodies are"
        request = WireRequest(method, target, headers, lines.read(int(length)))
        reply = self._about_own(request)
        if reply is None:
            self.requests.append(request)
            reply = self.answer(request)
        if reply is None:
            return False
        out.write(_encoded(reply, method))
        out.flush()
        return True

    def _about_own(self, request: WireRequest) -> WireReply | None:
        """The reply to what the listener asks in its own name; None for all that it asks for others."""
        if request.values("Impersonate-User") or not request.target.startswith(_OWN):
            return None
        seen = SeenRequest(request.method, request.target, list(request.headers), request.body)
        reply = self.own.reply(seen)
        assert reply is not None
        # The API server's clock is the listener's.
        headers = (("Content-Type", "application/json"), ("Date", formatdate(usegmt=True)))
        return WireReply(reply.status, headers, reply.body)


def _head(lines: BufferedIOBase) -> list[str]:
    """Request line and header lines; none if the connection is at its end."""
    found = []
    while (line := lines.readline()) not in (b"\r\n", b""):
        assert line.endswith(b"\r\n"), f"a bare line feed: {line!r}"
        found.append(line[:-2].decode("latin-1"))
    return found


def _encoded(reply: WireReply, method: str) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in reply.headers)]
    bodiless = reply.status in _NO_BODY
    if not bodiless:
        lines.append(f"Content-Length: {len(reply.body)}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if bodiless or method == "HEAD" else head + reply.body


@contextmanager
def wire_server() -> Iterator[WireServer]:
    """A running server on a free port of the loopback interface."""

    class Handler(socketserver.StreamRequestHandler):
        wbufsize = -1
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while served.serve(self.rfile, self.wfile):
                pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    server = Server(("127.0.0.1", 0), Handler)
    served = WireServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
