"""Objects and the store that holds one view of them.

The ledger keeps two stores: what has been *executed* (the next transaction builds on it) and what is *final*
(readers see it). Both hold the same immutable :class:`StoredObject` values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..execution import ObjectValue, PackageInterface
from . import bcs
from .digests import hash_named
from .type_tags import encode_object_type

PACKAGE_TYPE = "package"
_METADATA_BYTES = 80
_MOVE_OBJECT_OVERHEAD_BYTES = 9
_LINKAGE_BYTES = 32 + 32 + 8


class OwnerKind(Enum):
    ADDRESS = 0
    OBJECT = 1
    SHARED = 2
    IMMUTABLE = 3


@dataclass(frozen=True, slots=True)
class Owner:
    """``address`` for ADDRESS and OBJECT, ``initial_version`` for SHARED."""

    kind: OwnerKind
    address: bytes = b""
    initial_version: int = 0

    def encode(self) -> bytes:
        """BCS ``Owner``."""
        tail = bcs.u64(self.initial_version) if self.kind is OwnerKind.SHARED else self.address
        return bytes([self.kind.value]) + tail


def address_owner(address: bytes) -> Owner:
    return Owner(OwnerKind.ADDRESS, address)


def object_owner(parent: bytes) -> Owner:
    return Owner(OwnerKind.OBJECT, parent)


def shared_since(version: int) -> Owner:
    return Owner(OwnerKind.SHARED, initial_version=version)


IMMUTABLE = Owner(OwnerKind.IMMUTABLE)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object. ``package`` is set for packages, whose ``contents`` are empty."""

    id: bytes
    version: int
    digest: bytes
    owner: Owner
    type_tag: str
    contents: bytes
    previous_transaction: bytes
    storage_rebate: int
    """MIST deposited for this object."""
    public_transfer: bool
    package: PackageInterface | None = None

    @property
    def value(self) -> ObjectValue:
        return ObjectValue(self.id, self.type_tag, self.contents)

    @property
    def metered_bytes(self) -> int:
        return metered_bytes(self.type_tag, self.contents, self.package)


def metered_bytes(type_tag: str, contents: bytes, package: PackageInterface | None = None) -> int:
    """The size that storage is charged for (``object_size_for_gas_metering``)."""
    if package is not None:
        modules = sum(len(name) + len(code) for name, code in package.modules.items())
        origins = sum(len(module) + len(datatype) + 32 for module, datatype in package.type_origins)
        return _METADATA_BYTES + 8 + modules + origins + len(package.linkage) * _LINKAGE_BYTES
    return _METADATA_BYTES + len(contents) + len(encode_object_type(type_tag)) + _MOVE_OBJECT_OVERHEAD_BYTES


def encode_object(stored: StoredObject) -> bytes:
    """BCS ``Object``: its hash is the object's digest."""
    if stored.package is not None:
        data = b"\1" + _encode_package(stored.package)
    else:
        data = (
            b"\0"
            + encode_object_type(stored.type_tag)
            + bytes([stored.public_transfer])
            + bcs.u64(stored.version)
            + bcs.blob(stored.contents)
        )
    return (
        data + stored.owner.encode() + bcs.blob(stored.previous_transaction) + bcs.u64(stored.storage_rebate)
    )


def _encode_package(package: PackageInterface) -> bytes:
    """BCS ``MovePackage``."""
    modules = (bcs.text(name) + bcs.blob(code) for name, code in sorted(package.modules.items()))
    origins = (
        bcs.text(module) + bcs.text(datatype) + origin
        for (module, datatype), origin in package.type_origins.items()
    )
    linkage = (
        runtime + linked.id + bcs.u64(linked.version) for runtime, linked in sorted(package.linkage.items())
    )
    identity = package.id + bcs.u64(package.version)
    return identity + bcs.vector(modules) + bcs.vector(origins) + bcs.vector(linkage)


def seal_object(
    value: ObjectValue,
    *,
    version: int,
    owner: Owner,
    previous_transaction: bytes,
    storage_rebate: int,
    public_transfer: bool,
    package: PackageInterface | None = None,
) -> StoredObject:
    """Make a version of an object, with its digest."""
    fields = (previous_transaction, storage_rebate, public_transfer, package)
    draft = StoredObject(value.id, version, b"", owner, value.type_tag, value.contents, *fields)
    digest = hash_named("Object", encode_object(draft))
    return StoredObject(value.id, version, digest, owner, value.type_tag, value.contents, *fields)


@dataclass(slots=True)
class WriteSet:
    """What one transaction changes: object id -> its new version, or None where it ends; balance deltas."""

    objects: dict[bytes, StoredObject | None] = field(default_factory=dict)
    balances: dict[tuple[bytes, str], int] = field(default_factory=dict)
    """(address, coin type) -> change of that address balance."""
    wrapped: set[bytes] = field(default_factory=set)
    """Of the objects that end: those that live on inside another object."""


