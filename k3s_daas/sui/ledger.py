"""The Ledger port: what the product needs of a Sui endpoint, and what an adapter must guarantee.

Addresses and object ids are 32 bytes, transaction digests base58 text, times Unix milliseconds, amounts MIST.

Guarantees of every adapter:

1. Bytes in, bytes out. `execute` sends exactly the bytes it is given, at most twice (the second time only
   when the connection broke), and never builds or changes a transaction.
2. A reply is an executed transaction. `execute` returns only effects that the endpoint claims for the digest
   of the bytes sent; an aborted transaction is a reply (`success=False`), not an exception.
3. `TransactionRefusedError` is definite: this transaction was refused before execution, and nothing that this
   call did can make it execute later.
4. `LedgerUnavailableError` says nothing: the transaction may or may not have been executed, or may be
   executed yet. The only safe next step is to send the same bytes again or to look the digest up.
5. Every unary call ends within its deadline and every stream within its idle timeout, even if the peer
   freezes.
6. `get_transaction` and `get_signed_transaction` return only bytes whose digest is the one asked for. Nothing
   else that an endpoint says is proven here: effects, events and object contents are the endpoint's word.
7. Events are passed on as they come, in ledger order if the endpoint is honest; whoever must not act twice
   drops repeated positions. A list that ends without its end marker, and a subscription that ends at all,
   raise; neither looks like "no more events".
8. No exception of a transport library escapes, and no stream outlives its `aclose()`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from k3s_daas.errors import LedgerUnavailableError

OwnerKind = Literal["address", "object", "shared", "immutable"]


class ForgedReplyError(LedgerUnavailableError):
    """The endpoint's reply contradicts itself or the request: do not use this endpoint, ask another one.

    It is a kind of "unavailable" because a reply that cannot be believed says nothing about the effect.
    """


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """Where an endpoint stands. `chain_id` is the base58 digest of the genesis checkpoint."""

    chain_id: str
    epoch: int
    checkpoint: int
    lowest_available_checkpoint: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class EpochInfo:
    """The current epoch and its reference gas price in MIST per gas unit."""

    epoch: int
    reference_gas_price: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns an object: `address` for kinds address and object; `initial_shared_version` for kind
    shared."""

    kind: OwnerKind
    address: bytes | None = None
    initial_shared_version: int | None = None


@dataclass(frozen=True, slots=True)
class ChainObject:
    """One version of an object. `contents` is the BCS of the Move struct; empty for a package."""

    id: bytes
    version: int
    digest: str
    type_tag: str
    contents: bytes
    owner: Owner
    previous_transaction: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Where a Move call aborted. `module` is the bare module name, `package` the storage id of the code that
    ran."""

    module: str
    function: str | None
    code: int
    command: int | None
    package: bytes | None = None


class CreatedObject(NamedTuple):
    """An object that a transaction created."""

    id: bytes
    type_tag: str


@dataclass(frozen=True, slots=True)
class ExecutionOutcome:
    """What a transaction did.

    `failure` is one sentence if `success` is false, and `failure_kind` Sui's name for it
    (`ExecutionErrorKind`); `abort` is set as well if a Move `abort` caused it.
    `checkpoint` is None until the transaction is in one. `gas_used` is the net charge and may be negative.
    """

    digest: str
    success: bool
    abort: Abort | None = None
    failure: str | None = None
    failure_kind: str | None = None
    checkpoint: int | None = None
    created: Sequence[CreatedObject] = ()
    gas_used: int = 0


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """An event. `package` and `module` name the function called at the top level, `type_tag` the event's
    type.

    `checkpoint` and `transaction_index` are None for events that come inside their transaction.
    """

    package: bytes
    module: str
    type_tag: str
    sender: bytes
    contents: bytes
    transaction_digest: str
    event_index: int
    checkpoint: int | None = None
    transaction_index: int | None = None

    @property
    def position(self) -> tuple[str, int]:
        """What tells this event from every other one: its transaction and its index there."""
        return (self.transaction_digest, self.event_index)

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything that is said of it: differs where an endpoint says something else of the same
        position."""
        return (
            self.transaction_digest,
            self.event_index,
            self.checkpoint,
            self.package,
            self.module,
            self.type_tag,
            self.sender,
            self.contents,
        )


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What was signed, by whom, and whether it took effect: all that is needed to check who asked for what.

    `signatures` are flag ‖ signature ‖ public key. `bcs` hashes to `digest`; the adapter has checked it.
    `success` is the endpoint's word.
    """

    digest: str
    bcs: bytes
    signatures: Sequence[bytes]
    success: bool


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """An executed transaction: the signed bytes, who signed them, and what they did.

    `signatures` are flag ‖ signature ‖ public key. `bcs` hashes to `digest`; the adapter has checked it.
    """

    digest: str
    bcs: bytes
    signatures: Sequence[bytes]
    outcome: ExecutionOutcome
    events: Sequence[ChainEvent]
    checkpoint: int | None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Events whose type is one of `types`: `0x<address>::<module>::<Name>`, matched by the endpoint.

    A type without generics is matched exactly; callers compare the tag again when they decode.
    """

    types: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.types:
            raise ValueError("an event filter needs at least one event type")


