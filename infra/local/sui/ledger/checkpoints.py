"""Checkpoints: the order of the chain, by which events get their positions.

There are no validators, so a checkpoint has no committee signature; contents and summary are hashed as on
Sui.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from . import bcs
from .counting import TransactionNumbers
from .digests import hash_named
from .effects import Effects
from .gas import GasSummary
from .transactions import TransactionData
from .workspace import Event


@dataclass(slots=True)
class ExecutedTransaction:
    """A final transaction. The checkpoint's fields are set when a checkpoint includes it."""

    data: TransactionData
    signatures: tuple[bytes, ...]
    effects: Effects
    effects_digest: bytes
    events: tuple[Event, ...]
    balance_changes: tuple[tuple[bytes, str, int], ...]
    """(address, coin type, change) over coins and address balances."""
    sequence: int = 0
    """How many transactions had become final before this one."""
    checkpoint: int | None = None
    checkpoint_ms: int = 0
    index: int = 0
    numbers: TransactionNumbers | None = None
    """What it cost; None until it is final."""

    @property
    def digest(self) -> bytes:
        return self.data.digest


@dataclass(frozen=True, slots=True)
class IndexedEvent:
    """An event at its place in the chain; ``position`` counts all events since genesis."""

    position: int
    event: Event
    transaction: ExecutedTransaction
    index: int


@dataclass(slots=True)
class Checkpoint:
    sequence: int
    epoch: int
    content_digest: bytes
    previous: bytes | None
    timestamp_ms: int
    network_transactions: int
    """Transactions since genesis, its own included: they make the state at this checkpoint."""
    rolling_gas: GasSummary
    transactions: tuple[ExecutedTransaction, ...]
    first_event: int
    events_after: int
    """Events of the chain up to and with this checkpoint."""
    contents: bytes = field(repr=False)
    """BCS ``CheckpointContents``."""
    summary: bytes = field(default=b"", repr=False)
    """BCS ``CheckpointSummary``, whose hash is the digest."""
    digest: bytes = b""


class CheckpointLog:
    """All checkpoints and the events in them."""

    def __init__(self, genesis_seed: bytes, timestamp_ms: int) -> None:
        self.checkpoints: list[Checkpoint] = []
        self.events: list[IndexedEvent] = []
        self._rolling = GasSummary()
        self._transactions = 0
        self._arrival: asyncio.Future[None] | None = None
        self._append((), 0, timestamp_ms, genesis_seed)

    @property
    def tip(self) -> Checkpoint:
        return self.checkpoints[-1]

    @property
    def genesis(self) -> Checkpoint:
        return self.checkpoints[0]

    def append(
        self, transactions: Sequence[ExecutedTransaction], epoch: int, timestamp_ms: int
    ) -> Checkpoint:
        """Close a checkpoint over ``transactions`` and wake up who follows."""
        return self._append(transactions, epoch, max(timestamp_ms, self.tip.timestamp_ms), b"")

    def _append(
        self, transactions: Sequence[ExecutedTransaction], epoch: int, timestamp_ms: int, extra: bytes
    ) -> Checkpoint:
        sequence = len(self.checkpoints)
        first_event = len(self.events)
        for index, transaction in enumerate(transactions):
            transaction.checkpoint, transaction.index = sequence, index
            transaction.checkpoint_ms = timestamp_ms
            for event_index, event in enumerate(transaction.events):
                self.events.append(IndexedEvent(len(self.events), event, transaction, event_index))
            self._rolling += transaction.effects.gas
        self._transactions += len(transactions)
        contents = _encode_contents(transactions)
        content_digest = hash_named("CheckpointContents", contents)
        previous = self.tip.digest if self.checkpoints else None
        checkpoint = Checkpoint(
            sequence=sequence,
            epoch=epoch,
            content_digest=content_digest,
            previous=previous,
            timestamp_ms=timestamp_ms,
            network_transactions=self._transactions,
            rolling_gas=self._rolling,
            transactions=tuple(transactions),
            first_event=first_event,
            events_after=len(self.events),
            contents=contents,
        )
        checkpoint.summary = _encode_summary(checkpoint, extra)
        checkpoint.digest = hash_named("CheckpointSummary", checkpoint.summary)
        self.checkpoints.append(checkpoint)
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)
        return checkpoint

    def start_epoch(self) -> None:
        self._rolling = GasSummary()

    async def follow(self, first: int) -> AsyncIterator[Checkpoint]:
        """Checkpoints from number ``first`` on, for ever."""
        sequence = first
        while True:
            while sequence < len(self.checkpoints):
                yield self.checkpoints[sequence]
                sequence += 1
            if self._arrival is None or self._arrival.done():
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)


def _encode_contents(transactions: Sequence[ExecutedTransaction]) -> bytes:
    digests = (bcs.blob(t.digest) + bcs.blob(t.effects_digest) for t in transactions)
    signatures = (bcs.vector(map(bcs.blob, t.signatures)) for t in transactions)
    return b"\0" + bcs.vector(digests) + bcs.vector(signatures)


def _encode_summary(checkpoint: Checkpoint, extra: bytes) -> bytes:
    gas, previous = checkpoint.rolling_gas, checkpoint.previous
    costs = (gas.computation_cost, gas.storage_cost, gas.storage_rebate, gas.non_refundable_storage_fee)
    counts = (checkpoint.epoch, checkpoint.sequence, checkpoint.network_transactions)
    return b"".join(
        (
            *map(bcs.u64, counts),
            bcs.blob(checkpoint.content_digest),
            bcs.option(None if previous is None else bcs.blob(previous)),
            *map(bcs.u64, costs),
            bcs.u64(checkpoint.timestamp_ms),
            bcs.vector(()),  # commitments
            bcs.option(None),  # end of epoch data
            bcs.blob(extra),
        )
    )
