"""Sui's gRPC messages to the port's values, believing nothing: what is missing or contradictory is forged.

Messages: `pysui.sui.sui_grpc.suimsgs.sui.rpc.v2`. They are untyped here (`Any`), which is why they end here.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from k3s_daas.ids import ADDRESS_BYTES
from k3s_daas.sui.digests import digest_bytes, transaction_digest
from k3s_daas.sui.generated import FieldMask, v2
from k3s_daas.sui.ledger import (
    Abort,
    ChainEvent,
    ChainObject,
    ChainTransaction,
    CreatedObject,
    EventFilter,
    ExecutionOutcome,
    ForgedReplyError,
    Owner,
    OwnerKind,
    SignedTransaction,
)

T = TypeVar("T")

OBJECT_FIELDS = ("object_id", "version", "digest", "owner", "object_type", "contents", "previous_transaction")
EVENT_FIELDS = (
    "package_id",
    "module",
    "sender",
    "event_type",
    "contents",
    "checkpoint",
    "transaction_digest",
    "transaction_index",
    "event_index",
)
OUTCOME_FIELDS = (
    "digest",
    "effects.status",
    "effects.gas_used",
    "effects.transaction_digest",
    "effects.changed_objects",
    "checkpoint",
)
SIGNED_TRANSACTION_FIELDS = (
    "digest",
    "transaction.bcs",
    "signatures",
    "effects.status",
    "effects.transaction_digest",
)
TRANSACTION_FIELDS = (*OUTCOME_FIELDS, "transaction.bcs", "signatures", "events", "timestamp")

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DESCRIPTION_CHARS = 300
_MILLISECOND = datetime.timedelta(milliseconds=1)
_OWNER_KINDS: dict[Any, OwnerKind] = {
    v2.OwnerOwnerKind.ADDRESS: "address",
    v2.OwnerOwnerKind.OBJECT: "object",
    v2.OwnerOwnerKind.SHARED: "shared",
    v2.OwnerOwnerKind.IMMUTABLE: "immutable",
}
# A length-prefixed signature is longer by one byte, which then says how long the rest is.
_SIGNATURE_LENGTHS = (97, 98)


def field_mask(fields: Sequence[str], prefix: str = "") -> FieldMask:
    """A read mask of exactly these fields."""
    return FieldMask(paths=[prefix + field for field in fields])


def filter_message(event_filter: EventFilter) -> Any:
    """The filter in disjunctive normal form: one term per type."""
    literals = [v2.EventLiteral(event_type=v2.EventTypeFilter(event_type=tag)) for tag in event_filter.types]
    return v2.EventFilter(terms=[v2.EventTerm(literals=[literal]) for literal in literals])


def required(value: T | None, name: str) -> T:
    """The value, which the endpoint had to send."""
    if value is None:
        raise ForgedReplyError(f"the endpoint's reply lacks {name}, which was asked for")
    return value


def address(text: str | None, name: str) -> bytes:
    """The 32 bytes of an address; short forms are padded, as Sui does."""
    digits = required(text, name).removeprefix("0x")
    try:
        value = bytes.fromhex(digits.zfill(64))
    except ValueError:
        value = b""
    if len(value) != ADDRESS_BYTES:
        _not(name, digits)
    return value


def digest(text: str | None, name: str) -> str:
    """A base58 digest of 32 bytes."""
    value = required(text, name)
    try:
        digest_bytes(value)
    except ValueError:
        _not(name, value)
    return value


def milliseconds(moment: datetime.datetime) -> int:
    """Unix milliseconds, rounded down."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return (aware - _EPOCH) // _MILLISECOND


def chain_object(message: Any) -> ChainObject:
    """An `Object` read with `OBJECT_FIELDS`."""
    return ChainObject(
        id=address(message.object_id, "an object's id"),
        version=required(message.version, "an object's version"),
        digest=digest(message.digest, "an object's digest"),
        type_tag=required(message.object_type, "an object's type"),
        contents=bytes(message.contents.value or b"") if message.contents else b"",
        owner=_owner(message.owner),
        previous_transaction=digest(message.previous_transaction, "an object's previous transaction"),
    )


def _owner(message: Any) -> Owner:
    kind = required(message, "an object's owner").kind
    if kind not in _OWNER_KINDS:
        raise ForgedReplyError(f"the endpoint named an unknown kind of owner: {kind}")
    name = _OWNER_KINDS[kind]
    if name == "shared":
        version = required(message.version, "a shared object's initial version")
        return Owner(name, initial_shared_version=version)
    if name == "immutable":
        return Owner(name)
    return Owner(name, address=address(message.address, "an object's owner"))


