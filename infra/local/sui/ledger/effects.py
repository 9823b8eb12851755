"""Effects of a transaction, and their BCS (``TransactionEffectsV2``), whose hash is the effects' digest.

Two details of a failure that a validator knows are not known here and stand as 0: the index of the aborting
function and the offset of the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..uleb import encode_uleb
from . import bcs
from .digests import hash_named
from .errors import AbortDetail, ArgumentDetail, CongestedDetail, FailureDetail, SizeDetail, UpgradeDetail
from .gas import GasSummary
from .objects import Owner
from .type_tags import SUI_FRAMEWORK, encode_type, parsed
from .workspace import Event

FAILURE_KINDS = (
    "INSUFFICIENT_GAS", "INVALID_GAS_OBJECT", "INVARIANT_VIOLATION", "FEATURE_NOT_YET_SUPPORTED",
    "OBJECT_TOO_BIG", "PACKAGE_TOO_BIG", "CIRCULAR_OBJECT_OWNERSHIP", "INSUFFICIENT_COIN_BALANCE",
    "COIN_BALANCE_OVERFLOW", "PUBLISH_ERROR_NON_ZERO_ADDRESS", "SUI_MOVE_VERIFICATION_ERROR",
    "MOVE_PRIMITIVE_RUNTIME_ERROR", "MOVE_ABORT", "VM_VERIFICATION_OR_DESERIALIZATION_ERROR",
    "VM_INVARIANT_VIOLATION", "FUNCTION_NOT_FOUND", "ARITY_MISMATCH", "TYPE_ARITY_MISMATCH",
    "NON_ENTRY_FUNCTION_INVOKED", "COMMAND_ARGUMENT_ERROR", "TYPE_ARGUMENT_ERROR",
    "UNUSED_VALUE_WITHOUT_DROP", "INVALID_PUBLIC_FUNCTION_RETURN_TYPE", "INVALID_TRANSFER_OBJECT",
    "EFFECTS_TOO_LARGE", "PUBLISH_UPGRADE_MISSING_DEPENDENCY", "PUBLISH_UPGRADE_DEPENDENCY_DOWNGRADE",
    "PACKAGE_UPGRADE_ERROR", "WRITTEN_OBJECTS_TOO_LARGE", "CERTIFICATE_DENIED",
    "SUI_MOVE_VERIFICATION_TIMEDOUT",
    "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED", "INPUT_OBJECT_DELETED",
    "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION",
)  # fmt: skip
"""Sui's ``ExecutionFailureStatus`` in the order of its BCS."""
ARGUMENT_KINDS = (
    "TYPE_MISMATCH", "INVALID_BCS_BYTES", "INVALID_USAGE_OF_PURE_ARGUMENT",
    "INVALID_ARGUMENT_TO_PRIVATE_ENTRY_FUNCTION", "INDEX_OUT_OF_BOUNDS", "SECONDARY_INDEX_OUT_OF_BOUNDS",
    "INVALID_RESULT_ARITY", "INVALID_GAS_COIN_USAGE", "INVALID_VALUE_USAGE", "INVALID_OBJECT_BY_VALUE",
    "INVALID_OBJECT_BY_MUT_REF", "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED", "INVALID_ARGUMENT_ARITY",
    "INVALID_TRANSFER_OBJECT", "INVALID_MAKE_MOVE_VEC_NON_OBJECT_ARGUMENT", "ARGUMENT_WITHOUT_VALUE",
)  # fmt: skip
UPGRADE_KINDS = (
    "UNABLE_TO_FETCH_PACKAGE", "NOT_A_PACKAGE", "INCOMPATIBLE_UPGRADE", "DIGEST_DOES_NOT_MATCH",
    "UNKNOWN_UPGRADE_POLICY", "PACKAGE_ID_DOES_NOT_MATCH",
)  # fmt: skip
_VERSION_2 = b"\1"
_INDEXED = {"INDEX_OUT_OF_BOUNDS", "SECONDARY_INDEX_OUT_OF_BOUNDS", "INVALID_RESULT_ARITY"}


class IdOperation(Enum):
    NONE = 0
    CREATED = 1
    DELETED = 2


class Output(Enum):
    """What an object is after the transaction."""

    DOES_NOT_EXIST = 0
    OBJECT_WRITE = 1
    PACKAGE_WRITE = 2
    ACCUMULATOR_WRITE = 3


@dataclass(frozen=True, slots=True)
class ObjectState:
    version: int
    digest: bytes
    owner: Owner


@dataclass(frozen=True, slots=True)
class ChangedObject:
    id: bytes
    before: ObjectState | None
    output: Output
    after: ObjectState | None
    id_operation: IdOperation
    type_tag: str


@dataclass(frozen=True, slots=True)
class BalanceWrite:
    """A change of an address balance; ``id`` stands for Sui's accumulator object."""

    id: bytes
    address: bytes
    currency: str
    change: int


@dataclass(frozen=True, slots=True)
class ReadObject:
    """A shared object that was read only."""

    id: bytes
    version: int
    digest: bytes
    type_tag: str


@dataclass(frozen=True, slots=True)
class Failure:
    kind: str
    message: str
    command: int | None
    detail: FailureDetail | None


