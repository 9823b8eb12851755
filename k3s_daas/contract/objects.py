"""The contract's objects, decoded from their BCS contents. Field order is the one of the Move structs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from k3s_daas.attributes import RequestAttributes
from k3s_daas.bcs import BcsError, Reader
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls_cluster import Policy
from k3s_daas.ids import request_id_time_ms
from k3s_daas.rbac import Role, Rule
from k3s_daas.sui.ledger import ChainObject

K = TypeVar("K")
V = TypeVar("V")

# From the time in a request id until the first moment at which the contract refuses the id as too old.
ID_WINDOW_MS = 60_001


@dataclass(frozen=True, slots=True)
class ExecutorState:
    """`cluster::Executor` with its address: the key it announced, and its signature over the announcement.

    Generation 0 means that it has announced none. Whether the key counts: `k3s_daas.contract.keys`.
    """

    address: bytes
    hpke_key: bytes
    generation: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class ClusterState:
    """`cluster::Cluster`. `executors` is by address; `grants` is the table's id.

    `capabilities` are the ids of the duty capabilities that were issued and not revoked.

    Gateways and executors are what the *chain* says; who may be trusted with bodies is pinned elsewhere.
    """

    ref: SharedRef
    version: int
    name: str
    listener_namespace: str
    policy: Policy
    roles: Mapping[str, Role]
    grants: bytes
    executors: Mapping[bytes, ExecutorState]
    gateways: frozenset[bytes]
    capabilities: frozenset[bytes]
    paused: bool

    @classmethod
    def decode(cls, found: ChainObject) -> ClusterState:
        """Reads a cluster object. Raises `WireFormatError` for any other contents."""
        reader = _begin(found)
        state = cls(
            ref=SharedRef.of(found),
            version=reader.u64(),
            name=reader.string(),
            listener_namespace=reader.string(),
            policy=Policy(*(reader.u64() for _ in fields(Policy))),
            roles=_roles(reader),
            grants=_table(reader),
            executors=_executors(reader),
            gateways=frozenset(reader.vector(Reader.address)),
            capabilities=frozenset(reader.vector(Reader.address)),
            paused=reader.boolean(),
        )
        reader.finish()
        return state


@dataclass(frozen=True, slots=True)
class SessionState:
    """`seal::Session`. No `namespaces` means no restriction to any."""

    expires_at_ms: int
    read_only: bool
    namespaces: tuple[str, ...]

    def reaches(self, attributes: RequestAttributes) -> bool:
        """Whether the session's namespaces admit the request; reads of non-resource URLs are always."""
        if not self.namespaces:
            return True
        if not attributes.is_resource_request:
            return attributes.is_read
        return attributes.namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class UsageState:
    """`seal::Usage`: commands in the minute `minute`, and MIST of storage deposits in the day `day`.

    Both are counted from the Unix epoch; the counts of an earlier minute or day are over.
    """

    minute: int
    commands: int
    day: int
    deposit: int


@dataclass(frozen=True, slots=True)
class SealState:
    """`seal::SealToken`. Amounts in MIST; `sessions` by ed25519 public key (32 bytes).

    `staked_total` is all that was staked and not withdrawn, `slashed` all that was taken of it. (In Move, the
    fields from `stake` to `slashed` are a struct of their own, which BCS does not show.)
    """

    ref: SharedRef
    cluster: bytes
    owner: bytes
    role: str
    stake: int
    unbonding: int
    withdrawable_at_ms: int
    unbonding_ms: int
    max_slash_bps: int
    staked_total: int
    slashed: int
    expires_at_ms: int
    revoked: bool
    sessions: Mapping[bytes, SessionState]
    usage: UsageState

    @classmethod
    def decode(cls, found: ChainObject) -> SealState:
        """Reads a seal object. Raises `WireFormatError` for any other contents."""
        reader = _begin(found)
        state = cls(
            ref=SharedRef.of(found),
            cluster=reader.address(),
            owner=reader.address(),
            role=reader.string(),
            stake=reader.u64(),
            unbonding=reader.u64(),
            withdrawable_at_ms=reader.u64(),
            unbonding_ms=reader.u64(),
            max_slash_bps=reader.u64(),
            staked_total=reader.u64(),
            slashed=reader.u64(),
            expires_at_ms=reader.u64(),
            revoked=reader.boolean(),
            sessions=_vec_map(reader, Reader.byte_vector, _session),
            usage=UsageState(*(reader.u64() for _ in fields(UsageState))),
        )
        reader.finish()
        return state


@dataclass(frozen=True, slots=True)
class ResponseState:
    """`k8s_gateway::Response`: hashes and sizes only; the ciphertext is in the transaction that stored it, or
    where `response_reference` says."""

    status_code: int
    response_hash: bytes
    response_size: int
    response_reference: bytes
    answered_at_ms: int


