"""Sui's hashes and their text form: BLAKE2b-256 and base58.

Source of the rules: Sui's transaction digest is the hash of `TransactionData::` ‖ BCS; an address is the hash
of scheme flag ‖ public key; what a signer signs is the hash of the intent ‖ BCS.
"""

from __future__ import annotations

import hashlib

from k3s_daas.bcs import Writer

DIGEST_BYTES = 32
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
# 32 bytes never need more than 44 base58 characters; the bound keeps the quadratic decoding cheap.
_MAX_TEXT = 44
# Intent: scope 0 (TransactionData), version 0, application 0 (Sui).
_TRANSACTION_INTENT = b"\x00\x00\x00"
# Scope 3 (PersonalMessage): no signature over one can be mistaken for one over a transaction.
_PERSONAL_MESSAGE_INTENT = b"\x03\x00\x00"


def blake2b256(data: bytes) -> bytes:
    """BLAKE2b with a 32-byte output."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def to_base58(data: bytes) -> str:
    """Base58 (Bitcoin's alphabet); each leading zero byte becomes a `1`."""
    number = int.from_bytes(data, "big")
    text = ""
    while number:
        number, remainder = divmod(number, 58)
        text = _ALPHABET[remainder] + text
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + text


def base58_bytes(text: str) -> bytes:
    """The bytes of base58 text, in quadratic time: the caller bounds its length. Raises `ValueError`."""
    number = 0
    for character in text:
        if character not in _VALUES:
            raise ValueError(f"{character!r} is not a base58 character")
        number = number * 58 + _VALUES[character]
    leading = len(text) - len(text.lstrip("1"))
    return bytes(leading) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def digest_bytes(text: str) -> bytes:
    """The 32 bytes of a base58 digest. Raises `ValueError` for anything else."""
    if not 0 < len(text) <= _MAX_TEXT:
        raise ValueError(f"a digest has at most {_MAX_TEXT} base58 characters, got {len(text)}")
    data = base58_bytes(text)
    if len(data) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, got {len(data)}")
    return data


def transaction_digest(transaction: bytes) -> str:
    """The base58 digest under which Sui knows the transaction with this BCS."""
    return to_base58(blake2b256(b"TransactionData::" + transaction))


def signing_digest(transaction: bytes) -> bytes:
    """The 32 bytes that a signer of this transaction signs."""
    return blake2b256(_TRANSACTION_INTENT + transaction)


def personal_message_digest(message: bytes) -> bytes:
    """The 32 bytes that a signer of this personal message signs: the message is hashed as `vector<u8>`."""
    return blake2b256(_PERSONAL_MESSAGE_INTENT + Writer().byte_vector(message).finish())


def address_of(public_key: bytes) -> bytes:
    """The Sui address of a public key given as scheme flag ‖ key."""
    return blake2b256(public_key)
