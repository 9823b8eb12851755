"""Chunks of ciphertext and the hash that the contract computes too."""

import hashlib

import pytest

from k3s_daas.errors import PayloadTooLargeError, WireFormatError
from k3s_daas.payload import CHUNK_BYTES, MAX_CIPHERTEXT_BYTES, join, payload_hash, split


@pytest.mark.parametrize(
    "size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, MAX_CIPHERTEXT_BYTES]
)
def test_chunks_join_to_the_same_bytes(size: int) -> None:
    ciphertext = bytes(index % 251 for index in range(size))
    chunks = split(ciphertext)
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    assert join(chunks) == ciphertext


def test_the_largest_ciphertext_fits_a_transaction() -> None:
    chunks = split(bytes(MAX_CIPHERTEXT_BYTES))
    assert CHUNK_BYTES < 16_384 - 3, "a pure argument has less than 16 KiB, its length bytes included"
    assert len(chunks) == 7
    assert sum(map(len, chunks)) < 120_000, "128 KiB hold the signatures and the other inputs too"


def test_too_much_is_refused_with_its_size() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        split(bytes(MAX_CIPHERTEXT_BYTES + 1))
    assert (caught.value.size, caught.value.limit) == (MAX_CIPHERTEXT_BYTES + 1, MAX_CIPHERTEXT_BYTES)


def test_nothing_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="empty"):
        split(b"")


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b""],
        [b"a", b"b"],
        [bytes(CHUNK_BYTES), b""],
        [bytes(CHUNK_BYTES + 1)],
        [bytes(CHUNK_BYTES)] * 7,
    ],
)
def test_another_cut_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(WireFormatError):
        join(chunks)


def test_the_hash_is_that_of_the_chunks_hashes() -> None:
    assert payload_hash([b"abc"]).hex() == "f6362cbb9fb8a60f03c2f0d8124d2c6a1a828e2db8e8b05a6f699735b4492cbc"
    expected = hashlib.sha3_256(hashlib.sha3_256(b"a").digest() + hashlib.sha3_256(b"b").digest()).digest()
    assert payload_hash([b"a", b"b"]) == expected
    assert payload_hash([b"ab"]) != expected, "the cut is part of what is hashed"