@dataclass(frozen=True, slots=True)
class EventPage:
    """A stretch of the event list, in ledger order.

    `cursor` resumes after this page (`after=`). `checkpoint` is the last one covered in full, None if not
    even the first one was. `last` says that the list is exhausted: it reached `end_checkpoint` or the indexed
    tip.
    """

    events: Sequence[ChainEvent]
    cursor: bytes
    checkpoint: int | None
    last: bool


@dataclass(frozen=True, slots=True)
class EventFrame:
    """One frame of a subscription; without `event` it only reports progress. Fields as in `EventPage`."""

    event: ChainEvent | None
    checkpoint: int | None
    cursor: bytes


@dataclass(frozen=True, slots=True)
class ChainPackage:
    """A version of a package: `original` names its types, `id` its code. `modules` maps names to bytecode."""

    id: bytes
    original: bytes
    version: int
    modules: Mapping[str, bytes]


class Ledger(Protocol):
    """A Sui endpoint. The guarantees are in the module docstring.

    Every method may raise `LedgerUnavailableError` (`ForgedReplyError` if the reply cannot be believed).
    """

    async def service_info(self) -> ServiceInfo:
        """Chain id, epoch and checkpoint range of the endpoint."""
        ...

    async def epoch(self) -> EpochInfo:
        """The current epoch and its reference gas price."""
        ...

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        """The latest version of an object, or None if there is none (never created, or deleted)."""
        ...

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        """`get_object` for several ids in one call, in their order."""
        ...

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        """An executed transaction by digest, or None if the endpoint does not know it (yet)."""
        ...

    async def get_signed_transaction(self, digest: str) -> SignedTransaction | None:
        """`get_transaction` without effects, events and position: half the work, for every command."""
        ...

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        """Submits signed bytes and waits for their effects.

        `transaction` is the BCS TransactionData; `signature` is flag ‖ signature ‖ public key.
        Raises `TransactionRefusedError` for a definite refusal before execution.
        """
        ...

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        """Runs unsigned bytes without effect. Raises `TransactionRefusedError` as `execute` does."""
        ...

    async def balance(self, address: bytes) -> int:
        """MIST in the address balance of `address`: what pays for gas. Coin objects do not count."""
        ...

    def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        """Past events from `start_checkpoint` (inclusive) to `end_checkpoint` (exclusive; default: indexed
        tip).

        `after` resumes behind a cursor. Ends with a page whose `last` is true, also if there is no event.
        """
        ...

    def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        """Live events from the tip on; it cannot resume. The first frame tells where the stream begins.

        Never ends by itself: it raises `LedgerUnavailableError`, also when no frame at all (progress
        included) came for `idle_timeout_s` seconds. Close it with `aclose()`.
        """
        ...

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        """All objects of a type that an address owns."""
        ...

    async def close(self) -> None:
        """Ends the connection and every stream on it."""
        ...


class OperatorLedger(Ledger, Protocol):
    """What only operators' tools ask of an endpoint; commands never need it."""

    async def list_dynamic_fields(self, parent: bytes) -> list[ChainObject]:
        """The objects that hold the dynamic fields of an object (a table's entries, say), in no order."""
        ...

    async def get_package(self, package: bytes) -> ChainPackage | None:
        """A version of a package with its bytecode, or None if there is none."""
        ...
