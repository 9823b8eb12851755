"""The contract's events that the product acts on: exact type match, strict decoding.

An event counts only if its type tag names the *original* package id, module `events` and exactly the struct's
name. Anybody can emit a struct of the same name from a package of his own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from k3s_daas.bcs import Reader
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.sui.ledger import ChainEvent
from k3s_daas.sui.type_tags import StructTag, parse_struct_tag

EVENTS_MODULE = "events"
API_REQUEST = "K8sAPIRequest"
REQUEST_PROCESSED = "K8sRequestProcessed"
RESPONSE_IGNORED = "ResponseIgnored"
REQUEST_TIMED_OUT = "RequestTimedOut"
REQUESTS_RECLAIMED = "RequestsReclaimed"
CLUSTER_CREATED = "ClusterCreated"
SEAL_STAKED = "SealStaked"


class _Decoded(ABC):
    __slots__ = ()

    @classmethod
    def decode(cls, contents: bytes) -> Self:
        """Reads the event's BCS. Raises `WireFormatError` for missing, extra or malformed bytes."""
        reader = Reader(contents)
        event = cls._read(reader)
        reader.finish()
        return event

    @classmethod
    @abstractmethod
    def _read(cls, reader: Reader) -> Self:
        """The fields in the order of the Move struct."""


@dataclass(frozen=True, slots=True)
class ApiRequested(_Decoded):
    """`K8sAPIRequest`: the contract accepted a command. Ids and addresses 32 bytes, times Unix ms.

    An empty `payload_reference` means that the ciphertext is an input of the transaction.
    """

    cluster: bytes
    seal: bytes
    request_id: bytes
    requester: bytes
    role: str
    priority: int
    gateway: bytes
    executor: bytes
    session_key: bytes
    attributes: OnChainAttributes
    payload_hash: bytes
    payload_size: int
    payload_reference: bytes
    accepted_at_ms: int
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int

    @classmethod
    def _read(cls, reader: Reader) -> ApiRequested:
        return cls(
            cluster=reader.address(),
            seal=reader.address(),
            request_id=reader.byte_vector(),
            requester=reader.address(),
            role=reader.string(),
            priority=reader.u8(),
            gateway=reader.address(),
            executor=reader.address(),
            session_key=reader.byte_vector(),
            attributes=OnChainAttributes.read(reader),
            payload_hash=reader.byte_vector(),
            payload_size=reader.u64(),
            payload_reference=reader.byte_vector(),
            accepted_at_ms=reader.u64(),
            start_by_ms=reader.u64(),
            finish_by_ms=reader.u64(),
            answer_by_ms=reader.u64(),
        )


@dataclass(frozen=True, slots=True)
class RequestProcessed(_Decoded):
    """`K8sRequestProcessed`: the executor's answer is stored."""

    cluster: bytes
    seal: bytes
    request_id: bytes
    requester: bytes
    role: str
    executor: bytes
    attributes: OnChainAttributes
    status_code: int
    request_hash: bytes
    response_hash: bytes
    response_size: int
    accepted_at_ms: int
    answered_at_ms: int

    @classmethod
    def _read(cls, reader: Reader) -> RequestProcessed:
        return cls(
            cluster=reader.address(),
            seal=reader.address(),
            request_id=reader.byte_vector(),
            requester=reader.address(),
            role=reader.string(),
            executor=reader.address(),
            attributes=OnChainAttributes.read(reader),
            status_code=reader.u16(),
            request_hash=reader.byte_vector(),
            response_hash=reader.byte_vector(),
            response_size=reader.u64(),
            accepted_at_ms=reader.u64(),
            answered_at_ms=reader.u64(),
        )


@dataclass(frozen=True, slots=True)
class ResponseIgnored(_Decoded):
    """`ResponseIgnored`: an answer came for a request that is 0 unknown, 1 already answered, 2 closed by
    time."""

    cluster: bytes
    seal: bytes
    request_id: bytes
    executor: bytes
    reason: int

    @classmethod
    def _read(cls, reader: Reader) -> ResponseIgnored:
        return cls(
            cluster=reader.address(),
            seal=reader.address(),
            request_id=reader.byte_vector(),
            executor=reader.address(),
            reason=reader.u8(),
        )


@dataclass(frozen=True, slots=True)
class RequestTimedOut(_Decoded):
    """`RequestTimedOut`: nobody answered until `answer_by_ms`, and the request was deleted."""

    cluster: bytes
    seal: bytes
    request_id: bytes
    requester: bytes
    executor: bytes
    answer_by_ms: int
    closed_at_ms: int

    @classmethod
    def _read(cls, reader: Reader) -> RequestTimedOut:
        return cls(
            cluster=reader.address(),
            seal=reader.address(),
            request_id=reader.byte_vector(),
            requester=reader.address(),
            executor=reader.address(),
            answer_by_ms=reader.u64(),
            closed_at_ms=reader.u64(),
        )


@dataclass(frozen=True, slots=True)
class RequestsReclaimed(_Decoded):
    """`RequestsReclaimed`: how many of the requests named were deleted (`timed_out` of them unanswered)."""

    cluster: bytes
    seal: bytes
    by: bytes
    reclaimed: int
    timed_out: int
    skipped: int

    @classmethod
    def _read(cls, reader: Reader) -> RequestsReclaimed:
        return cls(
            cluster=reader.address(),
            seal=reader.address(),
            by=reader.address(),
            reclaimed=reader.u64(),
            timed_out=reader.u64(),
            skipped=reader.u64(),
        )


ContractEvent = ApiRequested | RequestProcessed | ResponseIgnored | RequestTimedOut | RequestsReclaimed

_DECODERS: dict[str, Callable[[bytes], ContractEvent]] = {
    API_REQUEST: ApiRequested.decode,
    REQUEST_PROCESSED: RequestProcessed.decode,
    RESPONSE_IGNORED: ResponseIgnored.decode,
    REQUEST_TIMED_OUT: RequestTimedOut.decode,
    REQUESTS_RECLAIMED: RequestsReclaimed.decode,
}


def event_type(package_original: bytes, name: str) -> str:
    """The type tag of one of the contract's events, as an `EventFilter` wants it."""
    return str(StructTag(package_original, EVENTS_MODULE, name))


def first_ids(contents: bytes, count: int) -> list[bytes]:
    """The ids that an event's BCS begins with, for callers that need no more of it.

    Raises `WireFormatError`.
    """
    reader = Reader(contents)
    return [reader.address() for _ in range(count)]


def is_event(event: ChainEvent, package_original: bytes, name: str) -> bool:
    """Whether the event has exactly this type."""
    try:
        return parse_struct_tag(event.type_tag) == StructTag(package_original, EVENTS_MODULE, name)
    except ValueError:
        return False


def decode_event(event: ChainEvent, package_original: bytes) -> ContractEvent | None:
    """The contract's event in it, or None if it is none of these. Raises `WireFormatError`."""
    for name, decode in _DECODERS.items():
        if is_event(event, package_original, name):
            return decode(event.contents)
    return None
