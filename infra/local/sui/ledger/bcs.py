"""Binary Canonical Serialization: a strict reader and the few writers that the ledger needs.

Written for this ledger because it must refuse what is not canonical (padded ULEB128, trailing bytes, booleans
other than 0 and 1), as a validator does, and must read 100 KB arguments without a Python loop per byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..uleb import encode_uleb

Item = TypeVar("Item")


class BcsError(ValueError):
    """The bytes are not the canonical encoding of the expected type."""


class Reader:
    """Consumes a byte string from the front."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def position(self) -> int:
        return self._position

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise BcsError(f"{end - len(self._data)} bytes are missing at the end")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def unsigned(self, width: int) -> int:
        """An unsigned integer of ``width`` bytes."""
        return int.from_bytes(self.take(width), "little")

    def u8(self) -> int:
        return self.unsigned(1)

    def u16(self) -> int:
        return self.unsigned(2)

    def u32(self) -> int:
        return self.unsigned(4)

    def u64(self) -> int:
        return self.unsigned(8)

    def boolean(self) -> bool:
        value = self.u8()
        if value > 1:
            raise BcsError(f"{value} is not a boolean")
        return bool(value)

    def uleb(self) -> int:
        """A ULEB128 number that fits 32 bits, in its shortest form."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift > 0) or value > 0xFFFF_FFFF:
                    raise BcsError("a length is not in its shortest form or too large")
                return value
        raise BcsError("a length has more than five bytes")

    def blob(self) -> bytes:
        """``vector<u8>``."""
        return self.take(self.uleb())

    def text(self) -> str:
        try:
            return self.blob().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BcsError("a string is not UTF-8") from error

    def address(self) -> bytes:
        return self.take(32)

    def digest(self) -> bytes:
        """A digest: 32 bytes behind their length."""
        value = self.blob()
        if len(value) != 32:
            raise BcsError(f"a digest has {len(value)} bytes, not 32")
        return value

    def option(self, read: Callable[[], Item]) -> Item | None:
        return read() if self.boolean() else None

    def vector(self, read: Callable[[], Item]) -> tuple[Item, ...]:
        return tuple(read() for _ in range(self.uleb()))

    def finish(self) -> None:
        """Assert that nothing is left.

        Raises:
            BcsError: bytes remain.
        """
        left = len(self._data) - self._position
        if left:
            raise BcsError(f"{left} bytes are left over")


def u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def blob(value: bytes) -> bytes:
    """``vector<u8>``, and every digest."""
    return encode_uleb(len(value)) + value


def text(value: str) -> bytes:
    return blob(value.encode("utf-8"))


def option(value: bytes | None) -> bytes:
    return b"\0" if value is None else b"\1" + value


def vector(items: Iterable[bytes]) -> bytes:
    encoded = list(items)
    return encode_uleb(len(encoded)) + b"".join(encoded)
