"""The state of one transaction in progress: what its commands see of each other before it is applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..execution import ObjectValue, PackageInterface, TxFrame
from .digests import fresh_id
from .errors import AbortDetail, ExecutionFailedError
from .objects import ObjectStore, Owner, OwnerKind, object_owner
from .type_tags import SUI_FRAMEWORK

MAX_OBJECT_BYTES = 250 * 1024
_SHARED_NON_NEW_OBJECT = 0
"""Abort code of ``transfer::share_object`` for an object that existed before the transaction."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a transaction sees of the chain around it; times in milliseconds, price in MIST."""

    epoch: int
    epoch_start_ms: int
    clock_ms: int
    reference_gas_price: int


@dataclass(frozen=True, slots=True)
class Event:
    """``package`` and ``module`` are those of the called function, as on Sui."""

    package: bytes
    module: str
    sender: bytes
    type_tag: str
    contents: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """An object as the transaction leaves it. A new shared owner gets its initial version at the end."""

    value: ObjectValue
    owner: Owner
    package: PackageInterface | None = None


@dataclass(slots=True)
class Workspace:
    """Changes on top of a store. Nothing reaches the store before the transaction has ended."""

    base: ObjectStore
    sender: bytes
    digest: bytes
    environment: Environment
    drafts: dict[bytes, Draft] = field(default_factory=dict)
    removed: dict[bytes, None] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    balances: dict[tuple[bytes, str], int] = field(default_factory=dict)
    ids_created: int = 0
    gas_units: int = 0
    _new_children: dict[bytes, dict[bytes, None]] = field(default_factory=dict)

    @property
    def frame(self) -> TxFrame:
        env = self.environment
        return TxFrame(self.sender, self.digest, env.epoch, env.epoch_start_ms, self.ids_created)

    def next_id(self) -> bytes:
        created = fresh_id(self.digest, self.ids_created)
        self.ids_created += 1
        return created

    def write(self, value: ObjectValue, owner: Owner, package: PackageInterface | None = None) -> None:
        """Let an object be in this state.

        Raises:
            ExecutionFailedError: too large, a shared object made anything else, or an old object shared.
        """
        if len(value.contents) > MAX_OBJECT_BYTES:
            raise ExecutionFailedError(
                "OBJECT_TOO_BIG",
                f"object 0x{value.id.hex()} would have {len(value.contents)} bytes; at most "
                f"{MAX_OBJECT_BYTES} are allowed",
            )
        self._check_owner_change(value.id, owner)
        self.removed.pop(value.id, None)
        self.drafts[value.id] = Draft(value, owner, package)
        if owner.kind is OwnerKind.OBJECT:
            self._new_children.setdefault(owner.address, {})[value.id] = None

    def _check_owner_change(self, object_id: bytes, owner: Owner) -> None:
        before = self.base.get(object_id)
        if before is None:
            return
        was_shared, is_shared = (o.kind is OwnerKind.SHARED for o in (before.owner, owner))
        if was_shared and not is_shared:
            raise ExecutionFailedError(
                "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED",
                f"shared object 0x{object_id.hex()} may only stay shared or be deleted",
            )
        if is_shared and before.owner.kind is OwnerKind.ADDRESS:
            raise ExecutionFailedError(
                "MOVE_ABORT",
                "an object that existed before the transaction cannot be shared",
                detail=AbortDetail(SUI_FRAMEWORK, "transfer", "share_object_impl", _SHARED_NON_NEW_OBJECT),
            )

    def remove(self, object_id: bytes) -> None:
        """Let an object be gone; one that this transaction made leaves no trace."""
        self.drafts.pop(object_id, None)
        if self.base.get(object_id) is not None:
            self.removed[object_id] = None

    def owner_of(self, object_id: bytes) -> Owner | None:
        draft = self.drafts.get(object_id)
        if draft is not None:
            return draft.owner
        stored = self.base.get(object_id)
        return stored.owner if stored is not None else None

    def deposit(self, address: bytes, currency: str, amount: int) -> None:
        """Change an address balance (negative: withdraw)."""
        key = (address, currency)
        self.balances[key] = self.balances.get(key, 0) + amount

    def write_child(self, parent: bytes, value: ObjectValue) -> None:
        self.write(value, object_owner(parent))

    def children_of(self, parent: bytes) -> list[ObjectValue]:
        """Dynamic fields and child objects of ``parent`` as they are now."""
        found = {
            stored.id: stored.value
            for stored in self.base.children_of(parent)
            if stored.id not in self.removed and stored.id not in self.drafts
        }
        for object_id in (
            *(s.id for s in self.base.children_of(parent)),
            *self._new_children.get(parent, ()),
        ):
            draft = self.drafts.get(object_id)
            if draft is not None and draft.owner == object_owner(parent):
                found[object_id] = draft.value
        return list(found.values())

    def reachable(self, values: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[ObjectValue]]:
        """Parents and their children that code can get at from ``values`` (id, contents), transitively."""
        found: dict[bytes, list[ObjectValue]] = {}
        pending = list(values)
        while pending:
            object_id, contents = pending.pop()
            for parent in self._parents_in(object_id, contents):
                if parent not in found:
                    found[parent] = self.children_of(parent)
                    pending.extend((child.id, child.contents) for child in found[parent])
        return {parent: children for parent, children in found.items() if children}

    def _parents_in(self, object_id: bytes, contents: bytes) -> list[bytes]:
        parents = list(self.base.embedded_parents(object_id, contents))
        parents += [parent for parent in self._new_children if parent in contents]
        return parents
