"""Addresses, object ids and request ids: bytes inside Python, one text form outside."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

ADDRESS_BYTES = 32
REQUEST_ID_BYTES = 16

_HEX_ADDRESS = re.compile(r"0x[0-9a-f]{64}", re.ASCII)


def to_hex(value: bytes) -> str:
    """The text form of an address, object id or hash: ``0x`` and 64 lower-case hex digits."""
    if len(value) != ADDRESS_BYTES:
        raise ValueError(f"an address has {ADDRESS_BYTES} bytes, not {len(value)}")
    return "0x" + value.hex()


def from_hex(text: str) -> bytes:
    """The 32 bytes of ``0x`` + 64 hex digits; ``ValueError`` for any other form (short forms included).

    Upper-case digits are accepted and mean the same.
    """
    if not _HEX_ADDRESS.fullmatch(text.lower()):
        raise ValueError("an address is written as 0x and 64 hexadecimal digits")
    return bytes.fromhex(text[2:])


def new_request_id(now_ms: int, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """A fresh request id: 8 bytes of Unix ms, big-endian, then 8 random bytes.

    The time lets the contract forget old requests without ever accepting one again.
    """
    return now_ms.to_bytes(8, "big") + random(REQUEST_ID_BYTES - 8)


def request_id_time_ms(request_id: bytes) -> int:
    """The Unix ms at which a request id was made, as its maker says."""
    _check_request_id(request_id)
    return int.from_bytes(request_id[:8], "big")


def request_id_text(request_id: bytes) -> str:
    """The text form of a request id: 32 lower-case hex digits, no prefix."""
    _check_request_id(request_id)
    return request_id.hex()


def _check_request_id(request_id: bytes) -> None:
    if len(request_id) != REQUEST_ID_BYTES:
        raise ValueError(f"a request id has {REQUEST_ID_BYTES} bytes, not {len(request_id)}")
