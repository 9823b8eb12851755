"""Hashes, ids and their texts as Sui writes them: blake2b-256, base58 digests, 0x-hex addresses."""

from __future__ import annotations

import hashlib

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES = {symbol: value for value, symbol in enumerate(_BASE58)}
_REGULAR_OBJECT_ID = b"\xf1"


def blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def hash_named(type_name: str, encoded: bytes) -> bytes:
    """The digest of a signable Sui structure: its type's name, two colons, its BCS."""
    return blake2b(type_name.encode() + b"::" + encoded)


def fresh_id(transaction_digest: bytes, created: int) -> bytes:
    """The id of the ``created``-th object (from 0) of a transaction, as ``tx_context`` derives it."""
    return blake2b(_REGULAR_OBJECT_ID + transaction_digest + created.to_bytes(8, "little"))


def base58(digest: bytes) -> str:
    number = int.from_bytes(digest, "big")
    symbols = []
    while number:
        number, remainder = divmod(number, 58)
        symbols.append(_BASE58[remainder])
    leading = len(digest) - len(digest.lstrip(b"\0"))
    return _BASE58[0] * leading + "".join(reversed(symbols))


def parse_base58(text: str) -> bytes:
    """The 32 bytes of a digest.

    Raises:
        ValueError: the text is not the base58 form of 32 bytes.
    """
    number = 0
    for symbol in text:
        if symbol not in _BASE58_VALUES:
            raise ValueError(f"{text!r} is not base58")
        number = number * 58 + _BASE58_VALUES[symbol]
    leading = len(text) - len(text.lstrip(_BASE58[0]))
    body = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if leading + len(body) != 32:
        raise ValueError(f"{text!r} is not a digest of 32 bytes")
    return bytes(leading) + body


def hex_address(address: bytes) -> str:
    return "0x" + address.hex()


def parse_address(text: str) -> bytes:
    """An address or object id of up to 64 hex digits, ``0x`` optional.

    Raises:
        ValueError: it is not one.
    """
    digits = text.removeprefix("0x")
    if not 0 < len(digits) <= 64:
        raise ValueError(f"{text!r} is not an address: 0x and up to 64 hex digits are expected")
    try:
        return bytes.fromhex(digits.rjust(64, "0"))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address: 0x and up to 64 hex digits are expected") from error
