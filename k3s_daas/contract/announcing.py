"""How an executor announces the key that requests are sealed for."""

from __future__ import annotations

from dataclasses import dataclass

from k3s_daas.contract import calls
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import ClusterState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sealing import SealingPublicKey
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import PtbBuilder


@dataclass(frozen=True, slots=True)
class Announcement:
    """A sealing key as an executor announces it: its next generation.

    The contract takes a generation only after the one before, so an announcement that was made for an older
    state of the chain aborts instead of putting an older key in force.
    """

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

    def signature(self, cluster: ClusterState, signer: TransactionSigner, key: SealingPublicKey) -> bytes:
        """By which gateways know that the executor announced this key. May be a call to a key service."""
        message = announcement(cluster.ref.id, self.executor, self.generation, key.to_bytes())
        return signer.sign_personal_message(message)

    def add_to(
        self,
        builder: PtbBuilder,
        package: bytes,
        cluster: ClusterState,
        *,
        key: SealingPublicKey,
        signature: bytes,
    ) -> None:
        """Adds the call; the executor must also send the transaction."""
        calls.announce_key(
            builder,
            package,
            cluster.ref,
            hpke_key=key.to_bytes(),
            generation=self.generation,
            signature=signature,
        )
