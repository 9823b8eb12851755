"""What the shims recorded in one call, and what it amounts to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from ..bytecode.reader import Cursor
from ..execution import (
    Change,
    ChildRemoved,
    ChildWritten,
    Consumed,
    EmittedEvent,
    Frozen,
    Mutated,
    ObjectInput,
    ObjectValue,
    ReturnValue,
    Shared,
    Transferred,
)

_BARE_ADDRESS = re.compile(r"(?<![0-9a-fx])([0-9a-f]{64})::")


class Kind(IntEnum):
    """Kinds of entries, as in ``shims/event_log.move`` and its users."""

    EVENT = 1
    TRANSFER = 2
    SHARE = 3
    FREEZE = 4
    CHILD_ADDED = 5
    CHILD_BORROWED = 6
    CHILD_REMOVED = 7
    CHILD_STATE = 8
    ARGUMENT = 9
    RETURN = 10


@dataclass(frozen=True, slots=True)
class Entry:
    kind: Kind
    type_tag: str
    contents: bytes
    first: bytes
    second: bytes
    position: int = 0

    @property
    def value(self) -> ObjectValue:
        """The entry's contents as an object, whose id is its first field."""
        return ObjectValue(self.contents[:32], self.type_tag, self.contents)


def canonical_name(type_name: str) -> str:
    """``std::type_name``'s text in the form of :mod:`infra.local.sui.execution`."""
    return _BARE_ADDRESS.sub(r"0x\1::", type_name)


def read_entries(record: bytes) -> Iterator[Entry]:
    """The BCS structs that ``event_log::recorded`` put one after the other."""
    cursor = Cursor(record)
    while not cursor.exhausted:
        kind = Kind(cursor.byte())
        type_tag = canonical_name(cursor.blob().decode("ascii"))
        contents, first, second = cursor.blob(), cursor.take(32), cursor.take(32)
        yield Entry(kind, type_tag, contents, first, second, int.from_bytes(cursor.take(8), "little"))


def borrowed_types(entries: Sequence[Entry]) -> list[str]:
    """Types of dynamic fields that were borrowed mutably, in the order of their first use."""
    return list(dict.fromkeys(entry.type_tag for entry in entries if entry.kind is Kind.CHILD_BORROWED))


@dataclass(slots=True)
class Effects:
    """The net effect of one call's entries."""

    changes: list[Change] = field(default_factory=list)
    events: list[EmittedEvent] = field(default_factory=list)
    returns: list[ReturnValue] = field(default_factory=list)
    arguments: dict[int, bytes] = field(default_factory=dict)
    """BCS, after the call, of every argument that was passed by mutable reference."""


def net_effects(
    entries: Sequence[Entry],
    by_value: Sequence[ObjectInput],
    existing_children: frozenset[bytes],
    is_object: Sequence[bool],
) -> Effects:
    """Collapse entries into changes.

    ``by_value`` are the object inputs that the function took by value, ``existing_children`` the ids of the
    child objects that were there before, ``is_object`` says of each return value whether its type has
    ``key``. A child that is created and removed within the call does not appear.
    """
    effects = Effects()
    children: dict[bytes, ChildWritten | ChildRemoved] = {}
    placed: dict[bytes, Change] = {}
    for entry in entries:
        match entry.kind:
            case Kind.EVENT:
                effects.events.append(EmittedEvent(entry.type_tag, entry.contents))
            case Kind.TRANSFER:
                placed[entry.value.id] = Transferred(entry.value, entry.first)
            case Kind.SHARE:
                placed[entry.value.id] = Shared(entry.value)
            case Kind.FREEZE:
                placed[entry.value.id] = Frozen(entry.value)
            case Kind.CHILD_ADDED | Kind.CHILD_STATE:
                value = ObjectValue(entry.second, entry.type_tag, entry.contents)
                children[entry.second] = ChildWritten(entry.first, value)
            case Kind.CHILD_REMOVED:
                children[entry.second] = ChildRemoved(entry.first, entry.second)
            case Kind.ARGUMENT:
                effects.arguments[entry.position] = entry.contents
            case Kind.RETURN:
                keyed = is_object[len(effects.returns)]
                effects.returns.append(ReturnValue(entry.type_tag, entry.contents, keyed))
            case Kind.CHILD_BORROWED:
                pass
    effects.changes += placed.values()
    effects.changes += (
        child
        for id_, child in children.items()
        if isinstance(child, ChildWritten) or id_ in existing_children
    )
    kept = placed.keys() | {r.contents[:32] for r in effects.returns if r.is_object}
    kept |= {id_ for id_, child in children.items() if isinstance(child, ChildWritten)}
    effects.changes += (Consumed(one.value.id) for one in by_value if one.value.id not in kept)
    return effects


def mutations(effects: Effects, objects: dict[int, ObjectInput]) -> list[Change]:
    """``Mutated`` for every object (by argument position) whose contents are known after the call."""
    return [
        Mutated(ObjectValue(objects[index].value.id, objects[index].value.type_tag, contents))
        for index, contents in effects.arguments.items()
        if index in objects
    ]
