"""Pinning public keys: what gateways and listeners believe is given by a person, not learned from a chain."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from k3s_daas.admin.deployment import Deployment
from k3s_daas.contract.objects import ClusterState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.digests import address_of
from k3s_daas.sui.signers import ED25519_FLAG, SECP256K1_FLAG, SECP256R1_FLAG

_KEY_BYTES = {ED25519_FLAG: 32, SECP256K1_FLAG: 33, SECP256R1_FLAG: 33}


def parse_public_key(text: str) -> bytes:
    """Scheme flag ‖ public key of ``0x`` and hex digits. Raises `ConfigurationError`."""
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if not key or _KEY_BYTES.get(key[0]) != len(key) - 1:
        raise ConfigurationError(
            f"{text!r} is no public key: write 0x, the scheme's flag (00, 01 or 02) and the key in hex, "
            "as daas key show prints it"
        )
    return key


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
