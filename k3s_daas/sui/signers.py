"""Signing Sui transactions and personal messages, and checking who signed them.

A signer signs d = blake2b-256(intent ‖ BCS), where the intent tells transactions from messages: ed25519 signs
d itself, the ECDSA schemes sign sha-256(d). A signature travels as scheme flag ‖ 64 bytes ‖ public key.
"""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from k3s_daas.errors import ConfigurationError, WireFormatError
from k3s_daas.private_files import read_private_file
from k3s_daas.sui.digests import address_of, personal_message_digest, signing_digest

ED25519_FLAG = 0x00
SECP256K1_FLAG = 0x01
SECP256R1_FLAG = 0x02

SIGNATURE_BYTES = 64
SEED_BYTES = 32
"""Of ed25519's private keys, and its public keys."""
_COMPRESSED_POINT_BYTES = 33
PUBLIC_KEY_BYTES = {
    ED25519_FLAG: SEED_BYTES,
    SECP256K1_FLAG: _COMPRESSED_POINT_BYTES,
    SECP256R1_FLAG: _COMPRESSED_POINT_BYTES,
}
"""Length of a public key by its scheme flag."""
_CURVES: dict[int, ec.EllipticCurve] = {SECP256K1_FLAG: ec.SECP256K1(), SECP256R1_FLAG: ec.SECP256R1()}
# Group orders (SEC 2, version 2): the range of s.
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECP256R1_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ORDERS = {SECP256K1_FLAG: SECP256K1_ORDER, SECP256R1_FLAG: SECP256R1_ORDER}


class TransactionSigner(Protocol):
    """Holds one Sui key.

    1. `sign` returns a signature that Sui accepts for exactly these bytes (low s for ECDSA).
    2. What `sign_personal_message` returns is a signature for exactly this message, and for no transaction.
    3. The private key never leaves the signer: no attribute, message or exception carries it.
    4. Both block for at most one call to wherever the key lives, and may be called from any thread.
    """

    @property
    def address(self) -> bytes:
        """The 32-byte Sui address."""
        ...

    @property
    def public_key(self) -> bytes:
        """Scheme flag ‖ public key."""
        ...

    def sign(self, transaction: bytes) -> bytes:
        """Scheme flag ‖ 64-byte signature ‖ public key over the transaction's signing digest."""
        ...

    def sign_personal_message(self, message: bytes) -> bytes:
        """The same over the digest of a personal message."""
        ...


class KeySigner(ABC):
    """A `TransactionSigner`, but for the signature itself: that is made where the key lives."""

    def __init__(self, public_key: bytes) -> None:
        """`public_key` is scheme flag ‖ key."""
        self._public_key = public_key
        self._address = address_of(public_key)

    @property
    def address(self) -> bytes:
        return self._address

    @property
    def public_key(self) -> bytes:
        return self._public_key

    def sign(self, transaction: bytes) -> bytes:
        return self._signature(signing_digest(transaction))

    def sign_personal_message(self, message: bytes) -> bytes:
        return self._signature(personal_message_digest(message))

    def _signature(self, digest: bytes) -> bytes:
        return self._public_key[:1] + self._sign_digest(digest) + self._public_key[1:]

    @abstractmethod
    def _sign_digest(self, digest: bytes) -> bytes:
        """The 64 bytes that the key's scheme makes of a 32-byte digest."""


class FileSigner(KeySigner):
    """An ed25519 key in a file of 64 hex digits, for development: a production key belongs in a KMS."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        super().__init__(bytes([ED25519_FLAG]) + private_key.public_key().public_bytes_raw())
        self._private_key = private_key

    @classmethod
    def generate(cls, path: Path) -> FileSigner:
        """Makes a new key in a new file that only its owner may read. Raises `FileExistsError`."""
        seed = secrets.token_bytes(SEED_BYTES)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(seed.hex() + "\n")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path) -> FileSigner:
        """Reads a key file. Raises `ConfigurationError` if it is missing, malformed or readable by others."""
        seed = cls.read_seed(path)
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @staticmethod
    def read_seed(path: Path) -> bytes:
        """The 32 secret bytes of such a file. Raises as `load`."""
        text = read_private_file(path, "the signing key file")
        try:
            seed = bytes.fromhex(text.decode("ascii").strip())
        except ValueError:
            seed = b""
        if len(seed) != SEED_BYTES:
            # `from None`: the cause would quote the file's content.
            raise ConfigurationError(f"the signing key file {path} must hold 64 hex digits") from None
        return seed

    def _sign_digest(self, digest: bytes) -> bytes:
        return self._private_key.sign(digest)


def verify_signature(transaction: bytes, signature: bytes, expected_public_key: bytes) -> None:
    """Checks that the holder of `expected_public_key` (flag ‖ key) signed this transaction.

    Accepts what Sui accepts: ed25519, and secp256k1 and secp256r1 with low s. Raises `WireFormatError` for
    everything else: another key, another scheme, a malformed or malleable signature, other bytes.
    """
    _verify(signing_digest(transaction), signature, expected_public_key)


def verify_personal_message(message: bytes, signature: bytes, expected_public_key: bytes) -> None:
    """Checks that the holder of `expected_public_key` signed this message. Raises as `verify_signature`."""
    _verify(personal_message_digest(message), signature, expected_public_key)


def _verify(digest: bytes, signature: bytes, expected_public_key: bytes) -> None:
    if (
        not expected_public_key
        or PUBLIC_KEY_BYTES.get(expected_public_key[0]) != len(expected_public_key) - 1
    ):
        raise WireFormatError("the expected public key must be a scheme flag (0, 1 or 2) and the key's bytes")
    flag = expected_public_key[0]
    if signature[:1] + signature[1 + SIGNATURE_BYTES :] != expected_public_key:
        raise WireFormatError("this was signed with another key than the expected one")
    raw = signature[1 : 1 + SIGNATURE_BYTES]
    try:
        if flag == ED25519_FLAG:
            Ed25519PublicKey.from_public_bytes(expected_public_key[1:]).verify(raw, digest)
        else:
            _verify_ecdsa(flag, expected_public_key[1:], raw, digest)
    except (InvalidSignature, ValueError) as error:
        raise WireFormatError("the signature does not fit what was signed and the expected key") from error


def _verify_ecdsa(flag: int, point: bytes, raw: bytes, digest: bytes) -> None:
    """Raises `ValueError` for a high s, `InvalidSignature` for a wrong one."""
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    # `cryptography` takes both s and n - s; Sui takes only the low one, so that nobody can vary a signature.
    if s > _ORDERS[flag] // 2:
        raise ValueError("high s")
    key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[flag], point)
    key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(hashes.SHA256()))
