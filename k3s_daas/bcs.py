"""Binary Canonical Serialization: the little of it that we use, and strictly.

One value has one encoding, so equal hashes mean equal values. ``Reader`` therefore refuses what a lenient
decoder accepts: trailing or missing bytes, over-long uleb128, booleans other than 0 and 1, text that is not
UTF-8. Layout rules: https://github.com/zefchain/bcs (the format that Sui uses on the wire).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from k3s_daas.errors import BcsError
from k3s_daas.ids import ADDRESS_BYTES

T = TypeVar("T")

# BCS lengths are at most 2**31 - 1; enum tags share the encoding and fit as well.
MAX_ULEB128 = 2**31 - 1

__all__ = ["BcsError", "Reader", "Writer"]


class Writer:
    """Appends values; every method returns the writer, ``finish`` the bytes.

    A value that its type cannot hold is a programming error: ``ValueError``.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def finish(self) -> bytes:
        return bytes(self._buffer)

    def uleb128(self, value: int) -> Writer:
        """A length or an enum tag, 0 to 2**31 - 1."""
        if not 0 <= value <= MAX_ULEB128:
            raise ValueError(f"{value} does not fit a BCS length")
        while value > 0x7F:
            self._buffer.append(value & 0x7F | 0x80)
            value >>= 7
        self._buffer.append(value)
        return self

    def u8(self, value: int) -> Writer:
        return self._unsigned(value, 1)

    def u16(self, value: int) -> Writer:
        return self._unsigned(value, 2)

    def u32(self, value: int) -> Writer:
        return self._unsigned(value, 4)

    def u64(self, value: int) -> Writer:
        return self._unsigned(value, 8)

    def boolean(self, value: bool) -> Writer:
        return self._unsigned(int(value), 1)

    def fixed(self, value: bytes, length: int | None = None) -> Writer:
        """Raw bytes without a length; ``length`` asserts how many there must be."""
        if length is not None and len(value) != length:
            raise ValueError(f"expected {length} bytes, got {len(value)}")
        self._buffer += value
        return self

    def address(self, value: bytes) -> Writer:
        """An address or object id: 32 bytes, no length."""
        return self.fixed(value, ADDRESS_BYTES)

    def byte_vector(self, value: bytes) -> Writer:
        """``vector<u8>``: the length, then the bytes."""
        return self.uleb128(len(value)).fixed(value)

    def string(self, value: str) -> Writer:
        """``String``: UTF-8 with its length in bytes."""
        return self.byte_vector(value.encode())

    def vector(self, items: Iterable[T], write: Callable[[Writer, T], object]) -> Writer:
        """``vector<T>``: the count, then each item as ``write(self, item)`` writes it."""
        listed = list(items)
        self.uleb128(len(listed))
        for item in listed:
            write(self, item)
        return self

    def option(self, value: T | None, write: Callable[[Writer, T], object]) -> Writer:
        """``Option<T>``: a vector of none or one."""
        return self.vector([] if value is None else [value], write)

    def _unsigned(self, value: int, length: int) -> Writer:
        if not 0 <= value < 1 << 8 * length:
            raise ValueError(f"{value} does not fit an unsigned integer of {8 * length} bits")
        self._buffer += value.to_bytes(length, "little")
        return self


class Reader:
    """Reads values in order from ``data``; anything unexpected is a ``BcsError``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        """How many bytes have not been read."""
        return len(self._data) - self._position

    def finish(self) -> None:
        """Everything must have been read."""
        if self.remaining:
            raise BcsError(f"{self.remaining} bytes follow the end of the value")

    def uleb128(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise BcsError("a length is written longer than it need be")
                if value > MAX_ULEB128:
                    break
                return value
        raise BcsError("a length is larger than BCS allows")

    def u8(self) -> int:
        return self._unsigned(1)

    def u16(self) -> int:
        return self._unsigned(2)

    def u32(self) -> int:
        return self._unsigned(4)

    def u64(self) -> int:
        return self._unsigned(8)

    def boolean(self) -> bool:
        value = self.u8()
        if value > 1:
            raise BcsError(f"{value} is not a boolean")
        return value == 1

    def fixed(self, length: int) -> bytes:
        """Exactly ``length`` raw bytes."""
        if length > self.remaining:
            raise BcsError(f"{length} bytes expected, {self.remaining} left")
        start = self._position
        self._position += length
        return bytes(self._data[start : self._position])

    def address(self) -> bytes:
        return self.fixed(ADDRESS_BYTES)

    def byte_vector(self) -> bytes:
        return self.fixed(self.uleb128())

    def string(self) -> str:
        try:
            return self.byte_vector().decode()
        except UnicodeDecodeError as error:
            raise BcsError("a string is not UTF-8") from error

    def vector(self, read: Callable[[Reader], T]) -> list[T]:
        """``vector<T>``, each item read by ``read(self)``.

        A count beyond the bytes that are left is refused before anything is allocated: no type of ours is
        empty, so each item takes at least one byte.
        """
        count = self.uleb128()
        if count > self.remaining:
            raise BcsError(f"{count} items expected, {self.remaining} bytes left")
        return [read(self) for _ in range(count)]

    def option(self, read: Callable[[Reader], T]) -> T | None:
        items = self.vector(read)
        if len(items) > 1:
            raise BcsError(f"an option holds {len(items)} values")
        return items[0] if items else None

    def _unsigned(self, length: int) -> int:
        return int.from_bytes(self.fixed(length), "little")
