"""The ledger's objects, effects, events and checkpoints as ``sui.rpc.v2`` messages."""

from __future__ import annotations

import datetime
from typing import Any

import pysui.sui.sui_grpc.suimsgs.google.protobuf as well_known
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.bcs import BcsError, Reader
from ..ledger.checkpoints import Checkpoint, ExecutedTransaction, IndexedEvent
from ..ledger.coins import coin_balance
from ..ledger.datatypes import Datatypes, UnknownTypeError
from ..ledger.digests import base58, hex_address
from ..ledger.effects import (
    BalanceWrite,
    ChangedObject,
    Effects,
    Failure,
    IdOperation,
    Output,
    encode_events,
)
from ..ledger.errors import AbortDetail, ArgumentDetail, CongestedDetail, SizeDetail, UpgradeDetail
from ..ledger.gas import GasSummary
from ..ledger.objects import Owner, OwnerKind, StoredObject, encode_object
from ..ledger.type_tags import balance_of, coin_type, parsed
from ..ledger.workspace import Event
from .masks import Tree, subtree, wants
from .packages import package_message

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_OWNER_KINDS = {
    OwnerKind.ADDRESS: v2.OwnerOwnerKind.ADDRESS,
    OwnerKind.OBJECT: v2.OwnerOwnerKind.OBJECT,
    OwnerKind.SHARED: v2.OwnerOwnerKind.SHARED,
    OwnerKind.IMMUTABLE: v2.OwnerOwnerKind.IMMUTABLE,
}
_ID_OPERATIONS = {
    IdOperation.NONE: v2.ChangedObjectIdOperation.NONE,
    IdOperation.CREATED: v2.ChangedObjectIdOperation.CREATED,
    IdOperation.DELETED: v2.ChangedObjectIdOperation.DELETED,
}
_OUTPUTS = {
    Output.DOES_NOT_EXIST: v2.ChangedObjectOutputObjectState.DOES_NOT_EXIST,
    Output.OBJECT_WRITE: v2.ChangedObjectOutputObjectState.OBJECT_WRITE,
    Output.PACKAGE_WRITE: v2.ChangedObjectOutputObjectState.PACKAGE_WRITE,
}


