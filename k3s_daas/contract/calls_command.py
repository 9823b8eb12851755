"""Calls about commands (module `k8s_gateway`): submitting them, answering them, reclaiming their storage.

`package` is the latest package id. A payload is ciphertext in chunks (`k3s_daas.payload.split`), or a
reference to ciphertext that is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from k3s_daas.bearer import BearerToken
from k3s_daas.contract import arguments
from k3s_daas.contract.addresses import GATEWAY_MODULE
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.deadlines import Deadlines
from k3s_daas.sui.transactions import Argument, PtbBuilder

EXECUTE_FUNCTION = "execute_kubectl_command_with_id"
EXECUTE_BY_REFERENCE_FUNCTION = "execute_kubectl_command_by_reference"
STORE_FUNCTION = "store_k8s_response"
STORE_BY_REFERENCE_FUNCTION = "store_k8s_response_by_reference"
RECLAIM_FUNCTION = "reclaim"
# Position of the arguments that readers take out of a transaction again.
EXECUTE_SEAL, EXECUTE_REQUEST_ID, EXECUTE_PAYLOAD = 1, 2, 20
STORE_SEAL, STORE_REQUEST_ID, STORE_STATUS, STORE_RESPONSE = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class PayloadReference:
    """Ciphertext that is kept elsewhere: where (1 to 128 bytes), its hash (32), its size in bytes."""

    reference: bytes
    hash: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Command:
    """One kubectl command for the chain: what the session key claimed, what is asked, and until when.

    `request_id` 16 bytes; `session_key` 32, `secret_hash` 32, `claims_signature` 64; times in Unix ms;
    `payload` is the sealed request.
    """

    request_id: bytes
    session_key: bytes
    secret_hash: bytes
    not_before_ms: int
    token_expires_at_ms: int
    claims_signature: bytes
    attributes: OnChainAttributes
    executor: bytes
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int
    payload: Sequence[bytes] | PayloadReference

    @classmethod
    def of(
        cls,
        token: BearerToken,
        deadlines: Deadlines,
        *,
        request_id: bytes,
        attributes: OnChainAttributes,
        executor: bytes,
        payload: Sequence[bytes] | PayloadReference,
    ) -> Command:
        """With the claims of a token, whose secret stays out of it, and the times of a request."""
        claims = token.claims
        return cls(
            request_id=request_id,
            session_key=token.session_key,
            secret_hash=claims.secret_hash,
            not_before_ms=claims.not_before_ms,
            token_expires_at_ms=claims.expires_at_ms,
            claims_signature=token.signature,
            attributes=attributes,
            executor=executor,
            start_by_ms=deadlines.start_by_ms,
            finish_by_ms=deadlines.finish_by_ms,
            answer_by_ms=deadlines.answer_by_ms,
            payload=payload,
        )


@dataclass(frozen=True, slots=True)
class Response:
    """One answer for the chain: HTTP status, and the sealed response."""

    request_id: bytes
    status_code: int
    payload: Sequence[bytes] | PayloadReference


def execute_command(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, seal: SharedRef, command: Command
) -> None:
    """Submits a command. The sender of the transaction must be the gateway that the claims name."""
    payload = _payload(builder, command.payload)
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vector(builder, command.request_id),
        arguments.byte_vector(builder, command.session_key),
        arguments.byte_vector(builder, command.secret_hash),
        arguments.u64(builder, command.not_before_ms),
        arguments.u64(builder, command.token_expires_at_ms),
        arguments.byte_vector(builder, command.claims_signature),
        *(arguments.string(builder, value) for value in command.attributes.values()),
        arguments.address(builder, command.executor),
        arguments.u64(builder, command.start_by_ms),
        arguments.u64(builder, command.finish_by_ms),
        arguments.u64(builder, command.answer_by_ms),
        *payload,
        arguments.clock(builder),
    ]
    by_reference = isinstance(command.payload, PayloadReference)
    function = EXECUTE_BY_REFERENCE_FUNCTION if by_reference else EXECUTE_FUNCTION
    builder.move_call(package, GATEWAY_MODULE, function, call_arguments)


def store_response(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, seal: SharedRef, response: Response
) -> None:
    """Stores an answer; may be added several times to one transaction. The sender must be the executor."""
    payload = _payload(builder, response.payload)
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vector(builder, response.request_id),
        arguments.u16(builder, response.status_code),
        *payload,
        arguments.clock(builder),
    ]
    by_reference = isinstance(response.payload, PayloadReference)
    function = STORE_BY_REFERENCE_FUNCTION if by_reference else STORE_FUNCTION
    builder.move_call(package, GATEWAY_MODULE, function, call_arguments)


def reclaim(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    seal: SharedRef,
    request_ids: Sequence[bytes],
) -> None:
    """Deletes those of the seal's requests (at most 64) that are due, and skips the others.

    For registered gateways and executors; for everybody once 30 days have passed.
    """
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vectors(builder, request_ids),
        arguments.clock(builder),
    ]
    builder.move_call(package, GATEWAY_MODULE, RECLAIM_FUNCTION, call_arguments)


def _payload(builder: PtbBuilder, payload: Sequence[bytes] | PayloadReference) -> list[Argument]:
    """Where the payload stands among the arguments: one vector of chunks, or reference, hash and size."""
    if not isinstance(payload, PayloadReference):
        return [arguments.chunks(builder, payload)]
    return [
        arguments.byte_vector(builder, payload.reference),
        arguments.byte_vector(builder, payload.hash),
        arguments.u64(builder, payload.size),
    ]
