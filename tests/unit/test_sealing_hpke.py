"""Sealed bodies: layout, and what each one is bound to."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k3s_daas.errors import SealedDataError
from k3s_daas.sealing import (
    PUBLIC_KEY_BYTES,
    SEALING_OVERHEAD_BYTES,
    SealingPrivateKey,
    SealingPublicKey,
    request_info,
    response_info,
)

CLUSTER, SEAL, REQUEST_ID = b"\x11" * 32, b"\x22" * 32, bytes(range(16))
GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "sealing.json").read_text(encoding="utf-8"))


def private_key(label: str) -> SealingPrivateKey:
    """A test key that everybody can derive: SHA-256 of ``label``/0, /1 and /2, one after the other."""
    seeds = (hashlib.sha256(f"{label}/{index}".encode()).digest() for index in range(3))
    return SealingPrivateKey.from_private_bytes(b"".join(seeds))


RECIPIENT = private_key("golden recipient")


def test_a_body_sealed_long_ago_still_opens() -> None:
    assert hashlib.sha256(RECIPIENT.public_bytes()).hexdigest() == GOLDEN["public_key_sha256"]
    sealed = bytes.fromhex(GOLDEN["sealed"])
    assert sealed[:1] == b"\x01"
    assert sealed[1:9].hex() == GOLDEN["public_key_sha256"][:16]
    info = request_info(CLUSTER, SEAL, REQUEST_ID)
    assert RECIPIENT.open(sealed, info) == GOLDEN["plaintext"].encode()


def test_info_has_golden_bytes() -> None:
    tail = "11" * 32 + "22" * 32 + REQUEST_ID.hex()
    assert request_info(CLUSTER, SEAL, REQUEST_ID).hex() == "13" + b"k3s-daas/request/v1".hex() + tail
    assert response_info(CLUSTER, SEAL, REQUEST_ID).hex() == "14" + b"k3s-daas/response/v1".hex() + tail


@settings(max_examples=20)
@given(st.binary(max_size=300), st.binary(max_size=80))
def test_what_is_sealed_opens(plaintext: bytes, info: bytes) -> None:
    sealed = RECIPIENT.public_key.seal(plaintext, info)
    assert len(sealed) == len(plaintext) + SEALING_OVERHEAD_BYTES
    assert RECIPIENT.open(sealed, info) == plaintext


def test_two_sealings_of_the_same_body_have_nothing_in_common() -> None:
    first, second = (RECIPIENT.public_key.seal(b"same", b"info") for _ in range(2))
    assert first[:9] == second[:9], "version and key id"
    assert first[9:] != second[9:]


@pytest.mark.parametrize(
    "info",
    [
        request_info(b"\x99" * 32, SEAL, REQUEST_ID),
        request_info(CLUSTER, b"\x99" * 32, REQUEST_ID),
        request_info(CLUSTER, SEAL, b"\x99" * 16),
        response_info(CLUSTER, SEAL, REQUEST_ID),
        b"",
    ],
    ids=["another cluster", "another seal", "another request", "the other direction", "nothing"],
)
def test_a_body_copied_elsewhere_does_not_open(info: bytes) -> None:
    sealed = RECIPIENT.public_key.seal(b"body", request_info(CLUSTER, SEAL, REQUEST_ID))
    with pytest.raises(SealedDataError, match="another request"):
        RECIPIENT.open(sealed, info)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SealedDataError, match="sealed for another key"):
        private_key("another").open(RECIPIENT.public_key.seal(b"body", b""), b"")


@settings(max_examples=60)
@given(st.integers(0, SEALING_OVERHEAD_BYTES + 3), st.integers(0, 7))
def test_no_bit_of_a_sealed_body_can_be_flipped(position: int, bit: int) -> None:
    sealed = bytearray(RECIPIENT.public_key.seal(b"body", b"info"))
    sealed[position] ^= 1 << bit
    with pytest.raises(SealedDataError):
        RECIPIENT.open(bytes(sealed), b"info")


@pytest.mark.parametrize("length", [0, 1, 9, SEALING_OVERHEAD_BYTES - 1, SEALING_OVERHEAD_BYTES + 3])
def test_a_cut_body_does_not_open(length: int) -> None:
    with pytest.raises(SealedDataError):
        RECIPIENT.open(RECIPIENT.public_key.seal(b"body", b"")[:length], b"")


def test_another_version_is_named() -> None:
    sealed = b"\x02" + RECIPIENT.public_key.seal(b"body", b"")[1:]
    with pytest.raises(SealedDataError, match="version 2"):
        RECIPIENT.open(sealed, b"")


def test_keys_survive_their_bytes() -> None:
    generated = SealingPrivateKey.generate()
    again = SealingPrivateKey.from_private_bytes(generated.private_bytes())
    public = SealingPublicKey.from_bytes(generated.public_bytes())
    assert again.open(public.seal(b"body", b""), b"") == b"body"
    assert public.key_id == again.public_key.key_id
    assert SealingPrivateKey.generate().private_bytes() != generated.private_bytes()


@pytest.mark.parametrize(
    "raw",
    [b"", bytes(PUBLIC_KEY_BYTES - 1), bytes(PUBLIC_KEY_BYTES + 1), b"\xff" * PUBLIC_KEY_BYTES],
    ids=["empty", "short", "long", "out of range"],
)
def test_other_bytes_are_no_public_key(raw: bytes) -> None:
    with pytest.raises(SealedDataError):
        SealingPublicKey.from_bytes(raw)


def test_nothing_is_sealed_for_a_low_order_point() -> None:
    raw = RECIPIENT.public_bytes()[:-32] + bytes(32)
    with pytest.raises(SealedDataError):
        SealingPublicKey.from_bytes(raw).seal(b"body", b"")


def test_a_private_key_has_its_length_and_does_not_show_itself() -> None:
    with pytest.raises(SealedDataError, match="96 bytes, not 95"):
        SealingPrivateKey.from_private_bytes(bytes(95))
    shown = repr(RECIPIENT)
    assert RECIPIENT.public_key.key_id.hex() in shown
    assert RECIPIENT.private_bytes().hex()[:16] not in shown
