"""The chain as one port shows it: usually the tip; behind it when told to lag, pruned when told so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from ..execution import PackageInterface
from ..ledger.bcs import u64
from ..ledger.checkpoints import Checkpoint, ExecutedTransaction, IndexedEvent
from ..ledger.ledger import Ledger
from ..ledger.objects import Owner, StoredObject, address_owner, object_owner
from ..ledger.type_tags import CLOCK_ID
from .misbehaviour import Misbehaviour


class NodeView:
    """Reads of one port."""

    def __init__(self, ledger: Ledger, misbehaviour: Misbehaviour) -> None:
        self.ledger = ledger
        self.misbehaviour = misbehaviour

    @property
    def tip(self) -> Checkpoint:
        """The latest checkpoint that this port admits to know."""
        checkpoints = self.ledger.checkpoints.checkpoints
        return checkpoints[max(0, len(checkpoints) - 1 - self.misbehaviour.lag)]

    @property
    def indexed_tip(self) -> Checkpoint:
        """The latest checkpoint whose events lists show."""
        shown = max(0, self.tip.sequence - self.misbehaviour.index_lag)
        return self.ledger.checkpoints.checkpoints[shown]

    @property
    def lowest_checkpoint(self) -> int:
        return self.misbehaviour.lowest_available_checkpoint

    @property
    def _lags(self) -> bool:
        return self.misbehaviour.lag > 0

    def object(self, object_id: bytes, version: int | None = None) -> StoredObject | None:
        if version is not None:
            return self.ledger.history.at_version(object_id, version)
        if self._lags:
            return self.ledger.history.as_of(object_id, self.tip.network_transactions)
        return self.ledger.final.get(object_id)

    def with_time(self, stored: StoredObject) -> StoredObject:
        """The Clock shows the present; every other object is what it is."""
        if stored.id != CLOCK_ID:
            return stored
        return replace(stored, contents=CLOCK_ID + u64(self.ledger.clock.now_ms()))

    def packages(self) -> list[PackageInterface]:
        """Every version of every package that this port knows."""
        known = (self.object(stored.id) for stored in self.ledger.final.objects() if stored.package)
        return [stored.package for stored in known if stored is not None and stored.package is not None]

    def owned_by(self, address: bytes) -> list[StoredObject]:
        if self._lags:
            return self._past(address_owner(address))
        return self.ledger.final.owned_by(address)

    def children_of(self, parent: bytes) -> list[StoredObject]:
        if self._lags:
            return self._past(object_owner(parent))
        return self.ledger.final.children_of(parent)

    def _past(self, owner: Owner) -> list[StoredObject]:
        at = self.tip.network_transactions
        candidates = (self.ledger.history.as_of(object_id, at) for object_id in self.ledger.history.versions)
        return sorted((s for s in candidates if s is not None and s.owner == owner), key=lambda s: s.id)

    def transaction(self, digest: bytes) -> ExecutedTransaction | None:
        """A transaction that is final, in a checkpoint or not yet."""
        executed = self.ledger.transactions.get(digest)
        if executed is None:
            return None
        if executed.checkpoint is None:
            return None if self._lags else executed
        known = self.lowest_checkpoint <= executed.checkpoint <= self.tip.sequence
        return executed if known else None

    def checkpoint(self, sequence: int) -> Checkpoint | None:
        known = self.lowest_checkpoint <= sequence <= self.tip.sequence
        return self.ledger.checkpoints.checkpoints[sequence] if known else None

    def checkpoint_by_digest(self, digest: bytes) -> Checkpoint | None:
        known = (
            self.checkpoint(c.sequence) for c in self.ledger.checkpoints.checkpoints if c.digest == digest
        )
        return next(known, None)

    def events(self, first: int, end: int) -> Iterable[IndexedEvent]:
        """Events by position, ``end`` exclusive."""
        if self.misbehaviour.withhold_events:
            return []
        return self.ledger.checkpoints.events[first:end]

    def pushed_events(self, checkpoint: Checkpoint) -> Iterable[IndexedEvent]:
        """A checkpoint's events as subscriptions get them."""
        events = list(self.events(checkpoint.first_event, checkpoint.events_after))
        return events[::-1] if self.misbehaviour.reorder_events else events

    async def follow(self, first: int) -> AsyncIterator[Checkpoint]:
        """Checkpoints from number ``first`` on, as this port comes to know them."""
        sequence = first
        async for _ in self.ledger.checkpoints.follow(first):
            while sequence <= self.tip.sequence:
                yield self.ledger.checkpoints.checkpoints[sequence]
                sequence += 1
