"""A small threaded HTTPS server on the loopback interface: keep-alive, chunked bodies, no redirects.

The TLS handshake happens in the connection's own thread, so that a client which connects and says nothing
stops nobody else; Nagle's algorithm is off, since it would cost 40 ms per reply.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from infra.local.gateway.messages import HttpReply, HttpRequest, refusal

LOOPBACK = "127.0.0.1"
HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 120.0
# API Gateway's limit; smaller bodies are the app's to judge.
MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_CHUNK_LINE = 1024
NO_BODY_STATUSES = frozenset({204, 304})

Answer = Callable[[HttpRequest], HttpReply]


class _UnreadableBodyError(Exception):
    """The body cannot be taken; the connection ends after the reply, since its end is unknown."""

    def __init__(self, reply: HttpReply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class GatewayServer(ThreadingHTTPServer):
    """Serves `answer` over TLS; `server_port` tells the port if 0 was asked for."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    # Two servers on one port would share its connections at random.
    allow_reuse_port = False

    def __init__(self, port: int, certificate: Path, key: Path, answer: Answer) -> None:
        self.answer = answer
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(certificate, key)
        super().__init__((LOOPBACK, port), _Handler)

    def server_bind(self) -> None:
        """Without the base class's name lookup, which waits for a resolver that may not be there."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's thread: handshake, then the requests of the connection."""
        request.settimeout(HANDSHAKE_SECONDS)
        try:
            secured = self._tls.wrap_socket(request, server_side=True)
        except OSError:
            self.shutdown_request(request)
            return
        secured.settimeout(IDLE_SECONDS)
        super().process_request_thread(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is one line without the request in it."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"connection ended by {type(error).__name__}", file=sys.stderr, flush=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered writes: head and body leave in one segment when the request is done.
    wbufsize = -1
    server: GatewayServer

    def __getattr__(self, name: str) -> Any:
        # The base class looks a method up by name; unknown methods are the app's to refuse.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        try:
            body = self._read_body()
        except _UnreadableBodyError as error:
            self.close_connection = True
            self._write(error.reply)
            return
        # Not `path`: the base class takes leading slashes away there, and the app would never see them.
        target = self.requestline.split()[1]
        request = HttpRequest(self.command, target, tuple(self.headers.items()), body)
        self._write(self.server.answer(request))

    def _read_body(self) -> bytes:
        encoding = self.headers.get_all("Transfer-Encoding") or []
        lengths = self.headers.get_all("Content-Length") or []
        if encoding and lengths:
            raise _UnreadableBodyError(refusal(400, "Both Content-Length and Transfer-Encoding are given."))
        if encoding:
            if [value.strip().lower() for value in encoding] != ["chunked"]:
                raise _UnreadableBodyError(refusal(501, "Only the chunked transfer encoding is supported."))
            return self._read_chunks()
        if not lengths:
            return b""
        if len(set(lengths)) > 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            raise _UnreadableBodyError(refusal(400, "Content-Length is not one whole number."))
        length = int(lengths[0])
        if length > MAX_BODY_BYTES:
            raise _too_large()
        return self._read_exactly(length)

    def _read_chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while True:
            size = self._read_chunk_size()
            total += size
            if total > MAX_BODY_BYTES:
                raise _too_large()
            if size == 0:
                break
            parts.append(self._read_exactly(size))
            if self._read_exactly(2) != b"\r\n":
                raise _bad_chunk()
        while (line := self.rfile.readline(MAX_CHUNK_LINE)) != b"\r\n":
            if not line.endswith(b"\r\n"):
                raise _bad_chunk()
        return b"".join(parts)

    def _read_chunk_size(self) -> int:
        line = self.rfile.readline(MAX_CHUNK_LINE)
        digits = line.partition(b";")[0].strip()
        if not line.endswith(b"\r\n") or not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise _bad_chunk()
        return int(digits, 16)

    def _read_exactly(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) != length:
            raise _UnreadableBodyError(refusal(400, "The request body ended early."))
        return body

    def _write(self, reply: HttpReply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.status not in NO_BODY_STATUSES:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and reply.status not in NO_BODY_STATUSES:
            self.wfile.write(reply.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The base class's own refusals (request line, header size) as a Status without the input."""
        self.close_connection = True
        phrase = HTTPStatus(code).phrase
        self._write(refusal(int(code), f"The HTTP request could not be read: {phrase}."))

    def handle_expect_100(self) -> bool:
        """Let the client go on with its body; without the flush it would wait for a second."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """No access log here: the app writes one line per request."""


def _too_large() -> _UnreadableBodyError:
    return _UnreadableBodyError(refusal(413, "The request body is larger than 10 MB."))


def _bad_chunk() -> _UnreadableBodyError:
    return _UnreadableBodyError(refusal(400, "The chunked request body is malformed."))
