"""Signing with a file and with a KMS, and accepting exactly what Sui accepts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto import mock_aws

from k3s_daas.errors import ConfigurationError, WireFormatError
from k3s_daas.sui.digests import blake2b256, personal_message_digest, signing_digest
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import (
    SECP256K1_ORDER,
    SECP256R1_ORDER,
    FileSigner,
    verify_personal_message,
    verify_signature,
)

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

TRANSACTION = b"bytes of a transaction"
CURVES = {0x01: (ec.SECP256K1(), SECP256K1_ORDER), 0x02: (ec.SECP256R1(), SECP256R1_ORDER)}


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> "Iterator[KMSClient]":
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("kms", region_name="eu-central-1")


def ecdsa_signature(flag: int, *, high_s: bool, transaction: bytes = TRANSACTION) -> tuple[bytes, bytes]:
    """(signature, public key with flag), with the lower or the higher of the two valid s."""
    curve, order = CURVES[flag]
    key = ec.generate_private_key(curve)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    r, s = decode_dss_signature(key.sign(signing_digest(transaction), ec.ECDSA(hashes.SHA256())))
    low, high = sorted((s, order - s))
    raw = r.to_bytes(32, "big") + (high if high_s else low).to_bytes(32, "big")
    return bytes([flag]) + raw + point, bytes([flag]) + point


def test_a_file_signer_is_the_same_after_loading(tmp_path: Path) -> None:
    made = FileSigner.generate(tmp_path / "key")
    loaded = FileSigner.load(tmp_path / "key")
    assert (loaded.address, loaded.public_key) == (made.address, made.public_key)
    assert loaded.address == blake2b256(loaded.public_key)
    assert loaded.sign(TRANSACTION) == made.sign(TRANSACTION)
    verify_signature(TRANSACTION, loaded.sign(TRANSACTION), made.public_key)


def test_a_key_file_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    FileSigner.generate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        FileSigner.generate(path)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    FileSigner.generate(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        FileSigner.load(path)


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "ab" * 33, "0x" + "ab" * 32])
def test_a_malformed_key_file_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        FileSigner.load(path)
    assert caught.value.__cause__ is None
    assert not content or content not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-key"):
        FileSigner.load(tmp_path / "no-such-key")


def test_a_kms_signature_is_one_that_sui_accepts(kms: "KMSClient") -> None:
    key_id = kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    signer = KmsSigner(kms, key_id)
    assert len(signer.public_key) == 34
    assert signer.address == blake2b256(signer.public_key)
    # Enough signatures that a high s would come up (one in two does before it is lowered).
    for number in range(16):
        transaction = os.urandom(100) + bytes([number])
        signature = signer.sign(transaction)
        assert len(signature) == 1 + 64 + 33
        verify_signature(transaction, signature, signer.public_key)
        message_signature = signer.sign_personal_message(transaction)
        verify_personal_message(transaction, message_signature, signer.public_key)


def test_a_personal_message_is_hashed_behind_its_intent_and_length() -> None:
    assert personal_message_digest(b"abc") == blake2b256(b"\x03\x00\x00" + b"\x03" + b"abc")
    long = bytes(200)
    assert personal_message_digest(long) == blake2b256(b"\x03\x00\x00" + b"\xc8\x01" + long)


def test_a_signature_over_a_message_is_none_over_a_transaction(tmp_path: Path) -> None:
    signer = FileSigner.generate(tmp_path / "key")
    over_message = signer.sign_personal_message(TRANSACTION)
    verify_personal_message(TRANSACTION, over_message, signer.public_key)
    with pytest.raises(WireFormatError):
        verify_signature(TRANSACTION, over_message, signer.public_key)
    with pytest.raises(WireFormatError):
        verify_personal_message(TRANSACTION, signer.sign(TRANSACTION), signer.public_key)
    with pytest.raises(WireFormatError):
        verify_personal_message(TRANSACTION + b"!", over_message, signer.public_key)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_2048"])
def test_a_kms_key_of_another_kind_is_refused(kms: "KMSClient", spec: str) -> None:
    key_id = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]  # type: ignore[arg-type]  # parametrised
    with pytest.raises(ConfigurationError, match="ECC_SECG_P256K1"):
        KmsSigner(kms, key_id)


@pytest.mark.parametrize("flag", CURVES)
def test_ecdsa_is_accepted_with_low_s_only(flag: int) -> None:
    verify_signature(TRANSACTION, *ecdsa_signature(flag, high_s=False))
    with pytest.raises(WireFormatError):
        verify_signature(TRANSACTION, *ecdsa_signature(flag, high_s=True))


@pytest.mark.parametrize("flag", [0, *CURVES])
def test_any_changed_bit_is_refused(flag: int, tmp_path: Path) -> None:
    if flag:
        signature, key = ecdsa_signature(flag, high_s=False)
    else:
        signer = FileSigner.generate(tmp_path / "key")
        signature, key = signer.sign(TRANSACTION), signer.public_key
    with pytest.raises(WireFormatError):
        verify_signature(TRANSACTION + b"!", signature, key)
    for position in range(len(signature)):
        changed = bytearray(signature)
        changed[position] ^= 0x40
        with pytest.raises(WireFormatError):
            verify_signature(TRANSACTION, bytes(changed), key)


def test_another_key_another_scheme_and_other_lengths_are_refused(tmp_path: Path) -> None:
    signer = FileSigner.generate(tmp_path / "key")
    other = FileSigner.generate(tmp_path / "other")
    signature = signer.sign(TRANSACTION)
    k1_signature, k1_key = ecdsa_signature(0x01, high_s=False)
    for candidate, key in (
        (signature, other.public_key),
        (k1_signature, signer.public_key),
        (signature, k1_key),
        (b"", signer.public_key),
        (signature[:-1], signer.public_key),
        (signature + b"\x00", signer.public_key),
        (signature, b""),
        (signature, b"\x03" + signer.public_key[1:]),
        (signature, signer.public_key[:-1]),
        (b"\x01" + bytes(64) + b"\x02" + bytes(32), b"\x01\x02" + bytes(32)),
    ):
        with pytest.raises(WireFormatError):
            verify_signature(TRANSACTION, candidate, key)
