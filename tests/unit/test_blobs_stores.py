"""Every blob store keeps the port's guarantees: S3 on moto, IPFS on a small kubo."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from chalicelib.runtime import CLIENT_CONFIG, S3_CONFIG
from moto import mock_aws

from infra.local.aws import create_blob_bucket
from k3s_daas.blobs.ipfs import IpfsBlobStore, content_id
from k3s_daas.blobs.s3 import S3BlobStore
from k3s_daas.blobs.store import (
    BlobAlteredError,
    BlobExistsError,
    BlobMissingError,
    BlobStore,
    BlobUnavailableError,
    reference_to,
)
from k3s_daas.errors import ConfigurationError

DATA = hashlib.shake_256(b"sealed").digest(1_500_000)
NAME = "requests/018f0000"


@dataclass
class Fixture:
    """A store, how a reader without credentials gets a URL, and how somebody inside alters what is kept."""

    store: BlobStore
    read: Callable[[str], bytes]
    alter: Callable[[str, bytes, bytes], None]
    lose: Callable[[str, bytes], None]
    break_off: Callable[[], None]


@dataclass
class Kubo:
    """A kubo node's HTTP API and gateway as far as they are used here: raw blocks in memory."""

    blocks: dict[str, bytes] = field(default_factory=dict)
    forced_key: str | None = None
    port: int = 0

    def call(self, method: str, query: dict[str, list[str]], data: bytes | None) -> tuple[int, bytes]:
        if method == "block/put":
            assert data is not None
            assert (query["cid-codec"], query["mhtype"], query["pin"]) == (["raw"], ["sha2-256"], ["true"])
            if len(data) > 1024 * 1024 and query.get("allow-big-block") != ["true"]:
                return 500, b'{"Message":"produced block is over 1MiB: big blocks can\'t be exchanged"}'
            multihash = b"\x12\x20" + hashlib.sha256(data).digest()
            cid = "b" + base64.b32encode(b"\x01\x55" + multihash).decode().lower().rstrip("=")
            self.blocks[cid] = data
            return 200, json.dumps({"Key": self.forced_key or cid, "Size": len(data)}).encode()
        if method == "block/get":
            found = self.blocks.get(query["arg"][0])
            if found is None:
                return 500, b'{"Message":"block was not found locally (offline): ipld: could not find"}'
            return 200, found
        return 404, b""


