"""ULEB128, in which bytecode and BCS write lengths and indices."""

from __future__ import annotations


def encode_uleb(number: int) -> bytes:
    """The shortest form of a number that is not negative."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
