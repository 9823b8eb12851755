"""The gateway's view of the chain: what admission decides on and what a transaction needs, both cached.

In steady state a command costs no read for its transaction (epoch, gas price, chain id and the shared
objects' initial versions are known), and its seal, grant and cluster are read at most about once a second,
in one call where they are due together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.cache import SingleFlightCache
from chalicelib.sizes import Reading
from k3s_daas.contract.objects import ClusterState, GrantState, SealState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.sui.ledger import EpochInfo, Ledger

# Seals whose state is kept; a token for a seal that does not exist costs one read and one of these places.
SEAL_CAPACITY = 1024


@dataclass(frozen=True)
class CommandState:
    """What the chain says about one seal. `grant` is None where there is none, or the role is open to all."""

    cluster: ClusterState
    seal: SealState | None
    grant: GrantState | None
    cluster_read_s: float
    """Monotonic time at which the cluster was read; the others likewise."""
    seal_read_s: float
    grant_read_s: float


class ChainView:
    """Reads through one ledger, on the event loop of that ledger. Every method may raise `LedgerError`."""

    def __init__(
        self,
        ledger: Ledger,
        reader: ContractReader,
        *,
        ttl_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._monotonic = monotonic
        self._confirmed = False
        self._terms: EpochInfo | None = None
        self._last_cluster: ClusterState | None = None
        self._clusters = SingleFlightCache(self._load_cluster, ttl_s=ttl_s, capacity=1, monotonic=monotonic)
        self._seals = SingleFlightCache(reader.seal, ttl_s=ttl_s, capacity=SEAL_CAPACITY, monotonic=monotonic)
        self._grants = SingleFlightCache(
            self._load_grant, ttl_s=ttl_s, capacity=SEAL_CAPACITY, monotonic=monotonic
        )

    async def state(self, seal: bytes) -> CommandState:
        """Cluster, seal and grant, as cached. Raises ConfigurationError on the wrong chain."""
        await self._confirm_chain()
        (cluster, cluster_read), (found, seal_read), _ = await asyncio.gather(
            self._clusters.get(None), self._seals.get(seal), self._read_ahead(self._seals.last(seal))
        )
        role = cluster.roles.get(found.role) if found is not None else None
        if found is None or role is None or role.open:
            return CommandState(cluster, found, None, cluster_read, seal_read, seal_read)
        grant, grant_read = await self._grants.get((found.owner, found.role))
        return CommandState(cluster, found, grant, cluster_read, seal_read, grant_read)

    async def state_since(self, seal: bytes, since_s: float) -> CommandState:
        """The same, with no part that matters read before `since_s` (monotonic): for deciding a refusal once
        more.

        Only what is older is read again. Anybody can sign a token for a seal that does not exist, and it
        shall cost one read and nobody else's cache.
        """
        state = await self.state(seal)
        if state.seal is None and state.seal_read_s >= since_s:
            return state
        if state.cluster_read_s < since_s:
            self._clusters.forget(None)
        if state.seal_read_s < since_s:
            self._seals.forget(seal)
        if state.seal is not None and state.grant_read_s < since_s:
            self._grants.forget((state.seal.owner, state.seal.role))
        return await self.state(seal)

    async def refreshed(self) -> ClusterState:
        """The cluster, and with it the terms of transactions, as of now."""
        self._clusters.forget(None)
        _, (cluster, _) = await asyncio.gather(self.fresh_terms(), self._clusters.get(None))
        return cluster

    async def readings(self) -> dict[str, Reading]:
        """What the caches hold and did, by name."""
        return {
            "clusters": self._clusters.reading(),
            "seals": self._seals.reading(),
            "grants": self._grants.reading(),
        }

    @property
    def has_terms(self) -> bool:
        """Whether `terms` asks nobody."""
        return self._terms is not None

    async def terms(self) -> EpochInfo:
        """Epoch and gas price as last read: they change once a day, and a refusal tells."""
        return self._terms or await self.fresh_terms()

    async def fresh_terms(self) -> EpochInfo:
        """Epoch and gas price as of now."""
        await self._confirm_chain()
        self._terms = await self._ledger.epoch()
        return self._terms

    async def _confirm_chain(self) -> None:
        if not self._confirmed:
            await self._reader.confirm_chain()
            self._confirmed = True

    async def _load_cluster(self, _key: None) -> ClusterState:
        self._last_cluster = await self._reader.cluster()
        return self._last_cluster

    async def _read_ahead(self, seal: SealState | None) -> None:
        """Read the grant that this seal needed last: so it can share a call with seal and cluster."""
        role = self._last_cluster.roles.get(seal.role) if self._last_cluster and seal else None
        if seal is not None and role is not None and not role.open:
            await self._grants.get((seal.owner, seal.role))

    async def _load_grant(self, key: tuple[bytes, str]) -> GrantState | None:
        # All that is looked up in it is where grants are, which never changes.
        cluster = self._last_cluster or (await self._clusters.get(None))[0]
        return await self._reader.grant(cluster, *key)