class ObjectStore:
    """Live objects, their owners and children, and address balances."""

    def __init__(self) -> None:
        self._objects: dict[bytes, StoredObject] = {}
        self._owned: dict[bytes, dict[bytes, None]] = {}
        self._children: dict[bytes, dict[bytes, None]] = {}
        self._balances: dict[tuple[bytes, str], int] = {}
        self._wrapped: set[bytes] = set()
        self._embedded: dict[bytes, tuple[int, bytes, tuple[bytes, ...]]] = {}
        self._parents: set[bytes] = set()
        self.metered_bytes = 0

    def get(self, object_id: bytes) -> StoredObject | None:
        return self._objects.get(object_id)

    def __len__(self) -> int:
        return len(self._objects)

    def objects(self) -> Iterable[StoredObject]:
        return self._objects.values()

    def owned_by(self, address: bytes) -> list[StoredObject]:
        """Objects of an address, by id."""
        return [self._objects[object_id] for object_id in sorted(self._owned.get(address, ()))]

    def children_of(self, parent: bytes) -> list[StoredObject]:
        """Dynamic fields (and child objects) of a parent, in order of their creation."""
        return [self._objects[object_id] for object_id in self._children.get(parent, ())]

    def balance(self, address: bytes, currency: str) -> int:
        """The address balance (not counting coin objects)."""
        return self._balances.get((address, currency), 0)

    def balances_of(self, address: bytes) -> dict[str, int]:
        return {currency: amount for (owner, currency), amount in self._balances.items() if owner == address}

    def is_wrapped(self, object_id: bytes) -> bool:
        return object_id in self._wrapped

    def apply(self, writes: WriteSet) -> None:
        self._wrapped.difference_update(writes.objects)
        self._wrapped |= writes.wrapped
        for object_id, stored in writes.objects.items():
            self._forget(object_id)
            if stored is not None:
                self._remember(stored)
        for key, change in writes.balances.items():
            after = self._balances.get(key, 0) + change
            assert after >= 0, "an address balance may not become negative"
            if after:
                self._balances[key] = after
            else:
                self._balances.pop(key, None)

    def embedded_parents(self, stored_id: bytes, contents: bytes) -> tuple[bytes, ...]:
        """Ids in ``contents`` that have, or once had, children: a UID shows its 32 bytes wherever it stands.

        The scan is cached per contents, until another parent appears for the first time.
        """
        cached = self._embedded.get(stored_id)
        if cached is not None and cached[0] == len(self._parents) and cached[1] is contents:
            return cached[2]
        windows = (contents[start : start + 32] for start in range(len(contents) - 31))
        found = tuple(dict.fromkeys(window for window in windows if window in self._parents))
        if stored_id in self._objects:
            self._embedded[stored_id] = (len(self._parents), contents, found)
        return found

    def _index(self, owner: Owner) -> dict[bytes, dict[bytes, None]] | None:
        if owner.kind is OwnerKind.ADDRESS:
            return self._owned
        return self._children if owner.kind is OwnerKind.OBJECT else None

    def _remember(self, stored: StoredObject) -> None:
        self._objects[stored.id] = stored
        self.metered_bytes += stored.metered_bytes
        index = self._index(stored.owner)
        if index is None:
            return
        if index is self._children:
            self._parents.add(stored.owner.address)
        index.setdefault(stored.owner.address, {})[stored.id] = None

    def _forget(self, object_id: bytes) -> None:
        stored = self._objects.pop(object_id, None)
        self._embedded.pop(object_id, None)
        if stored is None:
            return
        self.metered_bytes -= stored.metered_bytes
        index = self._index(stored.owner)
        if index is None:
            return
        siblings = index[stored.owner.address]
        del siblings[object_id]
        if not siblings:
            del index[stored.owner.address]


@dataclass(slots=True)
class History:
    """Every version that ever became final, so that old ones can be read and a lagging node be played."""

    versions: dict[bytes, list[tuple[int, StoredObject | None]]] = field(default_factory=dict)
    """Object id -> (sequence of the write, the version or None where it ended), oldest first."""

    def record(self, sequence: int, objects: Mapping[bytes, StoredObject | None]) -> None:
        for object_id, stored in objects.items():
            self.versions.setdefault(object_id, []).append((sequence, stored))

    def at_version(self, object_id: bytes, version: int) -> StoredObject | None:
        for _, stored in reversed(self.versions.get(object_id, [])):
            if stored is not None and stored.version == version:
                return stored
        return None

    def as_of(self, object_id: bytes, sequence: int) -> StoredObject | None:
        """The object as it was when ``sequence`` transactions had become final."""
        known: StoredObject | None = None
        for written, stored in self.versions.get(object_id, ()):
            if written > sequence:
                break
            known = stored
        return known
