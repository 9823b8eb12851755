"""Pinning public keys: what gateways and listeners believe is given by a person, not learned from a chain."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from k3s_daas.admin.deployment import Deployment
from k3s_daas.contract.objects import ClusterState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.digests import address_of
from k3s_daas.sui.signers import ED25519_FLAG, PUBLIC_KEY_BYTES, SECP256K1_FLAG, SECP256R1_FLAG

_HEX_DIGITS = re.compile(rb"[0-9a-fA-F\s]*")


def parse_public_key(text: str) -> bytes:
    """Scheme flag ‖ public key of ``0x`` and hex digits. Raises `ConfigurationError`."""
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if not key or PUBLIC_KEY_BYTES.get(key[0]) != len(key) - 1:
        raise ConfigurationError(
            f"{text!r} is no public key: write 0x, the scheme's flag (00, 01 or 02) and the key in hex, "
            "as daas key show prints it"
        )
    return key


def is_public_key_file(data: bytes) -> bool:
    """Whether these are the bytes of a public key file (DER or PEM), not of a private key in hex.

    DER begins with the byte 0x30, which is also the digit 0: what is all digits is no DER.
    """
    if _HEX_DIGITS.fullmatch(data):
        return False
    return data.startswith((b"\x30", b"-----BEGIN PUBLIC KEY-----"))


def public_key_of(data: bytes) -> bytes:
    """Scheme flag ‖ public key of a SubjectPublicKeyInfo in DER or PEM, as a KMS hands it out.

    Raises `ConfigurationError` unless it is an ed25519, secp256k1 or secp256r1 key: Sui has no others.
    """
    try:
        key = load_pem_public_key(data) if data.startswith(b"-----") else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("it is no public key in DER or PEM (SubjectPublicKeyInfo)") from None
    if isinstance(key, Ed25519PublicKey):
        return bytes([ED25519_FLAG]) + key.public_bytes_raw()
    if isinstance(key, ec.EllipticCurvePublicKey):
        for curve, flag in ((ec.SECP256K1, SECP256K1_FLAG), (ec.SECP256R1, SECP256R1_FLAG)):
            if isinstance(key.curve, curve):
                return bytes([flag]) + key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    raise ConfigurationError("Sui knows only ed25519, secp256k1 and secp256r1 keys: make one of those")


def pin(
    deployment: Deployment, cluster: ClusterState, gateways: Iterable[bytes], executors: Iterable[bytes]
) -> TrustRoots:
    """Trust roots with these public keys, each of which must be a registered member's.

    Raises `ConfigurationError`: a key hashes to no registered address, or there is none of a kind.
    """
    return deployment.roots(
        _pinned(gateways, "gateway", cluster.gateways), _pinned(executors, "executor", cluster.executors)
    )


def unpinned(cluster: ClusterState, roots: TrustRoots) -> list[str]:
    """Registered members that the roots do not pin: nobody who uses these roots will believe them."""
    missing = [("gateway", one) for one in sorted(cluster.gateways - set(roots.gateways))]
    missing += [("executor", one) for one in sorted(set(cluster.executors) - set(roots.executors))]
    return [f"the {kind} {to_hex(address)}" for kind, address in missing]


def move_latest(path: Path, deployment: Deployment) -> None:
    """After an upgrade: lets existing trust roots call the new package. Nothing else in them changes.

    Raises `ConfigurationError` if they are unreadable, or are of another deployment.
    """
    roots = TrustRoots.load(path)
    same = (roots.chain_id, roots.package_original) == (deployment.chain_id, deployment.package_original)
    if not same:
        raise ConfigurationError(f"the trust roots {path} are of another deployment: they stay as they are")
    TrustRoots(
        chain_id=roots.chain_id,
        package_original=roots.package_original,
        package_latest=deployment.package_latest,
        cluster=roots.cluster,
        gateways=roots.gateways,
        executors=roots.executors,
    ).dump(path)


def _pinned(keys: Iterable[bytes], kind: str, registered: Collection[bytes]) -> dict[bytes, bytes]:
    pinned = {address_of(key): key for key in keys}
    for address in pinned:
        if address not in registered:
            raise ConfigurationError(
                f"a public key belongs to {to_hex(address)}, which is no registered {kind}: "
                f"check the key, or run daas {kind} add {to_hex(address)}"
            )
    if not pinned:
        raise ConfigurationError(f"no {kind}'s public key was given: say --{kind} 0x…")
    return pinned
