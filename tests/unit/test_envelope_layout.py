"""Envelopes: their bytes, their size classes, and what is not one."""

import hashlib
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k3s_daas.envelope import (
    LARGEST_CLASS,
    MAX_REQUEST_BODY_BYTES,
    MAX_RESPONSE_BODY_BYTES,
    SIZE_CLASSES,
    BlobReference,
    RequestEnvelope,
    ResponseEnvelope,
    padded_size,
)
from k3s_daas.errors import PayloadTooLargeError, WireFormatError
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES
from k3s_daas.sealing import PUBLIC_KEY_BYTES, SEALING_OVERHEAD_BYTES

REPLY_KEY = bytes(index % 256 for index in range(PUBLIC_KEY_BYTES))
REQUEST = RequestEnvelope(
    "PATCH",
    "/api/v1/namespaces/a%20b/pods/web",
    "dryRun=All&fieldManager=kubectl",
    (("Accept", "application/json"), ("Content-Type", "application/merge-patch+json")),
    b"\x00{}\xff",
    REPLY_KEY,
)
RESPONSE = ResponseEnvelope(409, (("Content-Type", "application/json"), ("Warning", "299 - ü")), b"no")
BLOB = BlobReference("https://blobs.example/requests/1?X-Amz-Expires=60", 6_144, bytes(range(32)))


def pack(fields: bytes, *, version: int = 1, size: int | None = None, tail: bytes = b"") -> bytes:
    """What an encoder that does not follow the rules could write."""
    compressed = zlib.compress(fields) + tail
    packed = struct.pack("<BI", version, len(compressed)) + compressed
    return packed.ljust(size or padded_size(len(packed)) or 0, b"\0")


def test_a_request_has_golden_bytes() -> None:
    expected = (
        *("05", b"PATCH".hex(), "21", b"/api/v1/namespaces/a%20b/pods/web".hex()),
        *("1f", b"dryRun=All&fieldManager=kubectl".hex()),
        *("02", "06", b"Accept".hex(), "10", b"application/json".hex()),
        *("0c", b"Content-Type".hex(), "1c", b"application/merge-patch+json".hex()),
        *("04", "007b7dff", "c009", REPLY_KEY.hex()),
    )
    assert REQUEST.to_bcs().hex() == "".join(expected)


def test_a_response_has_golden_bytes() -> None:
    expected = (
        *("9901", "02", "0c", b"Content-Type".hex(), "10", b"application/json".hex()),
        *("07", b"Warning".hex(), "08", "299 - ü".encode().hex(), "02", b"no".hex()),
    )
    assert RESPONSE.to_bcs().hex() == "".join(expected)


def test_a_request_with_its_body_elsewhere_has_golden_bytes() -> None:
    elsewhere = replace(REQUEST, body=b"", body_blob=BLOB, reply_url="https://b.example/r?s")
    more = (
        *("01", "31", b"https://blobs.example/requests/1?X-Amz-Expires=60".hex()),
        *("0018000000000000", bytes(range(32)).hex()),
        *("15", b"https://b.example/r?s".hex()),
    )
    assert elsewhere.to_bcs() == replace(REQUEST, body=b"").to_bcs() + bytes.fromhex("".join(more))
    assert elsewhere.encode()[0] == 2
    assert RequestEnvelope.decode(elsewhere.encode()) == elsewhere
    only_reply = replace(REQUEST, reply_url="https://b.example/r?s")
    assert only_reply.to_bcs() == REQUEST.to_bcs() + b"\0" + b"\x15https://b.example/r?s"
    assert RequestEnvelope.decode(only_reply.encode()) == only_reply


def test_a_response_with_its_body_elsewhere_has_golden_bytes() -> None:
    elsewhere = replace(RESPONSE, body=b"", body_blob=replace(BLOB, url=""))
    more = bytes.fromhex("01" + "00" + "0018000000000000") + bytes(range(32))
    assert elsewhere.to_bcs() == replace(RESPONSE, body=b"").to_bcs() + more
    assert elsewhere.encode()[0] == 2
    assert ResponseEnvelope.decode(elsewhere.encode()) == elsewhere


