"""What transactions cost: bytes of objects and events, deposits, computation.

Bytes of objects are metered bytes (:func:`.objects.metered_bytes`), those of events the BCS of their
contents. Of the MIST, those for computation are an estimate (:mod:`.gas`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .effects import Effects
from .gas import GasSummary
from .objects import ObjectStore, WriteSet
from .transactions import Pure, SharedObject, TransactionData
from .workspace import Event


@dataclass(frozen=True, slots=True)
class ObjectSize:
    """Metered bytes of one object; 0 where it did not exist before, or does no more after."""

    id: bytes
    type_tag: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class EventSize:
    type_tag: str
    bytes: int


@dataclass(frozen=True, slots=True)
class TransactionNumbers:
    """What one transaction took and left. ``gas`` is in MIST."""

    transaction_bytes: int
    """BCS of the signed transaction, without signatures."""
    pure_bytes: int
    """Of these, in plain inputs."""
    shared_mutable_inputs: int
    objects: tuple[ObjectSize, ...]
    events: tuple[EventSize, ...]
    gas: GasSummary

    @property
    def stored_bytes(self) -> int:
        """By how much the transaction made storage grow; negative if it shrank."""
        return sum(one.after - one.before for one in self.objects)

    @property
    def event_bytes(self) -> int:
        return sum(one.bytes for one in self.events)


@dataclass(slots=True)
class Volume:
    """How many, and how many bytes."""

    count: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.bytes += size


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    executed: int = 0
    failed: int = 0
    refused: int = 0
    resubmitted: int = 0
    simulated: int = 0
    vm_ms: float = 0.0
    """Wall time of executions, with waits for the VM."""
    created: Volume = field(default_factory=Volume)
    """Objects that came to be, with their bytes then."""
    mutated: Volume = field(default_factory=Volume)
    """Changes of objects, with their bytes after them."""
    deleted: Volume = field(default_factory=Volume)
    """Objects that ended, with their bytes before."""
    events: Volume = field(default_factory=Volume)
    transaction_bytes: int = 0
    computation_mist: int = 0
    storage_deposit_mist: int = 0
    storage_rebate_mist: int = 0
    non_refundable_mist: int = 0

    def add(self, numbers: TransactionNumbers) -> None:
        """Count a final transaction's costs."""
        for one in numbers.objects:
            if not one.after:
                self.deleted.add(one.before)
            elif one.before:
                self.mutated.add(one.after)
            else:
                self.created.add(one.after)
        for event in numbers.events:
            self.events.add(event.bytes)
        self.transaction_bytes += numbers.transaction_bytes
        self.computation_mist += numbers.gas.computation_cost
        self.storage_deposit_mist += numbers.gas.storage_cost
        self.storage_rebate_mist += numbers.gas.storage_rebate
        self.non_refundable_mist += numbers.gas.non_refundable_storage_fee


def count(
    before: ObjectStore, data: TransactionData, effects: Effects, events: Sequence[Event], writes: WriteSet
) -> TransactionNumbers:
    """The numbers of a transaction whose ``writes`` are about to be applied to ``before``."""
    sizes = []
    for object_id, after in writes.objects.items():
        replaced = before.get(object_id)
        known = after or replaced
        assert known is not None, "a change has a before or an after"
        sizes.append(
            ObjectSize(
                object_id,
                known.type_tag,
                0 if replaced is None else replaced.metered_bytes,
                0 if after is None else after.metered_bytes,
            )
        )
    return TransactionNumbers(
        len(data.encoded),
        sum(len(one.value) for one in data.inputs if isinstance(one, Pure)),
        sum(isinstance(one, SharedObject) and one.mutable for one in data.inputs),
        tuple(sizes),
        tuple(EventSize(event.type_tag, len(event.contents)) for event in events),
        effects.gas,
    )
