"""What is inside a sealed body: the HTTP request for the listener, the HTTP response for the gateway.

Version 1 holds everything; BCS fields in the order of the dataclasses up to ``body`` (and ``reply_key``),
headers are ``vector<(String, String)>``. Version 2 has further fields behind them, and is written only for
what version 1 cannot say, so that every value has one encoding:

- request: ``body_blob: Option<(url: String, size: u64, hash: 32 bytes)>``, ``reply_url: String``;
- response: ``body_blob: Option<…>`` as above, with an empty ``url``: it is where the request said, and in
  IPFS the hash is that of the content id.

A body in a blob is sealed like an envelope, by ``k3s_daas.blobs``; ``body`` is empty then. Compression,
padding and their layout are those of ``k3s_daas.packing``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from k3s_daas.bcs import Reader, Writer
from k3s_daas.errors import PayloadTooLargeError, WireFormatError
from k3s_daas.packing import LARGEST_CLASS, SIZE_CLASSES, pack, padded_size, unpack
from k3s_daas.sealing import PUBLIC_KEY_BYTES

__all__ = [
    "LARGEST_CLASS",
    "MAX_REQUEST_BODY_BYTES",
    "MAX_RESPONSE_BODY_BYTES",
    "SIZE_CLASSES",
    "BlobReference",
    "Headers",
    "RequestEnvelope",
    "ResponseEnvelope",
    "body_too_large",
    "padded_size",
]

VERSION = 1
VERSION_WITH_BLOBS = 2

# A body is at most 3 MiB one way (what an API server takes). The other way Lambda carries 4.5 MB, compressed
# where the client takes that, and lists compress well; but each reply in work is held in memory, so there is
# a limit before compression, too. Beyond both come headers and field lengths.
MAX_REQUEST_BODY_BYTES = 3 * 1024 * 1024
MAX_RESPONSE_BODY_BYTES = 12_000_000
_MAX_HEAD_BYTES = 64 * 1024
# A presigned URL with a session token has about 2,000 characters.
MAX_URL_CHARACTERS = 4096
BLOB_HASH_BYTES = 32

_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,16384}")
_TARGET = re.compile(r"[\x21\x22\x24-\x7e]*", re.ASCII)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class BlobReference:
    """A sealed body outside the chain: where, its size in bytes, and the SHA-256 of exactly these bytes."""

    url: str
    size: int
    hash: bytes

    def __repr__(self) -> str:
        # Whoever has a presigned URL may use it.
        return f"BlobReference(size={self.size}, hash={self.hash.hex()})"


@dataclass(frozen=True, slots=True, repr=False)
class RequestEnvelope:
    """One HTTP request as the API server shall get it.

    ``path`` and ``query`` are percent-encoded as on the wire, ``query`` without its question mark.
    ``reply_key`` is the sealing public key that the response is sealed for; ``reply_url``, if any, takes a
    response body that is too large for the chain, by one PUT, or is ``ipfs:`` for a node of the listener's.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    reply_key: bytes
    body_blob: BlobReference | None = None
    reply_url: str = ""

    def to_bcs(self) -> bytes:
        writer = Writer().string(self.method).string(self.path).string(self.query)
        writer.vector(self.headers, _write_header)
        writer.byte_vector(self.body).byte_vector(self.reply_key)
        if self._version() == VERSION_WITH_BLOBS:
            writer.option(self.body_blob, _write_blob).string(self.reply_url)
        return writer.finish()

    def encode(self) -> bytes:
        """Ready to be sealed. ``PayloadTooLargeError`` if one command cannot carry it."""
        self._check()
        return _encode(self._version(), self.to_bcs(), "request", len(self.body), MAX_REQUEST_BODY_BYTES)

    @classmethod
    def decode(cls, data: bytes) -> RequestEnvelope:
        """The inverse of ``encode``; ``WireFormatError`` for everything else."""
        version, fields = _decode(data, MAX_REQUEST_BODY_BYTES)
        reader = Reader(fields)
        method, path, query = reader.string(), reader.string(), reader.string()
        headers = tuple(reader.vector(_read_header))
        envelope = cls(method, path, query, headers, reader.byte_vector(), reader.byte_vector())
        if version == VERSION_WITH_BLOBS:
            body_blob = reader.option(_read_blob)
            envelope = replace(envelope, body_blob=body_blob, reply_url=reader.string())
        reader.finish()
        envelope._check()
        _check_version(version, envelope._version())
        return envelope

    def _version(self) -> int:
        return VERSION if self.body_blob is None and not self.reply_url else VERSION_WITH_BLOBS

    def _check(self) -> None:
        if not _METHOD.fullmatch(self.method):
            raise WireFormatError("the envelope's method is not an HTTP method in capitals")
        if not self.path.startswith("/") or "?" in self.path or not _TARGET.fullmatch(self.path):
            raise WireFormatError("the envelope's path is not a percent-encoded absolute path")
        if not _TARGET.fullmatch(self.query):
            raise WireFormatError("the envelope's query is not percent-encoded")
        if len(self.reply_key) != PUBLIC_KEY_BYTES:
            raise WireFormatError(f"the envelope's reply key has {len(self.reply_key)} bytes")
        _check_headers(self.headers)
        _check_blob(self.body_blob, self.body)
        _check_url(self.reply_url)

    def __repr__(self) -> str:
        # Bodies, queries and headers may hold secrets and must not reach a log through an f-string.
        return f"RequestEnvelope(method={self.method!r}, body=<{len(self.body)} bytes>)"


