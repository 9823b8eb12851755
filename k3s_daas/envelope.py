"""What is inside a sealed body: the HTTP request for the listener, the HTTP response for the gateway.

Layout::

    version 0x01 ‖ u32 length of the compressed part ‖ zlib(BCS of the fields) ‖ zeros up to a size class

BCS fields in the order of the dataclasses; headers are ``vector<(String, String)>``. The padding hides sizes
from the readers of the chain up to a class: powers of two and one and a half times them, from 512 bytes on.
Decompression is bounded before it starts, so a small body cannot become a large one in memory.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from itertools import pairwise

from k3s_daas.bcs import Reader, Writer
from k3s_daas.errors import PayloadTooLargeError, WireFormatError
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES
from k3s_daas.sealing import PUBLIC_KEY_BYTES, SEALING_OVERHEAD_BYTES

VERSION = 1
_HEADER_BYTES = 5

# A body is at most 3 MiB one way (what an API server takes) and what Lambda carries the other way; beyond it
# come headers and field lengths.
MAX_REQUEST_BODY_BYTES = 3 * 1024 * 1024
MAX_RESPONSE_BODY_BYTES = 4_500_000
_MAX_HEAD_BYTES = 64 * 1024

# The largest class is what still fits one transaction once sealed.
LARGEST_CLASS = MAX_CIPHERTEXT_BYTES - SEALING_OVERHEAD_BYTES
SIZE_CLASSES: tuple[int, ...] = (
    *sorted(
        size for power in range(9, 17) for size in (1 << power, 3 << (power - 1)) if size < LARGEST_CLASS
    ),
    LARGEST_CLASS,
)
assert all(smaller < larger for smaller, larger in pairwise(SIZE_CLASSES))

_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,16384}")
_TARGET = re.compile(r"[\x21\x22\x24-\x7e]*", re.ASCII)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, repr=False)
class RequestEnvelope:
    """One HTTP request as the API server shall get it.

    ``path`` and ``query`` are percent-encoded as on the wire, ``query`` without its question mark.
    ``reply_key`` is the sealing public key that the response is sealed for.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    reply_key: bytes

    def to_bcs(self) -> bytes:
        writer = Writer().string(self.method).string(self.path).string(self.query)
        writer.vector(self.headers, _write_header)
        return writer.byte_vector(self.body).byte_vector(self.reply_key).finish()

    def encode(self) -> bytes:
        """Ready to be sealed. ``PayloadTooLargeError`` if one command cannot carry it."""
        self._check()
        return _pack(self.to_bcs(), "request", len(self.body), MAX_REQUEST_BODY_BYTES)

    @classmethod
    def decode(cls, data: bytes) -> RequestEnvelope:
        """The inverse of ``encode``; ``WireFormatError`` for everything else."""
        reader = Reader(_unpack(data, MAX_REQUEST_BODY_BYTES + _MAX_HEAD_BYTES))
        method, path, query = reader.string(), reader.string(), reader.string()
        headers = tuple(reader.vector(_read_header))
        envelope = cls(method, path, query, headers, reader.byte_vector(), reader.byte_vector())
        reader.finish()
        envelope._check()
        return envelope

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

    def __repr__(self) -> str:
        # Bodies, queries and headers may hold secrets and must not reach a log through an f-string.
        return f"RequestEnvelope(method={self.method!r}, body=<{len(self.body)} bytes>)"


@dataclass(frozen=True, slots=True, repr=False)
class ResponseEnvelope:
    """One HTTP response as the API server gave it: status, the headers that matter, body."""

    status: int
    headers: Headers
    body: bytes

    def to_bcs(self) -> bytes:
        return Writer().u16(self.status).vector(self.headers, _write_header).byte_vector(self.body).finish()

    def encode(self) -> bytes:
        """Ready to be sealed. ``PayloadTooLargeError`` if one command cannot carry it."""
        self._check()
        return _pack(self.to_bcs(), "response", len(self.body), MAX_RESPONSE_BODY_BYTES)

    @classmethod
    def decode(cls, data: bytes) -> ResponseEnvelope:
        """The inverse of ``encode``; ``WireFormatError`` for everything else."""
        reader = Reader(_unpack(data, MAX_RESPONSE_BODY_BYTES + _MAX_HEAD_BYTES))
        envelope = cls(reader.u16(), tuple(reader.vector(_read_header)), reader.byte_vector())
        reader.finish()
        envelope._check()
        return envelope

    def _check(self) -> None:
        if not 200 <= self.status <= 599:
            raise WireFormatError(f"the envelope's status {self.status} is not that of a final HTTP response")
        _check_headers(self.headers)

    def __repr__(self) -> str:
        return f"ResponseEnvelope(status={self.status}, body=<{len(self.body)} bytes>)"


def padded_size(size: int) -> int | None:
    """The size class of that many bytes, None above the largest."""
    return next((size_class for size_class in SIZE_CLASSES if size <= size_class), None)


def _write_header(writer: Writer, header: tuple[str, str]) -> None:
    writer.string(header[0]).string(header[1])


def _read_header(reader: Reader) -> tuple[str, str]:
    return reader.string(), reader.string()


def _check_headers(headers: Headers) -> None:
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise WireFormatError("a header name in the envelope is not a token")
        if not _HEADER_VALUE.fullmatch(value):
            raise WireFormatError(f"the value of header {name} in the envelope has control characters")


def _pack(fields: bytes, what: str, body_size: int, body_limit: int) -> bytes:
    if body_size > body_limit:
        raise _too_large(f"the {what} body has {body_size} bytes", what, body_size, body_limit)
    head_size = len(fields) - body_size
    if head_size > _MAX_HEAD_BYTES:
        description = f"the {what}'s headers, path and query have {head_size} bytes"
        raise _too_large(description, what, head_size, _MAX_HEAD_BYTES)
    compressed = zlib.compress(fields, 6)
    packed = Writer().u8(VERSION).u32(len(compressed)).fixed(compressed).finish()
    size_class = padded_size(len(packed))
    if size_class is None:
        description = f"the {what} has {len(packed)} bytes even when compressed"
        raise _too_large(description, what, len(packed), LARGEST_CLASS)
    return packed.ljust(size_class, b"\0")


def _too_large(description: str, what: str, size: int, limit: int) -> PayloadTooLargeError:
    advice = (
        "send less in one command"
        if what == "request"
        else "ask for less with --chunk-size, a selector or a single name (kubectl apply: --validate=false)"
    )
    return PayloadTooLargeError(f"{description}, and the limit is {limit}: {advice}", size=size, limit=limit)


def _unpack(data: bytes, limit: int) -> bytes:
    if len(data) not in SIZE_CLASSES:
        raise WireFormatError(f"an envelope of {len(data)} bytes is in no size class")
    reader = Reader(data)
    version = reader.u8()
    if version != VERSION:
        raise WireFormatError(f"the envelope has version {version}, and this side knows {VERSION}")
    compressed = reader.fixed(reader.u32())
    if padded_size(_HEADER_BYTES + len(compressed)) != len(data):
        raise WireFormatError("the envelope is padded beyond its size class")
    if any(reader.fixed(reader.remaining)):
        raise WireFormatError("the envelope's padding is not zero")
    return _decompress(compressed, limit)


def _decompress(compressed: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        fields = inflater.decompress(compressed, limit + 1)
    except zlib.error as error:
        raise WireFormatError("the envelope does not decompress") from error
    if len(fields) > limit:
        raise WireFormatError(f"the envelope holds more than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise WireFormatError("the envelope's compressed part is cut or followed by other bytes")
    return fields
