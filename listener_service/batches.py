"""Which answers go into one transaction: as many of the oldest as Sui's limits let through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from k3s_daas.contract.calls import Response, SharedRef
from k3s_daas.contract.calls_command import PayloadReference
from k3s_daas.sui.ledger import ExecutionOutcome
from k3s_daas.sui.transactions import MAX_TRANSACTION_BYTES

# An answer is two commands and one event, of which a transaction holds 1,024 each; what counts is that a
# batch that fails takes few with it, and that its gas stays far below the budget.
MOST_ANSWERS = 32
# Upper bounds for what stands beside the ciphertext: sender, gas, cluster and clock; seal, id and call of an
# answer; the length and the argument of a chunk.
_TRANSACTION_BYTES = 1_024
_ANSWER_BYTES = 320
_CHUNK_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A sealed answer, its seal, until when it counts (Unix ms), and what will have become of it.

    `outcome` is None if `answer_by` passed first; a cancelled one is no longer waited for.
    """

    response: Response
    seal: SharedRef
    answer_by_ms: int
    outcome: asyncio.Future[ExecutionOutcome | None] = field(repr=False)


def take_batch(waiting: list[Outgoing]) -> list[Outgoing]:
    """Takes the next batch out of `waiting`: the oldest, and of the others in their order what still fits.

    What does not fit keeps its place, and is the oldest one day.
    """
    batch: list[Outgoing] = []
    left: list[Outgoing] = []
    room = MAX_TRANSACTION_BYTES - _TRANSACTION_BYTES
    for outgoing in waiting:
        size = wire_bytes(outgoing.response)
        if len(batch) < MOST_ANSWERS and (size <= room or not batch):
            batch.append(outgoing)
            room -= size
        else:
            left.append(outgoing)
    waiting[:] = left
    return batch


def halves(batch: Sequence[Outgoing]) -> tuple[list[Outgoing], list[Outgoing]]:
    """The batch in two, neither of them empty if it has two answers or more."""
    middle = len(batch) // 2
    return list(batch[:middle]), list(batch[middle:])


def wire_bytes(response: Response) -> int:
    """At most so many bytes does the answer add to a transaction."""
    if isinstance(response.payload, PayloadReference):
        return _ANSWER_BYTES + len(response.payload.reference)
    return _ANSWER_BYTES + sum(len(chunk) + _CHUNK_BYTES for chunk in response.payload)