def test_what_needs_no_blob_is_written_as_before() -> None:
    assert (REQUEST.encode()[0], RESPONSE.encode()[0]) == (1, 1)


def test_an_envelope_written_long_ago_is_still_read() -> None:
    # Stored (uncompressed) deflate, so that the bytes do not depend on anybody's compressor.
    fields = bytes.fromhex("c8000001") + b"x"
    compressed = b"\x78\x01\x01" + struct.pack("<HH", 5, 0xFFFA) + fields
    compressed += struct.pack(">I", zlib.adler32(fields))
    data = (b"\x01" + struct.pack("<I", len(compressed)) + compressed).ljust(512, b"\0")
    assert ResponseEnvelope.decode(data) == ResponseEnvelope(200, (), b"x")


def test_envelopes_survive_their_bytes() -> None:
    assert RequestEnvelope.decode(REQUEST.encode()) == REQUEST
    assert ResponseEnvelope.decode(RESPONSE.encode()) == RESPONSE


@given(
    st.integers(200, 599),
    st.lists(st.tuples(st.sampled_from(["Warning", "ETag"]), st.text("abc \t\xff", max_size=9)), max_size=4),
    st.binary(max_size=2000),
)
def test_any_response_survives_its_bytes(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    envelope = ResponseEnvelope(status, tuple(headers), body)
    encoded = envelope.encode()
    assert len(encoded) in SIZE_CLASSES
    assert ResponseEnvelope.decode(encoded) == envelope


def test_small_differences_of_size_do_not_show() -> None:
    sizes = {len(replace(RESPONSE, body=b"n" * length).encode()) for length in range(0, 300, 10)}
    assert sizes == {512}


def test_the_size_classes_are_those_documented() -> None:
    assert SIZE_CLASSES[:6] == (512, 768, 1024, 1536, 2048, 3072)
    assert SIZE_CLASSES[-3:] == (49152, 65536, LARGEST_CLASS)
    assert LARGEST_CLASS + SEALING_OVERHEAD_BYTES == MAX_CIPHERTEXT_BYTES, (
        "the largest fills what a command carries"
    )
    assert [padded_size(size) for size in (0, 512, 513, 768, 769)] == [512, 512, 768, 768, 1024]
    assert (padded_size(LARGEST_CLASS), padded_size(LARGEST_CLASS + 1)) == (LARGEST_CLASS, None)


def incompressible(size: int) -> bytes:
    return hashlib.shake_256(b"noise").digest(size)


def test_a_body_that_does_not_compress_into_one_command_is_refused_by_size() -> None:
    with pytest.raises(PayloadTooLargeError, match=r"even when compressed.*--chunk-size") as caught:
        replace(RESPONSE, body=incompressible(LARGEST_CLASS)).encode()
    assert caught.value.limit == LARGEST_CLASS
    fitting = replace(RESPONSE, body=incompressible(LARGEST_CLASS - 500))
    assert len(fitting.encode()) == LARGEST_CLASS


def test_bodies_are_limited_before_compression() -> None:
    largest = replace(REQUEST, body=bytes(MAX_REQUEST_BODY_BYTES))
    assert RequestEnvelope.decode(largest.encode()) == largest
    with pytest.raises(PayloadTooLargeError, match=f"limit is {MAX_REQUEST_BODY_BYTES}"):
        replace(REQUEST, body=bytes(MAX_REQUEST_BODY_BYTES + 1)).encode()
    with pytest.raises(PayloadTooLargeError, match=f"limit is {MAX_RESPONSE_BODY_BYTES}"):
        replace(RESPONSE, body=bytes(MAX_RESPONSE_BODY_BYTES + 1)).encode()


def test_headers_are_limited_too() -> None:
    headers = tuple((f"X-{index}", "v" * 8000) for index in range(9))
    with pytest.raises(PayloadTooLargeError, match="headers, path and query"):
        replace(REQUEST, headers=headers).encode()


def test_a_decompression_bomb_is_refused() -> None:
    bomb = pack(bytes(60_000_000))
    assert len(bomb) <= 65_536
    with pytest.raises(WireFormatError, match="holds more than"):
        ResponseEnvelope.decode(bomb)
    with pytest.raises(WireFormatError, match="holds more than"):
        RequestEnvelope.decode(bomb)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "size class"),
        (bytes(512), "version 0"),
        (bytes(511), "size class"),
        (pack(RESPONSE.to_bcs(), version=3), "version 3"),
        (pack(RESPONSE.to_bcs() + b"\0", version=2), "version 2 for what version 1 says"),
        (pack(replace(RESPONSE, body=b"", body_blob=BLOB).to_bcs(), version=1), "follow the end"),
        (pack(replace(RESPONSE, body_blob=BLOB).to_bcs(), version=2), "a body and a blob"),
        (pack(RESPONSE.to_bcs(), size=1024), "beyond its size class"),
        (pack(RESPONSE.to_bcs())[:-1] + b"\x01", "not zero"),
        (pack(RESPONSE.to_bcs(), tail=b"more"), "followed by other bytes"),
        (pack(RESPONSE.to_bcs() + b"\0"), "follow the end"),
        (pack(RESPONSE.to_bcs()[:-1]), "bytes expected"),
        (pack(b""), "bytes expected"),
        (struct.pack("<BI", 1, 2**32 - 1).ljust(512, b"\0"), "bytes expected"),
        (struct.pack("<BI", 1, 3).ljust(512, b"\0"), "does not decompress"),
        (struct.pack("<BI", 1, 2) + b"\x78\x01" + bytes(505), "is cut"),
    ],
)
def test_what_does_not_follow_the_layout_is_refused(data: bytes, hint: str) -> None:
    with pytest.raises(WireFormatError, match=hint):
        ResponseEnvelope.decode(data)


