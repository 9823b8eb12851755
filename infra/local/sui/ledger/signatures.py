"""User signatures: ed25519, secp256k1 and secp256r1, as Sui validators check them.

A signature is ``flag ‖ 64 bytes ‖ public key``. It signs blake2b-256 of ``00 00 00 ‖ TransactionData``; the
two ECDSA schemes sign sha-256 of that again, and must have a low s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from .digests import blake2b, hex_address
from .errors import invalid, unimplemented
from .transactions import TransactionData

TRANSACTION_INTENT = b"\0\0\0"
_SIGNATURE_BYTES = 64
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECP256R1_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_UNSUPPORTED = {3: "multisig", 4: "BLS", 5: "zkLogin", 6: "passkey"}


def _verify_ed25519(public_key: bytes, signature: bytes, message: bytes) -> None:
    ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)


def _ecdsa_verifier(curve: ec.EllipticCurve, order: int) -> Callable[[bytes, bytes, bytes], None]:
    def verify(public_key: bytes, signature: bytes, message: bytes) -> None:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if s > order // 2:
            raise invalid("The signature has a high s: Sui accepts only the smaller of s and order - s.")
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public_key)
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))

    return verify


@dataclass(frozen=True, slots=True)
class Scheme:
    name: str
    key_bytes: int
    verify: Callable[[bytes, bytes, bytes], None]


SCHEMES = {
    0: Scheme("ed25519", 32, _verify_ed25519),
    1: Scheme("secp256k1", 33, _ecdsa_verifier(ec.SECP256K1(), SECP256K1_ORDER)),
    2: Scheme("secp256r1", 33, _ecdsa_verifier(ec.SECP256R1(), SECP256R1_ORDER)),
}


def signing_digest(encoded: bytes) -> bytes:
    """What a key signs to authorise a transaction."""
    return blake2b(TRANSACTION_INTENT + encoded)


def address_of(flag: int, public_key: bytes) -> bytes:
    return blake2b(bytes([flag]) + public_key)


def verify_signature(signature: bytes, message: bytes) -> bytes:
    """Check one signature and return its signer's address.

    Raises:
        TransactionRefusedError: unknown scheme, wrong length, high s, or not a signature of ``message``.
    """
    flag = signature[0] if signature else -1
    if flag in _UNSUPPORTED:
        raise unimplemented(f"{_UNSUPPORTED[flag]} signatures are not simulated; sign with a single key.")
    scheme = SCHEMES.get(flag)
    if scheme is None:
        raise invalid("A signature begins with a scheme flag: 0 ed25519, 1 secp256k1 or 2 secp256r1.")
    if len(signature) != 1 + _SIGNATURE_BYTES + scheme.key_bytes:
        raise invalid(
            f"A {scheme.name} signature has {1 + _SIGNATURE_BYTES + scheme.key_bytes} bytes "
            f"(flag, signature, public key), not {len(signature)}."
        )
    public_key = signature[1 + _SIGNATURE_BYTES :]
    try:
        scheme.verify(public_key, signature[1 : 1 + _SIGNATURE_BYTES], message)
    except (InvalidSignature, ValueError) as error:
        raise invalid(
            f"The {scheme.name} signature does not fit the transaction and its public key."
        ) from error
    return address_of(flag, public_key)


def authorise(data: TransactionData, signatures: Sequence[bytes]) -> None:
    """Check that the sender, and nobody else, signed.

    Raises:
        TransactionRefusedError: a sponsor, a missing or foreign or wrong signature.
    """
    if data.gas.owner != data.sender:
        raise unimplemented(
            f"The gas owner {hex_address(data.gas.owner)} is not the sender: sponsored transactions are not "
            "simulated; pay with the sender's own gas."
        )
    if len(signatures) != 1:
        raise invalid(f"One signature, the sender's, is expected; {len(signatures)} came.")
    signer = verify_signature(signatures[0], signing_digest(data.encoded))
    if signer != data.sender:
        raise invalid(f"The signature is {hex_address(signer)}'s, the sender is {hex_address(data.sender)}.")