@dataclass(frozen=True, slots=True, repr=False)
class ResponseEnvelope:
    """One HTTP response as the API server gave it: status, the headers that matter, body."""

    status: int
    headers: Headers
    body: bytes
    body_blob: BlobReference | None = None

    def to_bcs(self) -> bytes:
        writer = Writer().u16(self.status).vector(self.headers, _write_header).byte_vector(self.body)
        if self.body_blob is not None:
            writer.option(self.body_blob, _write_blob)
        return writer.finish()

    def encode(self) -> bytes:
        """Ready to be sealed. ``PayloadTooLargeError`` if one command cannot carry it."""
        self._check()
        return _encode(self._version(), self.to_bcs(), "response", len(self.body), MAX_RESPONSE_BODY_BYTES)

    @classmethod
    def decode(cls, data: bytes) -> ResponseEnvelope:
        """The inverse of ``encode``; ``WireFormatError`` for everything else."""
        version, fields = _decode(data, MAX_RESPONSE_BODY_BYTES)
        reader = Reader(fields)
        envelope = cls(reader.u16(), tuple(reader.vector(_read_header)), reader.byte_vector())
        if version == VERSION_WITH_BLOBS:
            envelope = replace(envelope, body_blob=reader.option(_read_blob))
        reader.finish()
        envelope._check()
        _check_version(version, envelope._version())
        return envelope

    def _version(self) -> int:
        return VERSION if self.body_blob is None else VERSION_WITH_BLOBS

    def _check(self) -> None:
        if not 200 <= self.status <= 599:
            raise WireFormatError(f"the envelope's status {self.status} is not that of a final HTTP response")
        _check_headers(self.headers)
        _check_blob(self.body_blob, self.body)

    def __repr__(self) -> str:
        return f"ResponseEnvelope(status={self.status}, body=<{len(self.body)} bytes>)"


def body_too_large(what: str, size: int, limit: int) -> PayloadTooLargeError:
    """The refusal of a ``request`` or ``response`` body."""
    return _too_large(f"the {what} body has {size} bytes", what, size, limit)


def _write_header(writer: Writer, header: tuple[str, str]) -> None:
    writer.string(header[0]).string(header[1])


def _read_header(reader: Reader) -> tuple[str, str]:
    return reader.string(), reader.string()


def _write_blob(writer: Writer, blob: BlobReference) -> None:
    writer.string(blob.url).u64(blob.size).fixed(blob.hash, BLOB_HASH_BYTES)


def _read_blob(reader: Reader) -> BlobReference:
    return BlobReference(reader.string(), reader.u64(), reader.fixed(BLOB_HASH_BYTES))


def _check_headers(headers: Headers) -> None:
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise WireFormatError("a header name in the envelope is not a token")
        if not _HEADER_VALUE.fullmatch(value):
            raise WireFormatError(f"the value of header {name} in the envelope has control characters")


def _check_blob(blob: BlobReference | None, body: bytes) -> None:
    if blob is None:
        return
    if body:
        raise WireFormatError("the envelope has a body and a blob for it")
    _check_url(blob.url)


def _check_url(url: str) -> None:
    """What may be a URL at all; which hosts are asked, the settings of the one who asks say."""
    if len(url) > MAX_URL_CHARACTERS or not _TARGET.fullmatch(url):
        raise WireFormatError("a URL in the envelope is too long or has characters that no URL has")


def _check_version(found: int, expected: int) -> None:
    if found != expected:
        raise WireFormatError(f"the envelope has version {found} for what version {expected} says")


def _encode(version: int, fields: bytes, what: str, body_size: int, body_limit: int) -> bytes:
    if body_size > body_limit:
        raise body_too_large(what, body_size, body_limit)
    head_size = len(fields) - body_size
    if head_size > _MAX_HEAD_BYTES:
        description = f"the {what}'s headers, path and query have {head_size} bytes"
        raise _too_large(description, what, head_size, _MAX_HEAD_BYTES)
    packed = pack(version, fields)
    size_class = padded_size(len(packed))
    if size_class is None:
        description = f"the {what} has {len(packed)} bytes even when compressed"
        raise _too_large(description, what, len(packed), LARGEST_CLASS)
    return packed.ljust(size_class, b"\0")


def _too_large(description: str, what: str, size: int, limit: int) -> PayloadTooLargeError:
    advice = (
        "send less in one command"
        if what == "request"
        else "ask for less with --chunk-size, a selector or a single name"
    )
    return PayloadTooLargeError(f"{description}, and the limit is {limit}: {advice}", size=size, limit=limit)


def _decode(data: bytes, body_limit: int) -> tuple[int, bytes]:
    return unpack(data, body_limit + _MAX_HEAD_BYTES, (VERSION, VERSION_WITH_BLOBS))