@given(st.binary(max_size=400))
def test_nothing_but_a_refusal_comes_of_junk(junk: bytes) -> None:
    for data in (junk, junk.ljust(512, b"\0"), pack(junk)):
        with pytest.raises(WireFormatError):
            RequestEnvelope.decode(data)


@pytest.mark.parametrize(
    "bad",
    [
        replace(REQUEST, method="get"),
        replace(REQUEST, method="GET / HTTP/1.1\r\n"),
        replace(REQUEST, path="api"),
        replace(REQUEST, path="//evil?x"),
        replace(REQUEST, path="/a b"),
        replace(REQUEST, path="/a\r\nHost: x"),
        replace(REQUEST, query="a#b"),
        replace(REQUEST, query="a\nb"),
        replace(REQUEST, headers=(("Bad Name", "x"),)),
        replace(REQUEST, headers=(("Accept", "a\r\nImpersonate-User: root"),)),
        replace(REQUEST, headers=(("", "x"),)),
        replace(REQUEST, reply_key=b"short"),
        replace(REQUEST, reply_url="https://b.example/ x"),
        replace(REQUEST, reply_url="https://b.example/" + "x" * 4096),
        replace(REQUEST, body_blob=BLOB),
        replace(REQUEST, body=b"", body_blob=replace(BLOB, url="https://b\r\nHost: x")),
    ],
)
def test_a_request_that_could_smuggle_another_is_neither_written_nor_read(bad: RequestEnvelope) -> None:
    with pytest.raises(WireFormatError):
        bad.encode()
    with pytest.raises(WireFormatError):
        RequestEnvelope.decode(pack(bad.to_bcs(), version=2 if bad.body_blob or bad.reply_url else 1))


@pytest.mark.parametrize("status", [0, 101, 199, 600, 65535])
def test_a_response_has_a_final_status(status: int) -> None:
    with pytest.raises(WireFormatError, match=str(status)):
        ResponseEnvelope.decode(pack(replace(RESPONSE, status=status).to_bcs()))


def test_bodies_headers_and_queries_do_not_reach_a_log() -> None:
    secret = replace(REQUEST, body=b"s3cret", query="token=s3cret", headers=(("Accept", "s3cret"),))
    assert "s3cret" not in repr(secret)
    assert "s3cret" not in repr(replace(RESPONSE, body=b"s3cret"))
    assert "s3cret" not in repr(replace(BLOB, url="https://b.example/?X-Amz-Signature=s3cret"))
