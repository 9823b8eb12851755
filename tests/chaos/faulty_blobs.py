"""A blob store on this machine that fails as it is told, and commands whose bodies go by it."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from k3s_daas.blobs.bodies import seal_body
from k3s_daas.blobs.store import reference_to
from k3s_daas.envelope import MAX_REQUEST_BODY_BYTES, RequestEnvelope, ResponseEnvelope
from k3s_daas.sealing import SealingPublicKey, request_body_info
from tests.integration.listener_stage import Asked


@dataclass
class FaultyBlobs:
    """Made by `faulty_blobs`. `fails` is asked at each call, by its number from 0."""

    port: int
    stored: dict[str, bytes] = field(default_factory=dict)
    fails: Callable[[int], bool] = lambda call: False
    failed: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def kept(self, asked: Asked, answer: ResponseEnvelope) -> bool:
        """Whether the body that the answer names is here."""
        stored = self.stored.get(f"/replies/{asked.request_id.hex()}", b"")
        blob = answer.body_blob
        return blob is not None and hashlib.sha256(stored).digest() == blob.hash


@dataclass
class ByBlob:
    """What a gateway does with one command: its body goes into the store, and there is a place for the reply.

    `learn` and `moved` are what `Stage.submit` calls, in this order.
    """

    blobs: FaultyBlobs
    key: SealingPublicKey
    cluster: bytes
    seal: bytes
    request_id: bytes = b""

    def learn(self, request_id: bytes) -> bytes:
        """The id of the request whose body it is."""
        self.request_id = request_id
        return request_id

    def moved(self, made: RequestEnvelope) -> RequestEnvelope:
        """The envelope without its body."""
        name = self.request_id.hex()
        made = replace(made, reply_url=self.blobs.url(f"replies/{name}"))
        if not made.body:
            return made
        info = request_body_info(self.cluster, self.seal, self.request_id)
        sealed = seal_body(self.key, made.body, info, what="request", limit=MAX_REQUEST_BODY_BYTES)
        self.blobs.stored[f"/requests/{name}"] = sealed
        reference = reference_to(self.blobs.url(f"requests/{name}"), sealed)
        return replace(made, body=b"", body_blob=reference)


@contextmanager
def faulty_blobs() -> Iterator[FaultyBlobs]:
    """A running store on a free port."""
    calls, lock = itertools.count(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                number = next(calls)
                status, found = 500, b""
                if blobs.fails(number):
                    blobs.failed += 1
                    if number % 4 == 2:
                        # Nobody tells what became of it.
                        self.close_connection = True
                        return
                elif self.command == "PUT":
                    status = 412 if self.path in blobs.stored else 200
                    blobs.stored.setdefault(self.path, body)
                else:
                    found = blobs.stored.get(self.path, b"")
                    status = 200 if found else 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        do_GET = do_PUT = answer  # noqa: N815  the names that the server looks for

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    blobs = FaultyBlobs(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield blobs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
