"""Who serves a cluster: gateways and executors, and the keys that executors announce."""

from __future__ import annotations

from dataclasses import dataclass

from k3s_daas.admin.changes import Change, Draft
from k3s_daas.contract import calls
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import ClusterState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sealing import SealingPublicKey
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import PtbBuilder


def plan_gateway(cluster: ClusterState, gateway: bytes, *, registered: bool) -> list[Change]:
    """Registers a gateway, or removes it; nothing if it is so already."""
    if (gateway in cluster.gateways) == registered:
        return []
    call = calls.add_gateway if registered else calls.remove_gateway
    verb = "let submit commands" if registered else "let submit no more commands"

    def change(draft: Draft) -> None:
        call(draft.builder, draft.package, draft.cluster, draft.cap("member"), gateway)

    return [Change(f"{verb}: the gateway {to_hex(gateway)}", "member", change)]


def plan_executor(cluster: ClusterState, executor: bytes, *, registered: bool) -> list[Change]:
    """The same for an executor. It serves from its first `announce` on."""
    if (executor in cluster.executors) == registered:
        return []
    call = calls.add_executor if registered else calls.remove_executor
    verb = "let answer commands" if registered else "assign no more commands to"

    def change(draft: Draft) -> None:
        call(draft.builder, draft.package, draft.cluster, draft.cap("member"), executor)

    return [Change(f"{verb}: the executor {to_hex(executor)}", "member", change)]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A sealing key as an executor announces it: its next generation."""

    executor: bytes
    generation: int

    @classmethod
    def following(cls, cluster: ClusterState, executor: bytes) -> Announcement:
        """Raises `ConfigurationError` if the executor is not registered."""
        state = cluster.executors.get(executor)
        if state is None:
            raise ConfigurationError(
                f"the executor {to_hex(executor)} is not registered in this cluster: "
                f"run daas executor add {to_hex(executor)}"
            )
        return cls(executor, state.generation + 1)

    def add_to(
        self,
        builder: PtbBuilder,
        package: bytes,
        cluster: ClusterState,
        *,
        signer: TransactionSigner,
        key: SealingPublicKey,
    ) -> None:
        """Signs and adds the call; `signer` is the executor's, and must also send the transaction."""
        hpke_key = key.to_bytes()
        message = announcement(cluster.ref.id, self.executor, self.generation, hpke_key)
        calls.announce_key(
            builder,
            package,
            cluster.ref,
            hpke_key=hpke_key,
            generation=self.generation,
            signature=signer.sign_personal_message(message),
        )
