"""What the queue knows of a command: what its event says, before anything of it is verified."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.events import ApiRequested
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES
from listener_service.event_source import SourcedEvent

ObjectKey = tuple[str, str, str, str]

_READS = ("get", "list", "watch")


class Kind(Enum):
    """Commands of one kind share places; none takes those of another kind."""

    READ = "read"
    MUTATION = "mutation"
    WATCH = "watch"
    LATE = "late"
    """Its `start_by` passed while it waited: it is only to be answered."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One event in the queue, from its delivery to its answer. Times in Unix ms, sizes in bytes.

    `holder` is the seal's owner, so several seals of one owner have one share. `work_bytes` is what it takes
    once it is in work.
    """

    sourced: SourcedEvent
    holder: bytes
    kind: Kind
    object_key: ObjectKey | None
    start_by_ms: int
    priority: int
    waiting_bytes: int
    work_bytes: int
    order: int = field(default=-1)
    """Its place in the chain's order, given by the queue."""
    arrived_s: float = field(default_factory=time.perf_counter)
    """When the source delivered it."""
    unconfirmed_since_ms: int | None = None
    """When its transaction was looked for in vain the first time."""

    @property
    def is_late(self) -> bool:
        """It must not be started any more, whatever a clock says later."""
        return self.kind is Kind.LATE

    def again(self) -> Ticket:
        """The same command, with its order, to be put a second time: this one is in work until it is done."""
        return replace(self)

    def bytes_with(self, *bodies: bytes) -> int:
        """What it takes in work with these bodies, of request and reply."""
        return self.work_bytes + _COPIES * sum(map(len, bodies))


# Measured: besides its contents an event in the queue takes 1.4 KB, which a test repeats; a command in work
# with an answer of a few KB 49 KB, without what libraries take outside of Python's memory.
_WAITING_BYTES = 1_536
_WORK_BYTES = 64 * 1024
# A ciphertext comes in a transaction, is joined, opened, and kept as a body; a reply goes the other way.
_COPIES = 4


def ticket_of(sourced: SourcedEvent, requested: ApiRequested, priority_of: Callable[[str], int]) -> Ticket:
    """`priority_of` a role, as the chain says; the verifier drops an event that names a role other than its
    seal's.
    """
    attributes = requested.attributes
    return Ticket(
        sourced,
        requested.requester,
        _kind(attributes),
        object_key(attributes),
        requested.start_by_ms,
        priority_of(requested.role),
        waiting_bytes=_WAITING_BYTES + len(sourced.event.contents),
        # An event may say any size; one that is larger than a transaction is not opened.
        work_bytes=_WORK_BYTES + _COPIES * min(requested.payload_size, MAX_CIPHERTEXT_BYTES),
    )


def _kind(attributes: OnChainAttributes) -> Kind:
    if attributes.verb == "watch":
        return Kind.WATCH
    return Kind.READ if attributes.verb in _READS else Kind.MUTATION


def object_key(attributes: OnChainAttributes) -> ObjectKey | None:
    """What a mutation must wait for: group, resource, namespace, name.

    None for reads, and without a name (generateName, deletecollection, non-resource requests).
    """
    if not attributes.resource or not attributes.name or attributes.verb in _READS:
        return None
    return (attributes.api_group, attributes.resource, attributes.namespace, attributes.name)


def places(concurrency: int) -> dict[Kind, int]:
    """Of each kind: reads do not wait for mutations nor the other way round, and neither for watches, which
    have a place here only until they are verified, nor for what is too late.
    """
    few = max(1, concurrency // 4)
    return {Kind.READ: concurrency, Kind.MUTATION: concurrency, Kind.WATCH: few, Kind.LATE: few}
