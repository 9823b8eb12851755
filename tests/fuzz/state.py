"""What the model looks at: the present objects of the contract, decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from infra.local.sui.ledger.digests import base58
from infra.local.sui.ledger.ledger import Ledger
from infra.local.sui.ledger.objects import OwnerKind, StoredObject
from k3s_daas.bcs import Writer
from k3s_daas.contract.addresses import dynamic_field_id, request_key
from k3s_daas.contract.objects import ClusterState, GrantState, RequestState, SealState
from k3s_daas.sui.ledger import ChainObject, Owner
from k3s_daas.sui.type_tags import StructTag

State = TypeVar("State", ClusterState, SealState, RequestState, GrantState)
REQUEST_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Capability:
    """``cluster`` is the one that the capability names."""

    id: bytes
    kind: str
    cluster: bytes
    owner: bytes


class View:
    """The contract's state at one moment."""

    def __init__(self, ledger: Ledger, package: bytes) -> None:
        self._ledger = ledger
        self._package = package
        self._decoded: dict[bytes, object] = {}

    @property
    def now_ms(self) -> int:
        return self._ledger.clock.now_ms()

    def find(self, object_id: bytes) -> StoredObject | None:
        return self._ledger.final.get(object_id)

    def type_of(self, object_id: bytes) -> str | None:
        """The name of the object's type, without its module; None if there is no object."""
        found = self.find(object_id)
        return None if found is None else found.type_tag.partition("<")[0].rpartition("::")[2]

    def may_use(self, object_id: bytes, sender: bytes) -> bool:
        """It is shared, or the sender's."""
        found = self.find(object_id)
        if found is None:
            return False
        return found.owner.kind is OwnerKind.SHARED or found.owner.address == sender

    def cluster(self, object_id: bytes) -> ClusterState:
        return self._decode(ClusterState, object_id)

    def seal(self, object_id: bytes) -> SealState:
        return self._decode(SealState, object_id)

    def capability(self, object_id: bytes) -> Capability:
        found = self.find(object_id)
        assert found is not None
        kind = self.type_of(object_id)
        assert kind is not None
        return Capability(object_id, kind, found.contents[32:64], found.owner.address)

    def request(self, seal: bytes, request_id: bytes) -> RequestState | None:
        if len(request_id) != REQUEST_ID_BYTES:
            return None
        key_type = StructTag(self._package, "k8s_gateway", "RequestKey")
        field = dynamic_field_id(seal, key_type, request_key(request_id))
        return None if self.find(field) is None else self._decode(RequestState, field)

    def grant_expiry(self, cluster: ClusterState, holder: bytes, role: str) -> int | None:
        """When a grant ends; None if there is none."""
        key = Writer().address(holder).string(role).finish()
        field = dynamic_field_id(cluster.grants, StructTag(self._package, "cluster", "GrantKey"), key)
        return None if self.find(field) is None else self._decode(GrantState, field).expires_at_ms

    def _decode(self, kind: type[State], object_id: bytes) -> State:
        found = self.find(object_id)
        assert found is not None
        known = self._decoded.get(found.digest)
        if not isinstance(known, kind):
            known = kind.decode(_as_read(found))
            if len(self._decoded) > 1_000:
                self._decoded.clear()
            self._decoded[found.digest] = known
        return known


def _as_read(found: StoredObject) -> ChainObject:
    shared = found.owner.kind is OwnerKind.SHARED
    owner = Owner("shared", None, found.owner.initial_version) if shared else Owner("object")
    digest, previous = base58(found.digest), base58(found.previous_transaction)
    return ChainObject(found.id, found.version, digest, found.type_tag, found.contents, owner, previous)