def outcome(message: Any, expected_digest: str | None) -> ExecutionOutcome:
    """An `ExecutedTransaction` read with `OUTCOME_FIELDS`; it must be about `expected_digest`, if given."""
    effects = required(message.effects, "effects")
    status = required(effects.status, "the status")
    found = digest(message.digest or effects.transaction_digest, "the transaction's digest")
    claimed = {found, effects.transaction_digest or found, expected_digest or found}
    if len(claimed) > 1:
        raise ForgedReplyError(f"the endpoint answered about transaction {found}, not {expected_digest}")
    gas = effects.gas_used
    success = status.success is True
    return ExecutionOutcome(
        digest=found,
        success=success,
        abort=None if success else _abort(status.error),
        failure=None if success else _failure(status.error),
        failure_kind=None if success else _failure_kind(status.error),
        checkpoint=message.checkpoint,
        created=[
            CreatedObject(address(change.object_id, "a created object's id"), change.object_type or "")
            for change in effects.changed_objects
            if change.id_operation == v2.ChangedObjectIdOperation.CREATED
        ],
        gas_used=(gas.computation_cost or 0) + (gas.storage_cost or 0) - (gas.storage_rebate or 0)
        if gas
        else 0,
    )


def _abort(error: Any) -> Abort | None:
    if error is None or error.kind != v2.ExecutionErrorExecutionErrorKind.MOVE_ABORT:
        return None
    abort = required(error.abort, "the abort")
    location = required(abort.location, "the abort's location")
    return Abort(
        module=required(location.module, "the aborting module"),
        function=location.function_name or None,
        code=required(abort.abort_code, "the abort code"),
        command=error.command,
        package=address(location.package, "the aborting package") if location.package else None,
    )


def _failure_kind(error: Any) -> str:
    name = None if error is None or error.kind is None else error.kind.name
    return name or "UNKNOWN"


def _failure(error: Any) -> str:
    if error is None:
        return "the transaction failed; the endpoint did not say why"
    kind = _failure_kind(error)
    where = "" if error.command is None else f" in command {error.command}"
    # It reaches terminals, so an endpoint must not be able to put control characters there.
    description = "".join(letter if letter.isprintable() else " " for letter in error.description or "")
    return f"{kind}{where}: {description[:_DESCRIPTION_CHARS]}" if description else f"{kind}{where}"


def event(message: Any, *, transaction: str | None = None, index: int | None = None) -> ChainEvent:
    """An `Event` read with `EVENT_FIELDS`, or one inside its transaction: then digest and index are known."""
    found = message.transaction_digest or transaction
    if transaction is not None and found != transaction:
        raise ForgedReplyError(f"an event in transaction {transaction} claims to be of {found}")
    contents = required(message.contents, "an event's contents")
    return ChainEvent(
        package=address(message.package_id, "an event's package"),
        module=required(message.module, "an event's module"),
        type_tag=required(message.event_type, "an event's type"),
        sender=address(message.sender, "an event's sender"),
        contents=bytes(required(contents.value, "an event's contents")),
        transaction_digest=digest(found, "an event's transaction"),
        event_index=required(message.event_index if index is None else index, "an event's index"),
        checkpoint=message.checkpoint,
        transaction_index=message.transaction_index,
    )


def signed_transaction(message: Any, expected_digest: str) -> SignedTransaction:
    """An `ExecutedTransaction` read with `SIGNED_TRANSACTION_FIELDS` or more.

    Its bytes must hash to `expected_digest`.
    """
    signed = required(message.transaction, "the transaction")
    data = bytes(required(required(signed.bcs, "the transaction's bytes").value, "the transaction's bytes"))
    if transaction_digest(data) != expected_digest:
        raise ForgedReplyError(f"the endpoint sent bytes that do not hash to the digest {expected_digest}")
    effects = required(message.effects, "effects")
    if (effects.transaction_digest or expected_digest) != expected_digest:
        raise ForgedReplyError(f"the endpoint sent the effects of another transaction than {expected_digest}")
    return SignedTransaction(
        digest=expected_digest,
        bcs=data,
        signatures=[_signature(signature) for signature in message.signatures],
        success=required(effects.status, "the status").success is True,
    )


def transaction(message: Any, expected_digest: str) -> ChainTransaction:
    """An `ExecutedTransaction` read with `TRANSACTION_FIELDS`, whose bytes must hash to `expected_digest`."""
    signed = signed_transaction(message, expected_digest)
    events = message.events.events if message.events else []
    return ChainTransaction(
        digest=expected_digest,
        bcs=signed.bcs,
        signatures=signed.signatures,
        outcome=outcome(message, expected_digest),
        events=[event(item, transaction=expected_digest, index=index) for index, item in enumerate(events)],
        checkpoint=message.checkpoint,
        timestamp_ms=milliseconds(message.timestamp) if message.timestamp else None,
    )


def _signature(message: Any) -> bytes:
    """Flag ‖ signature ‖ key. Endpoints may put a BCS length in front."""
    value = bytes(required(required(message.bcs, "a signature").value, "a signature"))
    if len(value) - 1 in _SIGNATURE_LENGTHS and value[0] == len(value) - 1:
        return value[1:]
    return value


def _not(name: str, text: str) -> NoReturn:
    raise ForgedReplyError(f"the endpoint's reply has {text[:80]!r} for {name}")
