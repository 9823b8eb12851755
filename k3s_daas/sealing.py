"""HPKE (RFC 9180) in both directions, with one suite that is never negotiated.

The ledger keeps every ciphertext for ever, so the key encapsulation is the hybrid of ML-KEM-768 and X25519:
it holds as long as either of them does. HKDF-SHA256, AES-256-GCM, base mode.

Layout of a sealed body::

    0x01 ‖ key id (8 bytes: the first of SHA-256 over the recipient's public key) ‖ HPKE output

The key id lets a recipient with several key generations pick the right one. ``info`` binds a body to its
direction, cluster, seal and request id, so that one copied into another request does not open.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from k3s_daas.bcs import Writer
from k3s_daas.errors import SealedDataError
from k3s_daas.ids import REQUEST_ID_BYTES

VERSION = 1
KEY_ID_BYTES = 8
HEADER_BYTES = 1 + KEY_ID_BYTES

_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184
_X25519_BYTES = 32
PRIVATE_KEY_BYTES = _MLKEM_SEED_BYTES + _X25519_BYTES
PUBLIC_KEY_BYTES = _MLKEM_PUBLIC_BYTES + _X25519_BYTES

# Encapsulated ML-KEM and X25519 shares, then the AEAD tag.
_ENCAPSULATED_BYTES = 1088 + _X25519_BYTES
_TAG_BYTES = 16
SEALING_OVERHEAD_BYTES = HEADER_BYTES + _ENCAPSULATED_BYTES + _TAG_BYTES

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def request_info(cluster: bytes, seal: bytes, request_id: bytes) -> bytes:
    """HPKE ``info`` of a request: BCS of {domain, cluster, seal, request id}."""
    return _info(b"k3s-daas/request/v1", cluster, seal, request_id)


def response_info(cluster: bytes, seal: bytes, request_id: bytes) -> bytes:
    """HPKE ``info`` of the response to the request with that id."""
    return _info(b"k3s-daas/response/v1", cluster, seal, request_id)


def request_body_info(cluster: bytes, seal: bytes, request_id: bytes) -> bytes:
    """HPKE ``info`` of a request's body that is kept outside the chain."""
    return _info(b"k3s-daas/request-body/v1", cluster, seal, request_id)


def response_body_info(cluster: bytes, seal: bytes, request_id: bytes) -> bytes:
    """HPKE ``info`` of a response's body that is kept outside the chain."""
    return _info(b"k3s-daas/response-body/v1", cluster, seal, request_id)


def _info(domain: bytes, cluster: bytes, seal: bytes, request_id: bytes) -> bytes:
    writer = Writer().byte_vector(domain).address(cluster).address(seal)
    return writer.fixed(request_id, REQUEST_ID_BYTES).finish()


def key_id_of(sealed: bytes) -> bytes:
    """The id of the key that a body is sealed for; `SealedDataError` if it is none of this version."""
    _check_head(sealed)
    return sealed[1:HEADER_BYTES]


def _check_head(sealed: bytes) -> None:
    if len(sealed) < SEALING_OVERHEAD_BYTES:
        raise SealedDataError("the sealed body is too short to be one")
    if sealed[0] != VERSION:
        raise SealedDataError(f"the sealed body has version {sealed[0]}, and this side knows {VERSION}")


class SealingPublicKey:
    """A recipient's public key: 1184 bytes ML-KEM-768, then 32 bytes X25519."""

    def __init__(self, raw: bytes, key: MLKEM768X25519PublicKey) -> None:
        self._raw = raw
        self._key = key

    @classmethod
    def from_bytes(cls, raw: bytes) -> SealingPublicKey:
        """``SealedDataError`` unless ``raw`` is one well-formed key of 1216 bytes."""
        if len(raw) != PUBLIC_KEY_BYTES:
            raise SealedDataError(f"a sealing public key has {PUBLIC_KEY_BYTES} bytes, not {len(raw)}")
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES])
            x25519 = X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:])
        except ValueError as error:
            raise SealedDataError("the sealing public key is not well-formed") from error
        return cls(raw, MLKEM768X25519PublicKey(mlkem, x25519))

    @property
    def key_id(self) -> bytes:
        """8 bytes that name this key in every body sealed for it."""
        return hashlib.sha256(self._raw).digest()[:KEY_ID_BYTES]

    def to_bytes(self) -> bytes:
        return self._raw

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """The sealed body; only the private key and the same ``info`` open it.

        ``SealedDataError`` for a key that no body can be sealed for (a low-order X25519 point).
        """
        try:
            ciphertext = _SUITE.encrypt(plaintext, self._key, info)
        except ValueError as error:
            raise SealedDataError("nothing can be sealed for this public key") from error
        return bytes([VERSION]) + self.key_id + ciphertext


class SealingPrivateKey:
    """A recipient's private key. Its text forms show the public key id only."""

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self._public = SealingPublicKey(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(),
            self._key.public_key(),
        )

    @classmethod
    def generate(cls) -> SealingPrivateKey:
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> SealingPrivateKey:
        """From a 64-byte ML-KEM seed and a 32-byte X25519 scalar; ``SealedDataError`` for another length."""
        if len(raw) != PRIVATE_KEY_BYTES:
            raise SealedDataError(f"a sealing private key has {PRIVATE_KEY_BYTES} bytes, not {len(raw)}")
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED_BYTES:]),
        )

    @property
    def public_key(self) -> SealingPublicKey:
        return self._public

    def public_bytes(self) -> bytes:
        return self._public.to_bytes()

    def private_bytes(self) -> bytes:
        """What ``from_private_bytes`` takes. Secret: for a key store, never for a log."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext; ``SealedDataError`` if it is not for this key, not for this ``info``, or altered."""
        _check_head(sealed)
        if sealed[1:HEADER_BYTES] != self._public.key_id:
            raise SealedDataError("the body was sealed for another key: compare the pinned sealing keys")
        try:
            return _SUITE.decrypt(sealed[HEADER_BYTES:], self._key, info)
        except (InvalidTag, ValueError) as error:
            raise SealedDataError("the sealed body was altered or belongs to another request") from error

    def __repr__(self) -> str:
        return f"SealingPrivateKey(key_id={self._public.key_id.hex()})"
