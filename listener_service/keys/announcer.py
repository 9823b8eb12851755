"""The executor's key on chain: what is announced, and announcing the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from k3s_daas.admin.paying import Payer
from k3s_daas.contract.announcing import Announcement
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, UntrustedKeyError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPublicKey
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.signers import TransactionSigner
from listener_service.keys.generations import Announced


@dataclass(frozen=True, slots=True)
class OnChain:
    """What the chain shows: the key in force, and how long the cluster lets an answer take at most."""

    announced: Announced
    longest_answer_ms: int


class Announcer(Protocol):
    """The chain, as far as sealing keys are concerned.

    1. `look` tells a state that was true after it was called, or a moment before.
    2. `announce` puts the key in force as number `announced.number + 1`, or does nothing: if the chain has
       gone on since, it raises `MoveAbortError`.
    3. Both raise `LedgerError`; after `LedgerUnavailableError` of `announce` it may have taken effect.
    """

    async def look(self) -> OnChain:
        """The present state."""
        ...

    async def announce(self, key: SealingPublicKey, number: int) -> None:
        """Returns when the endpoint shows the transaction."""
        ...


class ChainAnnouncer:
    """`Announcer` for one executor, who signs and pays."""

    def __init__(
        self, ledger: Ledger, reader: ContractReader, roots: TrustRoots, signer: TransactionSigner
    ) -> None:
        self._reader = reader
        self._roots = roots
        self._signer = signer
        self._payer = Payer(ledger, signer)

    async def look(self) -> OnChain:
        """Raises `ConfigurationError` if the executor is not registered."""
        cluster = await self._reader.cluster()
        return OnChain(self._announced(cluster), cluster.policy.max_answer_ms)

    async def announce(self, key: SealingPublicKey, number: int) -> None:
        cluster = await self._reader.cluster()
        announcement = Announcement(self._signer.address, number)
        # A key in a KMS takes a while to sign.
        signature = await asyncio.to_thread(announcement.signature, cluster, self._signer, key)
        package = self._roots.package_latest
        await self._payer.run(
            lambda builder: announcement.add_to(builder, package, cluster, key=key, signature=signature)
        )

    def _announced(self, cluster: ClusterState) -> Announced:
        state = cluster.executors.get(self._signer.address)
        if state is None:
            raise ConfigurationError(
                f"the executor {to_hex(self._signer.address)} is not registered in the cluster: "
                "run daas executor add"
            )
        try:
            return Announced(state.generation, announced_key(state, self._roots).key_id.hex())
        except UntrustedKeyError:
            # No gateway seals for it.
            return Announced(state.generation, "")
