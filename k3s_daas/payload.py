"""How a ciphertext travels in a Sui transaction: in chunks, each a pure argument of its own.

Sui takes less than 16 KiB per pure argument and 128 KiB per transaction. The contract hashes the chunks, not
their concatenation, because joining large vectors is what costs gas in Move:
``sha3_256(sha3_256(c1) ‖ sha3_256(c2) ‖ …)``. The hash covers ciphertext only; the hash of a plaintext could
be guessed off line by anybody who reads the chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from k3s_daas.errors import PayloadTooLargeError, WireFormatError

CHUNK_BYTES = 16_000
MAX_CIPHERTEXT_BYTES = 96 * 1024


def split(ciphertext: bytes) -> list[bytes]:
    """The chunks of a ciphertext: all full but the last. ``PayloadTooLargeError`` over the maximum."""
    if not ciphertext:
        raise ValueError("an empty ciphertext cannot be sent: a sealed body is never empty")
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise PayloadTooLargeError(
            f"the sealed body has {len(ciphertext)} bytes and a transaction carries {MAX_CIPHERTEXT_BYTES}: "
            "send less in one command",
            size=len(ciphertext),
            limit=MAX_CIPHERTEXT_BYTES,
        )
    return [ciphertext[start : start + CHUNK_BYTES] for start in range(0, len(ciphertext), CHUNK_BYTES)]


def join(chunks: Sequence[bytes]) -> bytes:
    """The ciphertext of chunks; ``WireFormatError`` unless ``split`` would give exactly these."""
    if not chunks or not chunks[-1]:
        raise WireFormatError("the payload has no bytes")
    if any(len(chunk) != CHUNK_BYTES for chunk in chunks[:-1]) or len(chunks[-1]) > CHUNK_BYTES:
        raise WireFormatError(f"the payload is not cut into chunks of {CHUNK_BYTES} bytes")
    ciphertext = b"".join(chunks)
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise WireFormatError(f"the payload has {len(ciphertext)} bytes, more than {MAX_CIPHERTEXT_BYTES}")
    return ciphertext


def payload_hash(chunks: Sequence[bytes]) -> bytes:
    """The 32-byte hash of chunks that the contract computes too."""
    digests = b"".join(hashlib.sha3_256(chunk).digest() for chunk in chunks)
    return hashlib.sha3_256(digests).digest()
