"""A kubo node's HTTP API, and a gateway in front of it, as far as bodies need them: raw blocks in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Kubo:
    """Made by `kubo_node`. Blocks are kept under their content ids."""

    port: int
    blocks: dict[str, bytes] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    forced_key: str | None = None
    """What it says that it stored."""
    gives_out: Callable[[bytes], bytes | None] = lambda block: block
    """What its gateway makes of a block; None: it has none."""
    forced_status: int | None = None
    failures: int = 0
    """How many further calls it breaks off without an answer."""
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, query: dict[str, list[str]], data: bytes) -> tuple[int, bytes]:
        """Of the API."""
        if method != "block/put":
            return 404, b""
        assert (query["cid-codec"], query["mhtype"]) == (["raw"], ["sha2-256"])
        if len(data) > 1024 * 1024 and query.get("allow-big-block") != ["true"]:
            return 500, b'{"Message":"produced block is over 1MiB: big blocks can\'t be exchanged"}'
        multihash = b"\x12\x20" + hashlib.sha256(data).digest()
        cid = "b" + base64.b32encode(b"\x01\x55" + multihash).decode().lower().rstrip("=")
        self.blocks[cid] = data
        if query["pin"] == ["true"]:
            self.pinned.add(cid)
        return 200, json.dumps({"Key": self.forced_key or cid, "Size": len(data)}).encode()

    def read(self, path: str) -> tuple[int, bytes]:
        """Of the gateway."""
        block = self.blocks.get(path.removeprefix("/ipfs/"))
        found = None if block is None else self.gives_out(block)
        return (404, b"block was not found") if found is None else (200, found)


@contextmanager
def kubo_node() -> Iterator[Kubo]:
    """A running node; API and gateway at the same port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            data = _form_file(self.headers["Content-Type"], body)
            parts = urlsplit(self.path)
            method = parts.path.removeprefix("/api/v0/")
            self.answer(lambda: node.call(method, parse_qs(parts.query), data))

        def do_GET(self) -> None:
            self.answer(lambda: node.read(urlsplit(self.path).path))

        def answer(self, find: Callable[[], tuple[int, bytes]]) -> None:
            node.asked.append((self.command, self.path))
            if node.failures > 0:
                node.failures -= 1
                self.close_connection = True
                return
            status, body = find()
            self.send_response(node.forced_status or status)
            if node.forced_status in (301, 307):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A reader that has enough hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    node = Kubo(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield node
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _form_file(content_type: str, body: bytes) -> bytes:
    """The one file of a multipart form."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
    [part] = message.iter_parts()
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content
