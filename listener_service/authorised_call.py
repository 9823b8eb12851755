"""What the gateway signed: the command in the transaction's bytes.

The endpoint that delivers events is not believed. What the gateway asked the contract for stands in the bytes
that it signed, and an event counts only where it says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from k3s_daas.bcs import Reader
from k3s_daas.contract.addresses import GATEWAY_MODULE
from k3s_daas.contract.attributes import ATTRIBUTE_NAMES, OnChainAttributes
from k3s_daas.contract.calls import (
    EXECUTE_BY_REFERENCE_FUNCTION,
    EXECUTE_FUNCTION,
    EXECUTE_PAYLOAD,
    EXECUTE_SEAL,
    Command,
    PayloadReference,
)
from k3s_daas.contract.events import ApiRequested
from k3s_daas.errors import WireFormatError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import SignedTransaction
from k3s_daas.sui.signers import verify_signature
from k3s_daas.sui.transactions import DecodedTransaction, MoveCall, decode_transaction, transaction_digest

T = TypeVar("T")

# cluster, seal, request id … payload, clock; the transaction context is not an argument.
_ARGUMENTS = {
    EXECUTE_FUNCTION: EXECUTE_PAYLOAD + 2,
    # In the place of the payload: its reference, hash and size.
    EXECUTE_BY_REFERENCE_FUNCTION: EXECUTE_PAYLOAD + 4,
}
_CLUSTER = 0
_CLAIMS_SIGNATURE = 7
_EXECUTOR = _CLAIMS_SIGNATURE + 1 + len(ATTRIBUTE_NAMES)


def authorised_command(
    requested: ApiRequested, digest: str, transaction: SignedTransaction, roots: TrustRoots
) -> Command:
    """The command that the event claims was made, as the pinned gateway signed it.

    Raises `WireFormatError` if the bytes are not those of `digest`, are not signed by the gateway's pinned
    key, were not executed, do not make exactly this request, or say anything else than the event does.
    """
    if transaction_digest(transaction.bcs) != digest or transaction.digest != digest:
        raise WireFormatError("the transaction's bytes do not hash to the event's transaction digest")
    gateway_key = roots.gateways.get(requested.gateway)
    if gateway_key is None:
        raise WireFormatError("the event's gateway is not pinned")
    if len(transaction.signatures) != 1:
        raise WireFormatError(f"the transaction has {len(transaction.signatures)} signatures, not one")
    verify_signature(transaction.bcs, transaction.signatures[0], gateway_key)
    if not transaction.success:
        raise WireFormatError("the transaction was aborted, so it emitted no event")
    decoded = decode_transaction(transaction.bcs)
    if decoded.sender != requested.gateway:
        raise WireFormatError("the transaction's sender is not the event's gateway")
    command = _find(decoded, roots, requested)
    _compare(requested, command)
    return command


def _find(decoded: DecodedTransaction, roots: TrustRoots, requested: ApiRequested) -> Command:
    packages = (roots.package_original, roots.package_latest)
    found: list[Command] = []
    for call in decoded.move_calls:
        expected = _ARGUMENTS.get(call.function)
        if call.module != GATEWAY_MODULE or expected is None or call.package not in packages:
            continue
        if len(call.arguments) != expected or call.type_arguments:
            raise WireFormatError(f"{call.function} has {len(call.arguments)} arguments, not {expected}")
        cluster = decoded.resolve_object(call.arguments[_CLUSTER])
        seal = decoded.resolve_object(call.arguments[EXECUTE_SEAL])
        command = _read(decoded, call)
        if (cluster, seal, command.request_id) == (requested.cluster, requested.seal, requested.request_id):
            found.append(command)
    if len(found) != 1:
        raise WireFormatError(f"the transaction makes this request {len(found)} times, not once")
    return found[0]


def _read(decoded: DecodedTransaction, call: MoveCall) -> Command:
    """The arguments in the order of the Move signature (and of `calls.execute_command`)."""

    def pure(index: int, read: Callable[[Reader], T]) -> T:
        reader = Reader(decoded.resolve_pure(call.arguments[index]))
        value = read(reader)
        reader.finish()
        return value

    payload: tuple[bytes, ...] | PayloadReference
    if call.function == EXECUTE_BY_REFERENCE_FUNCTION:
        payload = PayloadReference(
            reference=pure(EXECUTE_PAYLOAD, Reader.byte_vector),
            hash=pure(EXECUTE_PAYLOAD + 1, Reader.byte_vector),
            size=pure(EXECUTE_PAYLOAD + 2, Reader.u64),
        )
    else:
        payload = tuple(decoded.resolve_chunks(call.arguments[EXECUTE_PAYLOAD]))
    return Command(
        request_id=pure(2, Reader.byte_vector),
        session_key=pure(3, Reader.byte_vector),
        secret_hash=pure(4, Reader.byte_vector),
        not_before_ms=pure(5, Reader.u64),
        token_expires_at_ms=pure(6, Reader.u64),
        claims_signature=pure(_CLAIMS_SIGNATURE, Reader.byte_vector),
        attributes=OnChainAttributes(
            *(pure(index, Reader.string) for index in range(_CLAIMS_SIGNATURE + 1, _EXECUTOR))
        ),
        executor=pure(_EXECUTOR, Reader.address),
        start_by_ms=pure(_EXECUTOR + 1, Reader.u64),
        finish_by_ms=pure(_EXECUTOR + 2, Reader.u64),
        answer_by_ms=pure(_EXECUTOR + 3, Reader.u64),
        payload=payload,
    )


def _compare(requested: ApiRequested, command: Command) -> None:
    """Every field that event and transaction share. A payload in chunks is compared by its hash, later."""
    for field in ("session_key", "attributes", "executor", "start_by_ms", "finish_by_ms", "answer_by_ms"):
        if getattr(requested, field) != getattr(command, field):
            raise WireFormatError(f"the event's {field} is not what the gateway signed")
    payload = command.payload
    if not isinstance(payload, PayloadReference):
        payload = PayloadReference(b"", requested.payload_hash, requested.payload_size)
    claimed = PayloadReference(requested.payload_reference, requested.payload_hash, requested.payload_size)
    if claimed != payload:
        raise WireFormatError("the event's payload_reference is not what the gateway signed")
