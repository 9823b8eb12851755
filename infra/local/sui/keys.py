"""Throw-away keys for the faucet and for tests, in the three schemes that Sui's users have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .ledger.signatures import SECP256K1_ORDER, SECP256R1_ORDER, address_of, signing_digest


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair in memory. ``sign_raw`` signs 32 bytes and gives 64."""

    flag: int
    public_key: bytes
    private_bytes: bytes = field(repr=False)
    sign_raw: Callable[[bytes], bytes]

    @property
    def address(self) -> bytes:
        return address_of(self.flag, self.public_key)

    def sign(self, encoded: bytes) -> bytes:
        """Sui's signature of BCS ``TransactionData``: flag, 64 bytes, public key."""
        return bytes([self.flag]) + self.sign_raw(signing_digest(encoded)) + self.public_key


def ed25519_key() -> Key:
    private = ed25519.Ed25519PrivateKey.generate()
    return Key(0, private.public_key().public_bytes_raw(), private.private_bytes_raw(), private.sign)


def secp256k1_key() -> Key:
    return _ecdsa_key(1, ec.SECP256K1(), SECP256K1_ORDER)


def secp256r1_key() -> Key:
    return _ecdsa_key(2, ec.SECP256R1(), SECP256R1_ORDER)


def _ecdsa_key(flag: int, curve: ec.EllipticCurve, order: int) -> Key:
    private = ec.generate_private_key(curve)

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + min(s, order - s).to_bytes(32, "big")

    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return Key(flag, public, private.private_numbers().private_value.to_bytes(32, "big"), sign)