def timestamp(milliseconds: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(milliseconds=milliseconds)


def bcs_message(name: str, value: bytes) -> v2.Bcs:
    return v2.Bcs(name=name, value=value)


def json_value(value: Any) -> well_known.Value:
    """A JSON value as ``google.protobuf.Value``."""
    match value:
        case None:
            return well_known.Value(null_value=well_known.NullValue(0))
        case bool():
            return well_known.Value(bool_value=value)
        case int():
            return well_known.Value(number_value=float(value))
        case str():
            return well_known.Value(string_value=value)
        case list():
            return well_known.Value(list_value=well_known.ListValue(values=[json_value(v) for v in value]))
        case dict():
            fields = {key: json_value(inner) for key, inner in value.items()}
            return well_known.Value(struct_value=well_known.Struct(fields=fields))
    raise TypeError(f"{type(value).__name__} is not JSON")


def render_json(types: Datatypes, type_tag: str, contents: bytes) -> well_known.Value | None:
    """The JSON form of a Move value; None where its type is not published here."""
    reader = Reader(contents)
    try:
        return json_value(types.walk(parsed(type_tag), reader))
    except (BcsError, UnknownTypeError):
        return None


def owner_message(owner: Owner) -> v2.Owner:
    return v2.Owner(
        kind=_OWNER_KINDS[owner.kind],
        address=hex_address(owner.address) if owner.address else None,
        version=owner.initial_version if owner.kind is OwnerKind.SHARED else None,
    )


def object_message(types: Datatypes, stored: StoredObject, mask: Tree) -> v2.Object:
    """An object, with what ``mask`` wants of the expensive fields."""
    message = v2.Object(
        object_id=hex_address(stored.id),
        version=stored.version,
        digest=base58(stored.digest),
        owner=owner_message(stored.owner),
        object_type=stored.type_tag,
        previous_transaction=base58(stored.previous_transaction),
        storage_rebate=stored.storage_rebate,
    )
    if wants(mask, "bcs"):
        message.bcs = bcs_message("Object", encode_object(stored))
    if stored.package is not None:
        if wants(mask, "package"):
            message.package = package_message(types, stored.package, subtree(mask, "package"))
        return message
    message.has_public_transfer = stored.public_transfer
    message.contents = bcs_message(stored.type_tag, stored.contents)
    if coin_type(stored.type_tag) is not None:
        message.balance = coin_balance(stored.contents)
    if wants(mask, "json"):
        message.json = render_json(types, stored.type_tag, stored.contents)
    return message


def gas_message(gas: GasSummary) -> v2.GasCostSummary:
    return v2.GasCostSummary(
        computation_cost=gas.computation_cost,
        storage_cost=gas.storage_cost,
        storage_rebate=gas.storage_rebate,
        non_refundable_storage_fee=gas.non_refundable_storage_fee,
    )


def _changed_message(changed: ChangedObject) -> v2.ChangedObject:
    before, after = changed.before, changed.after
    states = v2.ChangedObjectInputObjectState
    message = v2.ChangedObject(
        object_id=hex_address(changed.id),
        input_state=states.DOES_NOT_EXIST if before is None else states.EXISTS,
        output_state=_OUTPUTS[changed.output],
        id_operation=_ID_OPERATIONS[changed.id_operation],
        object_type=changed.type_tag,
    )
    if before is not None:
        message.input_version = before.version
        message.input_digest = base58(before.digest)
        message.input_owner = owner_message(before.owner)
    if after is not None:
        message.output_version = after.version
        message.output_digest = base58(after.digest)
        message.output_owner = owner_message(after.owner)
    return message


def _balance_write_message(write: BalanceWrite) -> v2.ChangedObject:
    operations = v2.AccumulatorWriteAccumulatorOperation
    return v2.ChangedObject(
        object_id=hex_address(write.id),
        input_state=v2.ChangedObjectInputObjectState.DOES_NOT_EXIST,
        output_state=v2.ChangedObjectOutputObjectState.ACCUMULATOR_WRITE,
        id_operation=v2.ChangedObjectIdOperation.NONE,
        accumulator_write=v2.AccumulatorWrite(
            address=hex_address(write.address),
            accumulator_type=balance_of(write.currency),
            operation=operations.MERGE if write.change >= 0 else operations.SPLIT,
            value_kind=v2.AccumulatorWriteAccumulatorValue.INTEGER,
            integer_value=abs(write.change),
        ),
    )


def failure_message(failure: Failure) -> v2.ExecutionError:
    message = v2.ExecutionError(
        description=failure.message,
        command=failure.command,
        kind=v2.ExecutionErrorExecutionErrorKind[failure.kind],
    )
    match failure.detail:
        case AbortDetail(package, module, function, code):
            location = v2.MoveLocation(package=hex_address(package), module=module, function_name=function)
            message.abort = v2.MoveAbort(abort_code=code, location=location)
        case ArgumentDetail(argument, kind, index, subresult):
            message.command_argument_error = v2.CommandArgumentError(
                argument=argument,
                kind=v2.CommandArgumentErrorCommandArgumentErrorKind[kind],
                index_error=None if index is None else v2.IndexError(index=index, subresult=subresult),
            )
        case SizeDetail(size, maximum):
            message.size_error = v2.SizeError(size=size, max_size=maximum)
        case UpgradeDetail(kind, package, ticket, digest, policy):
            message.package_upgrade_error = v2.PackageUpgradeError(
                kind=v2.PackageUpgradeErrorPackageUpgradeErrorKind[kind],
                package_id=hex_address(package) if package else None,
                ticket_id=hex_address(ticket) if ticket else None,
                digest=base58(digest) if digest else None,
                policy=policy if kind == "UNKNOWN_UPGRADE_POLICY" else None,
            )
        case CongestedDetail(objects):
            message.congested_objects = v2.CongestedObjects(objects=[hex_address(one) for one in objects])
    return message


def effects_message(effects: Effects, digest: bytes, mask: Tree) -> v2.TransactionEffects:
    changed = [_changed_message(c) for c in effects.changed]
    message = v2.TransactionEffects(
        digest=base58(digest),
        version=2,
        status=v2.ExecutionStatus(
            success=effects.success,
            error=None if effects.failure is None else failure_message(effects.failure),
        ),
        epoch=effects.epoch,
        gas_used=gas_message(effects.gas),
        transaction_digest=base58(effects.transaction_digest),
        gas_object=next(
            (m for c, m in zip(effects.changed, changed, strict=True) if c.id == effects.gas_object), None
        ),
        events_digest=None if effects.events_digest is None else base58(effects.events_digest),
        dependencies=[base58(digest) for digest in effects.dependencies],
        lamport_version=effects.lamport_version,
        changed_objects=changed + [_balance_write_message(write) for write in effects.balances],
        unchanged_consensus_objects=[
            v2.UnchangedConsensusObject(
                kind=v2.UnchangedConsensusObjectUnchangedConsensusObjectKind.READ_ONLY_ROOT,
                object_id=hex_address(read.id),
                version=read.version,
                digest=base58(read.digest),
                object_type=read.type_tag,
            )
            for read in effects.read
        ],
    )
    if wants(mask, "bcs"):
        message.bcs = bcs_message("TransactionEffects", effects.encode())
    return message


def event_message(types: Datatypes, event: Event, mask: Tree) -> v2.Event:
    message = v2.Event(
        package_id=hex_address(event.package),
        module=event.module,
        sender=hex_address(event.sender),
        event_type=event.type_tag,
        contents=bcs_message(event.type_tag, event.contents),
    )
    if wants(mask, "json"):
        message.json = render_json(types, event.type_tag, event.contents)
    return message


def indexed_event_message(types: Datatypes, indexed: IndexedEvent, mask: Tree) -> v2.Event:
    """An event delivered on its own, with its position."""
    message = event_message(types, indexed.event, mask)
    message.checkpoint = indexed.transaction.checkpoint
    message.transaction_digest = base58(indexed.transaction.digest)
    message.transaction_index = indexed.transaction.index
    message.event_index = indexed.index
    return message


def events_message(
    types: Datatypes, transaction: ExecutedTransaction, mask: Tree
) -> v2.TransactionEvents | None:
    """The events inside their transaction: there they carry no position but their index."""
    if not transaction.events:
        return None
    inner = subtree(mask, "events")
    events = []
    for index, event in enumerate(transaction.events):
        message = event_message(types, event, inner)
        message.transaction_digest, message.event_index = base58(transaction.digest), index
        events.append(message)
    digest = transaction.effects.events_digest
    return v2.TransactionEvents(
        bcs=bcs_message("TransactionEvents", encode_events(transaction.events))
        if wants(mask, "bcs")
        else None,
        digest=None if digest is None else base58(digest),
        events=events,
    )


def checkpoint_message(checkpoint: Checkpoint, mask: Tree) -> v2.Checkpoint:
    """A checkpoint without its transactions, which the caller adds; without a committee, no signature."""
    message = v2.Checkpoint(sequence_number=checkpoint.sequence, digest=base58(checkpoint.digest))
    if wants(mask, "summary"):
        message.summary = v2.CheckpointSummary(
            bcs=bcs_message("CheckpointSummary", checkpoint.summary),
            digest=base58(checkpoint.digest),
            epoch=checkpoint.epoch,
            sequence_number=checkpoint.sequence,
            total_network_transactions=checkpoint.network_transactions,
            content_digest=base58(checkpoint.content_digest),
            previous_digest=None if checkpoint.previous is None else base58(checkpoint.previous),
            epoch_rolling_gas_cost_summary=gas_message(checkpoint.rolling_gas),
            timestamp=timestamp(checkpoint.timestamp_ms),
        )
    if wants(mask, "contents"):
        message.contents = v2.CheckpointContents(
            bcs=bcs_message("CheckpointContents", checkpoint.contents),
            digest=base58(checkpoint.content_digest),
            version=1,
            transactions=[
                v2.CheckpointedTransactionInfo(transaction=base58(t.digest), effects=base58(t.effects_digest))
                for t in checkpoint.transactions
            ],
        )
    return message