@dataclass(frozen=True, slots=True)
class RequestState:
    """`k8s_gateway::Request`, with its key and the transaction that changed it last.

    While `response` is None, `previous_transaction` is the one that submitted the command; then it is the one
    that answered.
    """

    request_id: bytes
    previous_transaction: str
    executor: bytes
    gateway: bytes
    requester: bytes
    role: str
    attributes: OnChainAttributes
    priority: int
    request_hash: bytes
    request_size: int
    accepted_at_ms: int
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int
    expires_at_ms: int
    response: ResponseState | None

    @property
    def due_at_ms(self) -> int:
        """When its payers may reclaim it, by the chain's clock (`k8s_gateway::due_at_ms`)."""
        due_at_ms = max(self.expires_at_ms, request_id_time_ms(self.request_id) + ID_WINDOW_MS)
        return due_at_ms if self.response is not None else max(due_at_ms, self.answer_by_ms + 1)

    @classmethod
    def decode(cls, found: ChainObject) -> RequestState:
        """Reads the dynamic field that holds a request. Raises `WireFormatError` for any other contents."""
        reader = _begin(found)
        state = cls(
            request_id=reader.byte_vector(),
            previous_transaction=found.previous_transaction,
            executor=reader.address(),
            gateway=reader.address(),
            requester=reader.address(),
            role=reader.string(),
            attributes=OnChainAttributes.read(reader),
            priority=reader.u8(),
            request_hash=reader.byte_vector(),
            request_size=reader.u64(),
            accepted_at_ms=reader.u64(),
            start_by_ms=reader.u64(),
            finish_by_ms=reader.u64(),
            answer_by_ms=reader.u64(),
            expires_at_ms=reader.u64(),
            response=reader.option(_response),
        )
        reader.finish()
        return state


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant: `holder` may stake for `role`, and use it, until `expires_at_ms`."""

    holder: bytes
    role: str
    expires_at_ms: int

    @classmethod
    def decode(cls, found: ChainObject) -> GrantState:
        """Reads the dynamic field that holds a grant. Raises `WireFormatError` for any other contents."""
        reader = _begin(found)
        state = cls(holder=reader.address(), role=reader.string(), expires_at_ms=reader.u64())
        reader.finish()
        return state


def _begin(found: ChainObject) -> Reader:
    """Every object begins with its own id."""
    reader = Reader(found.contents)
    if reader.address() != found.id:
        raise BcsError("the object's contents begin with another object's id")
    return reader


def _vec_map(reader: Reader, key: Callable[[Reader], K], value: Callable[[Reader], V]) -> dict[K, V]:
    """`VecMap`: a vector of entries; a key that comes twice is refused."""
    entries = reader.vector(lambda inner: (key(inner), value(inner)))
    result = dict(entries)
    if len(result) != len(entries):
        raise BcsError("a key comes twice in a map")
    return result


def _table(reader: Reader) -> bytes:
    """`Table`: its id and its size; the entries are dynamic fields of that id."""
    table = reader.address()
    reader.u64()
    return table


def _executors(reader: Reader) -> dict[bytes, ExecutorState]:
    entries = _vec_map(
        reader,
        Reader.address,
        lambda inner: (inner.byte_vector(), inner.u64(), inner.byte_vector()),
    )
    return {
        address: ExecutorState(address, hpke_key, generation, signature)
        for address, (hpke_key, generation, signature) in entries.items()
    }


def _roles(reader: Reader) -> dict[str, Role]:
    entries = _vec_map(
        reader,
        Reader.string,
        lambda inner: (inner.u8(), inner.u64(), inner.boolean(), tuple(inner.vector(_rule))),
    )
    return {
        name: Role(name=name, priority=priority, stake=stake, open=is_open, rules=rules)
        for name, (priority, stake, is_open, rules) in entries.items()
    }


def _rule(reader: Reader) -> Rule:
    def texts() -> tuple[str, ...]:
        return tuple(reader.vector(Reader.string))

    return Rule(
        verbs=texts(),
        api_groups=texts(),
        resources=texts(),
        namespaces=texts(),
        resource_names=texts(),
        non_resource_urls=texts(),
    )


def _session(reader: Reader) -> SessionState:
    return SessionState(
        expires_at_ms=reader.u64(),
        read_only=reader.boolean(),
        namespaces=tuple(reader.vector(Reader.string)),
    )


def _response(reader: Reader) -> ResponseState:
    return ResponseState(
        status_code=reader.u16(),
        response_hash=reader.byte_vector(),
        response_size=reader.u64(),
        response_reference=reader.byte_vector(),
        answered_at_ms=reader.u64(),
    )
