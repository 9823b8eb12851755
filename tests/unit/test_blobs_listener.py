"""What the listener does with a URL that a gateway sealed: little, and only where the settings say."""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.local.certificates import LocalAuthority
from k3s_daas.blobs.bodies import MAX_BLOB_BYTES
from k3s_daas.blobs.store import (
    BlobAlteredError,
    BlobExistsError,
    BlobMissingError,
    BlobUnavailableError,
    reference_to,
)
from k3s_daas.errors import ConfigurationError
from listener_service.blobs import BlobClient, BlobPlaces, BlobRefusedError, BlobTooLargeError
from listener_service.settings import _Environment

BODY = b"sealed" * 1000
Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return write


@dataclass
class Store:
    """An HTTP server that answers as it is told and remembers what it was asked."""

    port: int = 0
    answers: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, path: str = "/bucket/requests/1?X-Amz-Signature=ab", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def store() -> Iterator[Store]:
    told = Store()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.seen.append((self.command, self.path, dict(self.headers), body))
            (told.answers.pop(0) if len(told.answers) > 1 else told.answers[0])(self)

        do_GET = do_PUT = answer  # noqa: N815  the names that the server looks for

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what these tests are about."""

    assert issubclass(Server, socketserver.TCPServer)
    server = Server(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def client(store: Store) -> AsyncIterator[BlobClient]:
    made = BlobClient(BlobPlaces(frozenset({f"127.0.0.1:{store.port}"}), plain_loopback=True))
    yield made
    made.close()


async def test_what_the_envelope_names_is_fetched_with_nothing_of_ours(
    store: Store, client: BlobClient
) -> None:
    store.answers = [answer(200, BODY)]
    assert await client.fetch(reference_to(store.url(), BODY), timeout_s=5) == BODY
    [(method, path, headers, _)] = store.seen
    assert (method, path) == ("GET", "/bucket/requests/1?X-Amz-Signature=ab")
    assert not {"authorization", "cookie", "referer"} & {name.lower() for name in headers}


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/x",
        "https://other.example/x",
        "https://blobs.example:8443/x",
        "https://blobs.example.evil.example/x",
        "https://user@blobs.example/x",
        "https://blobs.example@evil.example/x",
        "https://blobs.example\\@evil.example/x",
        "https://blobs.example#@evil.example/x",
        "https://BLOBS.example/x",
        "https://blobs.example",
        "https://blobs.example?x=/",
        "https://blobs.example:0443/x",
        "https://blobs.example/\r\nHost: evil",
        "http://blobs.example/x",
        "http://blobs.example:443/x",
        "http://localhost:9000/x",
        "http://127.0.0.2:9000/x",
        "http://127.1:9000/x",
        "http://0x7f000001:9000/x",
        "http://169.254.169.254/latest/meta-data/",
        "ftp://blobs.example/x",
        "file:///etc/passwd",
        "//blobs.example/x",
        "",
    ],
)
async def test_no_other_place_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    client = BlobClient(BlobPlaces(frozenset({"blobs.example:443", "127.0.0.1:9000"}), plain_loopback=True))
    with pytest.raises(BlobRefusedError) as refused:
        await client.fetch(reference_to(url, BODY), timeout_s=5)
    with pytest.raises(BlobRefusedError):
        await client.upload(url, BODY, timeout_s=5)
    assert "evil" not in str(refused.value)
    client.close()


async def test_plain_http_needs_a_setting_even_on_the_loopback(store: Store) -> None:
    client = BlobClient(BlobPlaces(frozenset({f"127.0.0.1:{store.port}"})))
    with pytest.raises(BlobRefusedError, match="https"):
        await client.fetch(reference_to(store.url(), BODY), timeout_s=5)
    assert store.seen == []
    client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(store: Store, client: BlobClient, status: int) -> None:
    store.answers = [answer(status, Location=store.url("/elsewhere"))]
    with pytest.raises(BlobUnavailableError, match=str(status)):
        await client.fetch(reference_to(store.url(), BODY), timeout_s=5)
    assert {path for _, path, _, _ in store.seen} == {"/bucket/requests/1?X-Amz-Signature=ab"}


@pytest.mark.parametrize("body", [BODY + b"x", BODY[:-1], b"", BODY[:-1] + b"X", BODY * 50])
async def test_other_bytes_are_thrown_away(store: Store, client: BlobClient, body: bytes) -> None:
    store.answers = [answer(200, body)]
    with pytest.raises(BlobAlteredError):
        await client.fetch(reference_to(store.url(), BODY), timeout_s=5)


async def test_an_encoded_answer_is_not_decoded(store: Store, client: BlobClient) -> None:
    store.answers = [answer(200, BODY, **{"Content-Encoding": "gzip"})]
    assert await client.fetch(reference_to(store.url(), BODY), timeout_s=5) == BODY
    assert {name.lower(): value for name, value in store.seen[0][2].items()}["accept-encoding"] == "identity"


async def test_a_size_that_no_body_has_is_not_asked_for(store: Store, client: BlobClient) -> None:
    reference = replace(reference_to(store.url(), BODY), size=MAX_BLOB_BYTES + 1)
    with pytest.raises(BlobTooLargeError):
        await client.fetch(reference, timeout_s=5)
    assert store.seen == []


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_what_is_gone_is_missing_and_not_asked_for_again(
    store: Store, client: BlobClient, status: int
) -> None:
    store.answers = [answer(status)]
    with pytest.raises(BlobMissingError):
        await client.fetch(reference_to(store.url(), BODY), timeout_s=5)
    assert len(store.seen) == 1


async def test_a_store_that_stumbles_is_asked_again(store: Store, client: BlobClient) -> None:
    store.answers = [answer(500), answer(503), answer(200, BODY)]
    assert await client.fetch(reference_to(store.url(), BODY), timeout_s=5) == BODY


async def test_a_store_that_drips_is_given_up(store: Store, client: BlobClient) -> None:
    dripped: list[int] = []

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        for index in range(len(BODY)):
            handler.wfile.write(BODY[index : index + 1])
            handler.wfile.flush()
            dripped.append(index)
            time.sleep(0.05)

    store.answers = [drip]
    with pytest.raises(BlobUnavailableError):
        await client.fetch(reference_to(store.url(), BODY), timeout_s=0.3)
    assert 0 < len(dripped) < len(BODY) // 10


async def test_an_upload_replaces_nothing(store: Store, client: BlobClient) -> None:
    store.answers = [answer(200), answer(412)]
    await client.upload(store.url("/r?s"), BODY, timeout_s=5)
    method, path, headers, body = store.seen[0]
    assert (method, path, body, headers["If-None-Match"]) == ("PUT", "/r?s", BODY, "*")
    with pytest.raises(BlobExistsError):
        await client.upload(store.url("/r?s"), BODY, timeout_s=5)


async def test_an_upload_whose_answer_was_lost_is_found_in_place(store: Store, client: BlobClient) -> None:
    store.answers = [answer(500), answer(412)]
    await client.upload(store.url(), BODY, timeout_s=5)
    assert len(store.seen) == 2


async def test_the_certificate_decides_over_https(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path)
    files = authority.issue("blobs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sealed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    place = f"localhost:{server.server_port}"
    reference = reference_to(f"https://{place}/requests/1", BODY)
    ours = ssl.create_default_context(cafile=str(authority.certificate_file))
    trusting = BlobClient(BlobPlaces(frozenset({place}), private_addresses=True), tls=ours)
    strict = BlobClient(BlobPlaces(frozenset({place}), private_addresses=True))
    try:
        assert await trusting.fetch(reference, timeout_s=5) == BODY
        with pytest.raises(BlobUnavailableError, match="SSLError"):
            await strict.fetch(reference, timeout_s=5)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        trusting.close()
        strict.close()


class _Sealed(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer(200, BODY)(self)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def places(hosts: str, plain: str = "", *, development: bool = True, private: str = "") -> BlobPlaces | None:
    environment = {
        "DAAS_BLOB_HOSTS": hosts,
        "DAAS_BLOB_PLAIN_HTTP": plain,
        "DAAS_BLOB_PRIVATE_ADDRESSES": private,
    }
    return _Environment(environment).blob_places(development=development)


def test_hosts_are_read() -> None:
    found = places("Bucket.s3.eu-central-1.amazonaws.com, ipfs.example:8443")
    assert found == BlobPlaces(
        frozenset({"bucket.s3.eu-central-1.amazonaws.com:443", "ipfs.example:8443"}), plain_loopback=False
    )
    assert places("127.0.0.1:9000", "loopback") == BlobPlaces(
        frozenset({"127.0.0.1:9000"}), plain_loopback=True
    )
    assert places("minio.example", private="allow") == BlobPlaces(
        frozenset({"minio.example:443"}), private_addresses=True
    )
    assert places("") is None
    with pytest.raises(ConfigurationError, match="DAAS_BLOB_PRIVATE_ADDRESSES"):
        places("minio.example", private="yes")


@pytest.mark.parametrize(
    ("hosts", "plain", "development", "named"),
    [
        ("169.254.169.254", "", True, "DAAS_BLOB_HOSTS"),
        ("169.254.169.254:80", "loopback", True, "DAAS_BLOB_HOSTS"),
        ("127.0.0.1", "", True, "DAAS_BLOB_HOSTS"),
        ("0x7f.1", "", True, "DAAS_BLOB_HOSTS"),
        ("2130706433", "", True, "DAAS_BLOB_HOSTS"),
        ("https://blobs.example", "", True, "DAAS_BLOB_HOSTS"),
        ("*.example", "", True, "DAAS_BLOB_HOSTS"),
        ("a.example,,b.example", "", True, "DAAS_BLOB_HOSTS"),
        ("a.example:70000", "", True, "DAAS_BLOB_HOSTS"),
        ("a.example", "yes", True, "DAAS_BLOB_PLAIN_HTTP"),
        ("127.0.0.1:9000", "loopback", False, "DAAS_BLOB_PLAIN_HTTP"),
    ],
)
def test_hosts_that_cannot_be_meant_are_refused(
    hosts: str, plain: str, development: bool, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        places(hosts, plain, development=development)
