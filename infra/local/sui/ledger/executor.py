"""Execution of one transaction on a store: commands, then gas, then versions, digests and effects.

Nothing is applied here; the outcome carries a write set. A failed transaction keeps nothing of its commands,
but it pays, and its mutable inputs get a new version, as on Sui.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..execution import MoveVm, ObjectValue
from .coins import coin_balance, coin_contents
from .datatypes import Datatypes, UnknownTypeError
from .digests import blake2b
from .effects import (
    BalanceWrite,
    ChangedObject,
    Effects,
    Failure,
    IdOperation,
    ObjectState,
    Output,
    ReadObject,
    events_digest,
)
from .errors import ExecutionFailedError
from .gas import GasSummary, computation_cost, storage_deposit, storage_summary
from .objects import (
    PACKAGE_TYPE,
    ObjectStore,
    OwnerKind,
    StoredObject,
    WriteSet,
    address_owner,
    metered_bytes,
    seal_object,
    shared_since,
)
from .ptb import ProgrammableTransaction
from .transactions import OwnedObject, SharedObject, TransactionData
from .type_tags import CLOCK_ID, SUI, coin_of
from .values import Origin, ValuePlace
from .workspace import Draft, Environment, Event, Workspace


@dataclass(frozen=True, slots=True)
class Outcome:
    """``results`` are the values that each command returned (type, BCS), for simulations."""

    effects: Effects
    events: tuple[Event, ...]
    writes: WriteSet
    results: tuple[tuple[tuple[str, bytes], ...], ...]


@dataclass(frozen=True, slots=True)
class _Charge:
    summary: GasSummary
    deposits: dict[bytes, int]
    """Object id -> MIST deposited for it from now on."""


class Executor:
    """Executes transactions against the state they find in ``store``."""

    def __init__(self, store: ObjectStore, vm: MoveVm, datatypes: Datatypes) -> None:
        self._store = store
        self._vm = vm
        self._datatypes = datatypes

    async def execute(
        self,
        data: TransactionData,
        environment: Environment,
        cancelled: ExecutionFailedError | None = None,
    ) -> Outcome:
        """Run a transaction that passed admission, unless consensus has ``cancelled`` it. Failures end up in
        the effects."""
        workspace = self._workspace(data, environment)
        gas = self._open_gas(data)
        results: tuple[tuple[tuple[str, bytes], ...], ...] = ()
        failure: Failure | None = None
        try:
            if cancelled is not None:
                raise cancelled
            transaction = ProgrammableTransaction(data, workspace, gas, self._vm, self._datatypes)
            await transaction.run()
            results = tuple(
                tuple((place.type_tag, place.contents) for place in places)
                for places in transaction.arguments.results
            )
            self._write_gas(data, workspace, gas)
            charge = self._charge(data, workspace)
            if charge.summary.net > data.gas.budget or charge.summary.computation_cost > data.gas.budget:
                raise ExecutionFailedError(
                    "INSUFFICIENT_GAS",
                    f"the transaction costs {charge.summary.net} MIST, its budget is {data.gas.budget}",
                )
        except ExecutionFailedError as failed:
            failure = Failure(failed.kind, str(failed), failed.command, failed.detail)
            workspace, charge = self._fail(data, environment, workspace.gas_units)
        return self._conclude(data, workspace, charge, failure, results)

    def _workspace(self, data: TransactionData, environment: Environment) -> Workspace:
        return Workspace(self._store, data.sender, data.digest, environment)

    def _open_gas(self, data: TransactionData) -> ValuePlace | None:
        """The gas coin: all payment objects smashed into the first, less the budget while commands run."""
        if not data.gas.payment:
            return None
        coins = [self._existing(ref.id) for ref in data.gas.payment]
        total = sum(coin_balance(coin.contents) for coin in coins)
        contents = coin_contents(coins[0].id, total - data.gas.budget)
        return ValuePlace(coin_of(SUI), contents, is_object=True, origin=Origin.GAS)

    def _existing(self, object_id: bytes) -> StoredObject:
        stored = self._store.get(object_id)
        assert stored is not None, "admission saw the object and locked it"
        return stored

    def _write_gas(self, data: TransactionData, workspace: Workspace, gas: ValuePlace | None) -> None:
        """Give the budget back to the gas coin; the charge is taken at the end."""
        if gas is None:
            return
        recipient = workspace.drafts[gas.id].owner if gas.id in workspace.drafts else None
        balance = coin_balance(gas.contents) + data.gas.budget
        value = ObjectValue(gas.id, gas.type_tag, coin_contents(gas.id, balance))
        workspace.write(value, recipient or address_owner(data.sender))
        for ref in data.gas.payment[1:]:
            workspace.remove(ref.id)

    def _fail(
        self, data: TransactionData, environment: Environment, gas_units: int
    ) -> tuple[Workspace, _Charge]:
        """Start over with nothing but touched inputs and the gas coin."""
        workspace = self._workspace(data, environment)
        workspace.gas_units = gas_units
        for argument in data.inputs:
            object_id = _mutable_input(argument)
            stored = self._store.get(object_id) if object_id is not None else None
            if stored is not None and stored.owner.kind is not OwnerKind.IMMUTABLE:
                workspace.write(stored.value, stored.owner)
        self._write_gas(data, workspace, self._open_gas(data))
        charge = self._charge(data, workspace)
        budget = data.gas.budget
        computation = min(charge.summary.computation_cost, budget)
        summary = charge.summary
        if summary.net > budget:
            # Nothing is left for storage: the inputs keep the deposits that they had.
            summary = GasSummary(computation)
        else:
            summary = GasSummary(
                computation, summary.storage_cost, summary.storage_rebate, summary.non_refundable_storage_fee
            )
        return workspace, _Charge(summary, charge.deposits)

    def _charge(self, data: TransactionData, workspace: Workspace) -> _Charge:
        deposits = {
            object_id: storage_deposit(
                metered_bytes(draft.value.type_tag, draft.value.contents, draft.package)
            )
            for object_id, draft in workspace.drafts.items()
        }
        replaced = (self._store.get(object_id) for object_id in (*workspace.drafts, *workspace.removed))
        before = sum(stored.storage_rebate for stored in replaced if stored is not None)
        computation = computation_cost(workspace.gas_units, data.gas.price)
        return _Charge(storage_summary(computation, sum(deposits.values()), before), deposits)

    def _conclude(
        self,
        data: TransactionData,
        workspace: Workspace,
        charge: _Charge,
        failure: Failure | None,
        results: tuple[tuple[tuple[str, bytes], ...], ...],
    ) -> Outcome:
        gas_id = self._pay(data, workspace, charge.summary)
        inputs = [self._store.get(object_id) for object_id in _input_ids(data)]
        lamport = 1 + max((stored.version for stored in inputs if stored is not None), default=0)
        writes = WriteSet(balances={k: change for k, change in workspace.balances.items() if change})
        for object_id in workspace.removed:
            writes.objects[object_id] = None
        for object_id, draft in workspace.drafts.items():
            writes.objects[object_id] = self._seal(draft, lamport, data.digest, charge.deposits[object_id])
        self._mark_wrapped(workspace, writes)
        events = tuple(workspace.events)
        effects = Effects(
            failure=failure,
            epoch=workspace.environment.epoch,
            gas=charge.summary,
            transaction_digest=data.digest,
            gas_object=gas_id,
            events_digest=events_digest(events),
            dependencies=tuple(sorted({s.previous_transaction for s in inputs if s is not None})),
            lamport_version=lamport,
            changed=tuple(self._changed(writes, object_id) for object_id in sorted(writes.objects)),
            balances=tuple(_balance_write(key, change) for key, change in writes.balances.items()),
            read=self._read_only(data),
        )
        return Outcome(effects, events, writes, results)

    def _pay(self, data: TransactionData, workspace: Workspace, summary: GasSummary) -> bytes | None:
        if not data.gas.payment:
            workspace.deposit(data.sender, SUI, -summary.net)
            return None
        gas_id = data.gas.payment[0].id
        draft = workspace.drafts[gas_id]
        left = coin_balance(draft.value.contents) - summary.net
        value = ObjectValue(gas_id, draft.value.type_tag, coin_contents(gas_id, left))
        workspace.drafts[gas_id] = Draft(value, draft.owner)
        return gas_id

    def _seal(self, draft: Draft, lamport: int, digest: bytes, deposit: int) -> StoredObject:
        owner = draft.owner
        if owner.kind is OwnerKind.SHARED and not owner.initial_version:
            owner = shared_since(lamport)
        return seal_object(
            draft.value,
            version=lamport if draft.package is None else draft.package.version,
            owner=owner,
            previous_transaction=digest,
            storage_rebate=0 if draft.package is not None else deposit,
            public_transfer=self._has_store(draft.value.type_tag),
            package=draft.package,
        )

    def _has_store(self, type_tag: str) -> bool:
        if type_tag == PACKAGE_TYPE:
            return False
        try:
            return "store" in self._datatypes.abilities(type_tag)
        except UnknownTypeError:
            return False

    def _mark_wrapped(self, workspace: Workspace, writes: WriteSet) -> None:
        """An object that is gone but whose id stands in a written object was wrapped, not deleted."""
        for object_id in workspace.removed:
            if any(object_id in draft.value.contents for draft in workspace.drafts.values()):
                writes.wrapped.add(object_id)

    def _changed(self, writes: WriteSet, object_id: bytes) -> ChangedObject:
        before, after = self._store.get(object_id), writes.objects[object_id]
        known = after or before
        assert known is not None, "a change has a before or an after"
        operation = IdOperation.NONE
        if after is None and object_id not in writes.wrapped:
            operation = IdOperation.DELETED
        elif before is None and not self._store.is_wrapped(object_id):
            operation = IdOperation.CREATED
        output = Output.DOES_NOT_EXIST
        if after is not None:
            output = Output.OBJECT_WRITE if after.package is None else Output.PACKAGE_WRITE
        return ChangedObject(object_id, _state(before), output, _state(after), operation, known.type_tag)

    def _read_only(self, data: TransactionData) -> tuple[ReadObject, ...]:
        found = []
        for argument in data.inputs:
            if isinstance(argument, SharedObject) and not argument.mutable and argument.id != CLOCK_ID:
                stored = self._store.get(argument.id)
                if stored is not None:
                    found.append(ReadObject(stored.id, stored.version, stored.digest, stored.type_tag))
        return tuple(found)


def _mutable_input(argument: object) -> bytes | None:
    match argument:
        case OwnedObject(ref):
            return ref.id
        case SharedObject(object_id, _, True):
            return object_id
    return None


def _input_ids(data: TransactionData) -> list[bytes]:
    ids = [ref.id for ref in data.gas.payment]
    for argument in data.inputs:
        match argument:
            case OwnedObject(ref):
                ids.append(ref.id)
            case SharedObject(object_id):
                ids.append(object_id)
    return ids


def _state(stored: StoredObject | None) -> ObjectState | None:
    return None if stored is None else ObjectState(stored.version, stored.digest, stored.owner)


def _balance_write(key: tuple[bytes, str], change: int) -> BalanceWrite:
    address, currency = key
    return BalanceWrite(blake2b(b"accumulator" + address + currency.encode()), address, currency, change)