def form_file(content_type: str, body: bytes) -> bytes:
    """The one file of a multipart form."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
    [part] = message.iter_parts()
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


@pytest.fixture
def kubo() -> Iterator[Kubo]:
    node = Kubo()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = form_file(self.headers["Content-Type"], body) if body else None
            method = parts.path.removeprefix("/api/v0/")
            self.answer(*node.call(method, parse_qs(parts.query), data))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    node.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield node
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ipfs(kubo: Kubo, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    gateway = "https://ipfs.example"
    store = IpfsBlobStore(f"http://127.0.0.1:{kubo.port}", gateway)

    def read(url: str) -> bytes:
        return kubo.blocks[url.removeprefix(f"{gateway}/ipfs/")]

    def key(data: bytes) -> str:
        return content_id(hashlib.sha256(data).digest())

    def lose(_: str, data: bytes) -> None:
        del kubo.blocks[key(data)]

    def break_off() -> None:
        monkeypatch.setattr(store, "_api", "http://127.0.0.1:1")

    return Fixture(
        store,
        read,
        alter=lambda _, data, other: kubo.blocks.update({key(data): other}),
        lose=lose,
        break_off=break_off,
    )


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    with mock_aws():
        client = boto3.session.Session("local", "local", region_name="us-east-1").client(
            "s3", config=CLIENT_CONFIG.merge(S3_CONFIG)
        )
        create_blob_bucket(client, "blobs-of-the-test")

        def break_off() -> None:
            broken = boto3.session.Session("local", "local", region_name="us-east-1").client(
                "s3", endpoint_url="http://127.0.0.1:1", config=CLIENT_CONFIG.merge(S3_CONFIG)
            )
            monkeypatch.setattr(store, "_client", broken)

        def alter(name: str, _: bytes, other: bytes) -> None:
            client.put_object(Bucket="blobs-of-the-test", Key=name, Body=other)

        def lose(name: str, _: bytes) -> None:
            client.delete_object(Bucket="blobs-of-the-test", Key=name)

        store = S3BlobStore(client, "blobs-of-the-test")
        yield Fixture(store, lambda url: requests.get(url, timeout=5).content, alter, lose, break_off)


@pytest.fixture(params=["s3", "ipfs"])
def kept(request: pytest.FixtureRequest) -> Fixture:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Fixture)
    return found


def test_whoever_has_the_url_reads_the_same_bytes(kept: Fixture) -> None:
    url = kept.store.put(NAME, DATA, lifetime_s=60)
    assert kept.read(url) == DATA
    assert kept.store.get(NAME, reference_to(url, DATA)) == DATA


def test_nothing_is_replaced(kept: Fixture) -> None:
    first = kept.store.put(NAME, DATA, lifetime_s=60)
    try:
        second = kept.store.put(NAME, b"other", lifetime_s=60)
    except BlobExistsError:
        second = ""
    assert second.partition("?")[0] != first.partition("?")[0]
    assert kept.read(first) == DATA


def test_the_same_bytes_may_be_put_again(kept: Fixture) -> None:
    first = kept.store.put(NAME, DATA, lifetime_s=60)
    again = kept.store.put(NAME, DATA, lifetime_s=60)
    assert first.partition("?")[0] == again.partition("?")[0]


def test_what_is_not_there_is_missing(kept: Fixture) -> None:
    reference = reference_to(kept.store.put(NAME, DATA, lifetime_s=60), DATA)
    kept.lose(NAME, DATA)
    with pytest.raises(BlobMissingError):
        kept.store.get(NAME, reference)


@pytest.mark.parametrize("other", [DATA + b"x", DATA[:-1], b"", DATA[:-1] + b"\0", DATA * 2])
def test_other_bytes_are_told(kept: Fixture, other: bytes) -> None:
    reference = reference_to(kept.store.put(NAME, DATA, lifetime_s=60), DATA)
    kept.alter(NAME, DATA, other)
    with pytest.raises(BlobAlteredError):
        kept.store.get(NAME, reference)


def test_a_wrong_size_is_told(kept: Fixture) -> None:
    reference = reference_to(kept.store.put(NAME, DATA, lifetime_s=60), DATA)
    with pytest.raises(BlobAlteredError):
        kept.store.get(NAME, replace(reference, size=len(DATA) - 1))


def test_a_store_that_is_away_says_nothing_else(kept: Fixture) -> None:
    kept.break_off()
    for ask in (
        lambda: kept.store.put(NAME, DATA, lifetime_s=60),
        lambda: kept.store.get(NAME, reference_to("", DATA)),
    ):
        with pytest.raises(BlobUnavailableError) as away:
            ask()
        assert "http" not in str(away.value)


# What only one of them has.


def test_s3_signs_for_one_object_and_no_replacing(s3: Fixture) -> None:
    url = s3.store.upload_url("replies/1", lifetime_s=90)
    assert url is not None
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.hostname) == ("https", "blobs-of-the-test.s3.us-east-1.amazonaws.com")
    assert parts.path == "/replies/1"
    assert query["X-Amz-SignedHeaders"] == ["host;if-none-match"]
    assert query["X-Amz-Expires"] == ["90"]
    # moto answers `requests`, and looks at the condition but not at the signature.
    once = {"If-None-Match": "*"}
    assert requests.put(url, data=DATA, headers=once, timeout=5).status_code == 200
    assert requests.put(url, data=b"other", headers=once, timeout=5).status_code == 412
    assert s3.store.get("replies/1", reference_to("", DATA)) == DATA


def test_ipfs_has_no_upload_url(ipfs: Fixture) -> None:
    assert ipfs.store.upload_url("replies/1", lifetime_s=60) is None


def test_a_content_id_is_that_of_the_raw_block() -> None:
    # `ipfs block put --cid-codec=raw` of "hello world".
    expected = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    assert content_id(hashlib.sha256(b"hello world").digest()) == expected


def test_a_node_that_stores_something_else_is_not_believed(ipfs: Fixture, kubo: Kubo) -> None:
    kubo.forced_key = content_id(bytes(32))
    with pytest.raises(BlobAlteredError, match="CID"):
        ipfs.store.put(NAME, DATA, lifetime_s=60)


@pytest.mark.parametrize("url", ["", "ipfs.example", "ftp://ipfs.example", "https://ipfs.example/?x"])
def test_urls_of_the_node_are_checked(url: str) -> None:
    with pytest.raises(ConfigurationError):
        IpfsBlobStore("http://127.0.0.1:5001", url)
