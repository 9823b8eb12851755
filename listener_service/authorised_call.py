"""What the gateway signed: the arguments of `execute_kubectl_command_with_id`, read from the transaction's
bytes.

The endpoint that delivers events is not believed. What the gateway asked the contract for stands in the
bytes that it signed, and an event counts only where it says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from k3s_daas.bcs import Reader
from k3s_daas.errors import WireFormatError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.transactions import DecodedTransaction, MoveCall

T = TypeVar("T")

_MODULE = "k8s_gateway"
_FUNCTION = "execute_kubectl_command_with_id"
# cluster, seal, request id … payload, clock; the transaction context is not an argument.
_ARGUMENTS = 22


@dataclass(frozen=True, slots=True)
class AuthorisedCall:
    """The arguments, in the order of the Move signature. Times in Unix ms."""

    cluster: bytes
    seal: bytes
    request_id: bytes
    session_key: bytes
    secret_hash: bytes
    not_before_ms: int
    token_expires_at_ms: int
    claims_signature: bytes
    verb: str
    api_group: str
    api_version: str
    resource: str
    subresource: str
    namespace: str
    name: str
    non_resource_url: str
    executor: bytes
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int
    payload: tuple[bytes, ...]


def find_call(
    transaction: DecodedTransaction, roots: TrustRoots, seal: bytes, request_id: bytes
) -> AuthorisedCall:
    """The one call in the transaction that makes this request. Raises `WireFormatError` for none or
    several.
    """
    packages = (roots.package_original, roots.package_latest)
    calls = [
        _read(transaction, call)
        for call in transaction.move_calls
        if call.package in packages and call.module == _MODULE and call.function == _FUNCTION
    ]
    matching = [call for call in calls if call.seal == seal and call.request_id == request_id]
    if len(matching) != 1:
        raise WireFormatError(f"the transaction makes this request {len(matching)} times, not once")
    return matching[0]


def _read(transaction: DecodedTransaction, call: MoveCall) -> AuthorisedCall:
    arguments = call.arguments
    if len(arguments) != _ARGUMENTS or call.type_arguments:
        raise WireFormatError(f"{_FUNCTION} was called with {len(arguments)} arguments, not {_ARGUMENTS}")

    def pure(index: int, read: Callable[[Reader], T]) -> T:
        reader = Reader(transaction.resolve_pure(arguments[index]))
        value = read(reader)
        reader.finish()
        return value

    return AuthorisedCall(
        cluster=transaction.resolve_object(arguments[0]),
        seal=transaction.resolve_object(arguments[1]),
        request_id=pure(2, Reader.byte_vector),
        session_key=pure(3, Reader.byte_vector),
        secret_hash=pure(4, Reader.byte_vector),
        not_before_ms=pure(5, Reader.u64),
        token_expires_at_ms=pure(6, Reader.u64),
        claims_signature=pure(7, Reader.byte_vector),
        verb=pure(8, Reader.string),
        api_group=pure(9, Reader.string),
        api_version=pure(10, Reader.string),
        resource=pure(11, Reader.string),
        subresource=pure(12, Reader.string),
        namespace=pure(13, Reader.string),
        name=pure(14, Reader.string),
        non_resource_url=pure(15, Reader.string),
        executor=pure(16, Reader.address),
        start_by_ms=pure(17, Reader.u64),
        finish_by_ms=pure(18, Reader.u64),
        answer_by_ms=pure(19, Reader.u64),
        payload=tuple(transaction.resolve_chunks(arguments[20])),
    )
