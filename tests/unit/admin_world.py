"""A cluster on a chain that executes everything, for the tests of the operator's commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.policy_file import DEFAULT_POLICY
from k3s_daas.bcs import Writer
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.objects import ClusterState, ExecutorState
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.ids import to_hex
from k3s_daas.rbac import Role, Rule
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.ledger import (
    ChainObject,
    ChainPackage,
    CreatedObject,
    EpochInfo,
    ExecutionOutcome,
    Owner,
    ServiceInfo,
)
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import decode_transaction, transaction_digest

FRAMEWORK = to_hex((2).to_bytes(32, "big"))
CHAIN = to_base58(bytes(range(32)))
PACKAGE, CAP, CLUSTER, TABLE = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32, b"\x0d" * 32
DEPLOYMENT = Deployment(CHAIN, PACKAGE, PACKAGE, CAP, CLUSTER)
GATEWAY, EXECUTOR, HOLDER = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
READER = Role("viewer", 3, 0, False, (Rule(("get",), ("",), ("pods",)),))
STATE = ClusterState(
    ref=SharedRef(CLUSTER, 5),
    version=1,
    name="shop",
    listener_namespace="daas-system",
    policy=DEFAULT_POLICY,
    roles={"viewer": READER},
    grants=TABLE,
    executors={EXECUTOR: ExecutorState(EXECUTOR, b"", 0, b"")},
    gateways=frozenset({GATEWAY}),
    capabilities=frozenset(),
    paused=False,
)


@dataclass
class ScriptedLedger:
    """A chain that executes everything, and keeps what it was sent. What no test needs is not there."""

    objects: dict[bytes, ChainObject] = field(default_factory=dict)
    fields: list[ChainObject] = field(default_factory=list)
    package: ChainPackage | None = None
    executed: list[bytes] = field(default_factory=list)
    address_balance: int = 10**12
    refusals: int = 0
    breaks: int = 0
    sent: list[bytes] = field(default_factory=list)
    lag: int = 0
    created: Sequence[CreatedObject] = ()

    async def service_info(self) -> ServiceInfo:
        return ServiceInfo(CHAIN, 1, 1, 0, 1_000)

    async def epoch(self) -> EpochInfo:
        return EpochInfo(1, 1_000)

    async def balance(self, _: bytes) -> int:
        return self.address_balance

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        return self.objects.get(object_id)

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        mine = (one for one in self.objects.values() if one.owner.address == owner)
        return [one for one in mine if one.type_tag == object_type]

    async def list_dynamic_fields(self, _: bytes) -> list[ChainObject]:
        return self.fields

    async def get_package(self, package: bytes) -> ChainPackage | None:
        return self.package if self.package and self.package.id == package else None

    async def get_signed_transaction(self, digest: str) -> object | None:
        if self.lag:
            self.lag -= 1
            return None
        return digest if digest in [transaction_digest(one) for one in self.executed] else None

    async def execute(self, transaction: bytes, _: bytes) -> ExecutionOutcome:
        self.sent.append(transaction)
        if self.breaks:
            self.breaks -= 1
            raise LedgerUnavailableError("the endpoint is away")
        if self.refusals:
            self.refusals -= 1
            raise TransactionRefusedError("stale-object", "the object is at another version")
        self.executed.append(transaction)
        return ExecutionOutcome(transaction_digest(transaction), True, created=self.created)

    def calls(self, position: int = -1) -> list[str]:
        """The functions that a transaction called."""
        return [call.function for call in decode_transaction(self.executed[position]).move_calls]


def port(ledger: ScriptedLedger) -> Any:
    """Only a part of the port: what is missing fails."""
    return ledger


def put(ledger: ScriptedLedger, object_id: bytes, type_tag: str, contents: bytes, owner: Owner) -> None:
    ledger.objects[object_id] = ChainObject(object_id, 7, CHAIN, type_tag, object_id + contents, owner, CHAIN)


def owned_by(signer: FileSigner) -> Owner:
    return Owner("address", signer.address)


def with_cluster(ledger: ScriptedLedger, *, capabilities: Sequence[bytes] = ()) -> None:
    """The chain has the cluster, with these live duty capabilities."""
    contents = Writer().u64(1).string("shop").string("daas-system")
    for name in DEFAULT_POLICY.__dataclass_fields__:
        contents.u64(getattr(DEFAULT_POLICY, name))
    contents.uleb128(0).address(TABLE).u64(0).uleb128(0).uleb128(0)
    contents.vector(capabilities, Writer.address).boolean(False)
    owner = Owner("shared", initial_shared_version=5)
    put(ledger, CLUSTER, f"{to_hex(PACKAGE)}::cluster::Cluster", contents.finish(), owner)
