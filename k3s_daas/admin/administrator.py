"""The holder of capabilities at work on one cluster: reads it, and applies changes to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from k3s_daas.admin.changes import Change, Draft, Power, batches, powers_needed
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.paying import Payer, await_object
from k3s_daas.bcs import Reader
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import ChainObject, ExecutionOutcome, OperatorLedger
from k3s_daas.sui.transactions import ObjectRef, PtbBuilder
from k3s_daas.sui.type_tags import StructTag
from k3s_daas.sui.wallet import object_ref

_STRUCTS: Mapping[Power, str] = {
    "cluster": "ClusterCap",
    "pause": "PauseCap",
    "member": "MemberCap",
    "access": "AccessCap",
}
_MODULE = "capability"


def capability_type(package_original: bytes, power: Power) -> str:
    """The type tag of a capability."""
    return str(StructTag(package_original, _MODULE, _STRUCTS[power]))


def power_of(type_tag: str) -> Power | None:
    """What an object of this type gives, or None if it is no capability."""
    for power, struct in _STRUCTS.items():
        if type_tag.endswith(f"::{_MODULE}::{struct}"):
            return power
    return None


class Administrator:
    """One key, one deployment. Every method may raise `LedgerError`."""

    def __init__(self, ledger: OperatorLedger, payer: Payer, deployment: Deployment) -> None:
        self._ledger = ledger
        self._payer = payer
        self._deployment = deployment
        self._reader = ContractReader(ledger, deployment.roots())

    @property
    def address(self) -> bytes:
        return self._payer.address

    async def cluster(self) -> ClusterState:
        """The cluster as it is. Raises `ConfigurationError` if the endpoint is on another chain."""
        await self._reader.confirm_chain()
        return await self._reader.cluster()

    async def apply(self, changes: Sequence[Change]) -> list[ExecutionOutcome]:
        """Makes the changes, in their order, in as few transactions as hold them.

        A transaction is made as a whole or not at all; an exception may leave earlier ones done.
        Raises `ConfigurationError` if the key lacks a capability, `MoveAbortError` if the contract refuses.
        """
        found = await await_object(self._ledger, self._deployment.cluster_id)
        ref = SharedRef.of(found)
        return [await self._apply(ref, batch) for batch in batches(changes)]

    async def _apply(self, cluster: SharedRef, batch: Sequence[Change]) -> ExecutionOutcome:
        async def composer() -> Callable[[PtbBuilder], None]:
            owned = {power: await self._capability(power) for power in powers_needed(batch)}

            def compose(builder: PtbBuilder) -> None:
                draft = Draft(builder, self._deployment.package_latest, cluster, owned)
                for change in batch:
                    change.calls(draft)
                draft.finish()

            return compose

        return await self._payer.run_fresh(composer)

    async def _capability(self, power: Power) -> ObjectRef:
        """The key's own live capability over this cluster."""
        wanted = capability_type(self._deployment.package_original, power)
        owned = await self._ledger.list_owned_objects(self.address, wanted)
        mine = [one for one in owned if capability_cluster(one) == self._deployment.cluster_id]
        if power != "cluster":
            live = (await self._reader.cluster()).capabilities
            mine = [one for one in mine if one.id in live]
        if not mine:
            raise ConfigurationError(
                f"the address {to_hex(self.address)} holds no live {_STRUCTS[power]} of this cluster: "
                f"use the key of who does (daas cluster show lists them)"
            )
        return object_ref(min(mine, key=lambda one: one.id))


def capability_cluster(found: ChainObject) -> bytes:
    """The cluster that a capability is for: its contents are its id and the cluster's."""
    reader = Reader(found.contents)
    reader.address()
    cluster = reader.address()
    reader.finish()
    return cluster
