"""How fields become bytes that can be sealed: compressed, and padded so that sizes say little.

Layout::

    version (u8) ‖ u32 length of the compressed part ‖ zlib(fields) ‖ zeros up to a size class

The size classes are powers of two and one and a half times them, from 512 bytes on: up to what one
transaction carries, and further for bodies that are kept outside the chain. Decompression is bounded before
it starts, so a small body cannot become a large one in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

from k3s_daas.bcs import Reader, Writer
from k3s_daas.errors import WireFormatError
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES
from k3s_daas.sealing import SEALING_OVERHEAD_BYTES

_HEADER_BYTES = 5


def _classes(powers: range) -> list[int]:
    return sorted(size for power in powers for size in (1 << power, 3 << (power - 1)))


# The largest class is what still fits one transaction once sealed.
LARGEST_CLASS = MAX_CIPHERTEXT_BYTES - SEALING_OVERHEAD_BYTES
SIZE_CLASSES: tuple[int, ...] = (
    *(size for size in _classes(range(9, 17)) if size < LARGEST_CLASS),
    LARGEST_CLASS,
)
# The largest is 6 MiB: the first class above what Lambda carries.
BLOB_SIZE_CLASSES: tuple[int, ...] = tuple(_classes(range(9, 23)))[:-1]
assert all(smaller < larger for smaller, larger in pairwise(SIZE_CLASSES))


def padded_size(size: int, classes: Sequence[int] = SIZE_CLASSES) -> int | None:
    """The size class of that many bytes, None above the largest."""
    return next((size_class for size_class in classes if size <= size_class), None)


def pack(version: int, fields: bytes) -> bytes:
    """Compressed, not padded yet."""
    compressed = zlib.compress(fields, 6)
    return Writer().u8(version).u32(len(compressed)).fixed(compressed).finish()


def unpack(
    data: bytes, limit: int, versions: Sequence[int], classes: Sequence[int] = SIZE_CLASSES
) -> tuple[int, bytes]:
    """Version (one of `versions`) and fields (at most `limit` bytes). ``WireFormatError`` for everything that
    ``pack`` and padding do not write."""
    if len(data) not in classes:
        raise WireFormatError(f"an envelope of {len(data)} bytes is in no size class")
    reader = Reader(data)
    version = reader.u8()
    if version not in versions:
        known = " and ".join(map(str, versions))
        raise WireFormatError(f"the envelope has version {version}, and this side knows {known}")
    compressed = reader.fixed(reader.u32())
    if padded_size(_HEADER_BYTES + len(compressed), classes) != len(data):
        raise WireFormatError("the envelope is padded beyond its size class")
    if any(reader.fixed(reader.remaining)):
        raise WireFormatError("the envelope's padding is not zero")
    return version, _decompress(compressed, limit)


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
