"""Puts a sealing key into the listener's Secret before there is a listener."""

from __future__ import annotations

from pathlib import Path

from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from listener_service.clock import ClusterClock
from listener_service.keys.generations import Generation, Generations
from listener_service.keys.secret import SecretStore
from listener_service.keys.wrapping import PassphraseWrapping
from listener_service.kube_objects import KubeObjects
from listener_service.leadership import lease_name

PASSPHRASE = b"for the tests of one stage only"


def secret_store(kubeconfig: Path, namespace: str, roots: TrustRoots, executor: bytes) -> SecretStore:
    """The executor's entry in the Secret, with the listener's own rights."""
    server = ApiServer(lambda: load_configuration(kubeconfig), connections=1)
    objects = KubeObjects(server, ClusterClock(), threads=1, timeout_s=5)
    return SecretStore(objects, namespace, lease_name(roots, executor))


async def hold(
    store: SecretStore, roots: TrustRoots, executor: bytes, key: SealingPrivateKey, now_ms: int
) -> None:
    """Writes the key down as the first generation."""
    key_id = key.public_key.key_id.hex()
    context = {
        "cluster": to_hex(roots.cluster),
        "executor": to_hex(executor),
        "generation": "1",
        "key": key_id,
    }
    wrapped = await PassphraseWrapping(PASSPHRASE).wrap(key.private_bytes(), context)
    await store.replace(await store.read(), Generations((Generation(key_id, 1, now_ms, wrapped),)))
