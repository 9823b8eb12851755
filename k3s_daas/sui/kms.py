"""A Sui signer whose secp256k1 key never leaves AWS KMS (`ECC_SECG_P256K1`).

KMS hashes a `RAW` message with SHA-256 itself, which is what Sui's secp256k1 scheme wants over the signing
digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.signers import SECP256K1_FLAG, SECP256K1_ORDER, KeySigner

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class KmsSigner(KeySigner):
    """Signs with one KMS key. Each signature is one KMS call; botocore's exceptions pass through.

    The public key is fetched once, when the signer is made; `ConfigurationError` if it is no secp256k1 key.
    """

    def __init__(self, client: KMSClient, key_id: str) -> None:
        point = _compressed_point(client.get_public_key(KeyId=key_id)["PublicKey"], key_id)
        super().__init__(bytes([SECP256K1_FLAG]) + point)
        self._client = client
        self._key_id = key_id

    def _sign_digest(self, digest: bytes) -> bytes:
        der = self._client.sign(
            KeyId=self._key_id,
            Message=digest,
            MessageType="RAW",
            SigningAlgorithm="ECDSA_SHA_256",
        )["Signature"]
        return _low_s(der)


def _compressed_point(spki: bytes, key_id: str) -> bytes:
    """The 33-byte point of a DER SubjectPublicKeyInfo."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"KMS returned no usable public key for {key_id}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256K1):
        raise ConfigurationError(
            f"the KMS key {key_id} must be of spec ECC_SECG_P256K1 and usage SIGN_VERIFY"
        )
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _low_s(der: bytes) -> bytes:
    """r ‖ s, with the lower of the two valid s: Sui refuses the other one."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + min(s, SECP256K1_ORDER - s).to_bytes(32, "big")
