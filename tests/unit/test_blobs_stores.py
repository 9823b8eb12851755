"""Every blob store keeps the port's guarantees: S3 on moto, IPFS on a small kubo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from chalicelib.runtime import CLIENT_CONFIG, S3_CONFIG
from moto import mock_aws

from infra.local.aws import create_blob_bucket
from k3s_daas.blobs.ipfs import IpfsBlobStore
from k3s_daas.blobs.kubo import content_id
from k3s_daas.blobs.s3 import S3BlobStore
from k3s_daas.blobs.store import (
    OWN_IPFS_NODE,
    BlobAlteredError,
    BlobExistsError,
    BlobMissingError,
    BlobStore,
    BlobUnavailableError,
    reference_to,
)
from k3s_daas.errors import ConfigurationError
from tests.unit.kubo_node import Kubo, kubo_node

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


@pytest.fixture
def kubo() -> Iterator[Kubo]:
    with kubo_node() as node:
        yield node


@pytest.fixture
def ipfs(kubo: Kubo) -> Fixture:
    store = IpfsBlobStore(kubo.url, f"{kubo.url}/")

    def key(data: bytes) -> str:
        return content_id(hashlib.sha256(data).digest())

    def lose(_: str, data: bytes) -> None:
        del kubo.blocks[key(data)]

    def break_off() -> None:
        kubo.failures = 1_000

    return Fixture(
        store,
        read=lambda url: requests.get(url, timeout=5).content,
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


def test_a_reply_belongs_in_the_listeners_node(ipfs: Fixture) -> None:
    assert ipfs.store.upload_url("replies/1", lifetime_s=60) == OWN_IPFS_NODE


def test_what_another_put_is_found_by_its_hash(ipfs: Fixture, kubo: Kubo) -> None:
    kubo.blocks[content_id(hashlib.sha256(DATA).digest())] = DATA
    assert ipfs.store.get("replies/1", reference_to("", DATA)) == DATA
    assert kubo.asked == [("GET", f"/ipfs/{content_id(hashlib.sha256(DATA).digest())}?format=raw")]


@pytest.mark.parametrize("status", [301, 307, 500, 504])
def test_an_ipfs_gateway_is_not_followed_elsewhere(ipfs: Fixture, kubo: Kubo, status: int) -> None:
    url = ipfs.store.put(NAME, DATA, lifetime_s=60)
    kubo.forced_status = status
    with pytest.raises(BlobUnavailableError, match=str(status)):
        ipfs.store.get(NAME, reference_to(url, DATA))
    assert [method for method, _ in kubo.asked] == ["POST", "GET"]


def test_requests_are_pinned(ipfs: Fixture, kubo: Kubo) -> None:
    ipfs.store.put(NAME, DATA, lifetime_s=60)
    assert kubo.pinned == set(kubo.blocks)


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