@dataclass(frozen=True, slots=True)
class Effects:
    """``failure`` is None on success. ``gas_object`` is the id of the gas coin, if one paid."""

    failure: Failure | None
    epoch: int
    gas: GasSummary
    transaction_digest: bytes
    gas_object: bytes | None
    events_digest: bytes | None
    dependencies: tuple[bytes, ...]
    lamport_version: int
    changed: tuple[ChangedObject, ...]
    balances: tuple[BalanceWrite, ...]
    read: tuple[ReadObject, ...]

    @property
    def success(self) -> bool:
        return self.failure is None

    def encode(self) -> bytes:
        """BCS ``TransactionEffects``."""
        changed = sorted(
            [(c.id, _encode_changed(c)) for c in self.changed]
            + [(b.id, _encode_balance(b)) for b in self.balances]
        )
        gas_index = next((i for i, (key, _) in enumerate(changed) if key == self.gas_object), None)
        gas = (
            self.gas.computation_cost,
            self.gas.storage_cost,
            self.gas.storage_rebate,
            self.gas.non_refundable_storage_fee,
        )
        return b"".join(
            (
                _VERSION_2,
                b"\0" if self.failure is None else b"\1" + _encode_failure(self.failure),
                bcs.u64(self.epoch),
                *map(bcs.u64, gas),
                bcs.blob(self.transaction_digest),
                bcs.option(None if gas_index is None else bcs.u32(gas_index)),
                bcs.option(None if self.events_digest is None else bcs.blob(self.events_digest)),
                bcs.vector(map(bcs.blob, self.dependencies)),
                bcs.u64(self.lamport_version),
                bcs.vector(key + encoded for key, encoded in changed),
                bcs.vector(
                    r.id + b"\0" + bcs.u64(r.version) + bcs.blob(r.digest)
                    for r in sorted(self.read, key=lambda r: r.id)
                ),
                bcs.option(None),
            )
        )


def effects_digest(effects: Effects) -> bytes:
    return hash_named("TransactionEffects", effects.encode())


def encode_event(event: Event) -> bytes:
    """BCS ``Event``: the type is a ``StructTag``, without the tag byte of a ``TypeTag``."""
    return (
        event.package
        + bcs.text(event.module)
        + event.sender
        + encode_type(parsed(event.type_tag))[1:]
        + bcs.blob(event.contents)
    )


def encode_events(events: tuple[Event, ...]) -> bytes:
    """BCS ``TransactionEvents``."""
    return bcs.vector(map(encode_event, events))


def events_digest(events: tuple[Event, ...]) -> bytes | None:
    return hash_named("TransactionEvents", encode_events(events)) if events else None


def _encode_changed(changed: ChangedObject) -> bytes:
    before, after = changed.before, changed.after
    encoded = b"\0"
    if before is not None:
        encoded = b"\1" + bcs.u64(before.version) + bcs.blob(before.digest) + before.owner.encode()
    encoded += bytes([changed.output.value])
    if changed.output is Output.OBJECT_WRITE and after is not None:
        encoded += bcs.blob(after.digest) + after.owner.encode()
    elif changed.output is Output.PACKAGE_WRITE and after is not None:
        encoded += bcs.u64(after.version) + bcs.blob(after.digest)
    return encoded + bytes([changed.id_operation.value])


def _encode_balance(write: BalanceWrite) -> bytes:
    operation = b"\0" if write.change >= 0 else b"\1"
    balance = SUI_FRAMEWORK + bcs.text("balance") + bcs.text("Balance")
    type_tag = b"\x07" + balance + bcs.vector([encode_type(parsed(write.currency))])
    value = b"\0" + bcs.u64(abs(write.change))
    accumulator = write.address + type_tag + operation + value
    return b"\0" + bytes([Output.ACCUMULATOR_WRITE.value]) + accumulator + bytes([IdOperation.NONE.value])


def _encode_failure(failure: Failure) -> bytes:
    encoded = encode_uleb(FAILURE_KINDS.index(failure.kind))
    match failure.detail:
        case AbortDetail(package, module, function, code):
            name = bcs.option(None if function is None else bcs.text(function))
            encoded += package + bcs.text(module) + bcs.u16(0) + bcs.u16(0) + name + bcs.u64(code)
        case ArgumentDetail(argument, kind, index, subresult):
            encoded += bcs.u16(argument) + encode_uleb(ARGUMENT_KINDS.index(kind))
            if kind in _INDEXED:
                encoded += bcs.u16(index or 0)
            if kind == "SECONDARY_INDEX_OUT_OF_BOUNDS":
                encoded += bcs.u16(subresult or 0)
        case SizeDetail(size, maximum):
            encoded += bcs.u64(size) + bcs.u64(maximum)
        case UpgradeDetail():
            encoded += _encode_upgrade(failure.detail)
        case CongestedDetail(objects):
            encoded += bcs.vector(objects)
    return encoded + bcs.option(None if failure.command is None else bcs.u64(failure.command))


def _encode_upgrade(detail: UpgradeDetail) -> bytes:
    """BCS ``PackageUpgradeError``."""
    encoded = encode_uleb(UPGRADE_KINDS.index(detail.kind)) + detail.package + detail.ticket
    match detail.kind:
        case "DIGEST_DOES_NOT_MATCH":
            return encoded + bcs.blob(detail.digest)
        case "UNKNOWN_UPGRADE_POLICY":
            return encoded + bytes([detail.policy])
    return encoded
