"""A scripted chain, and genuine or forged commands for the listener's tests.

The chain is a `Ledger` whose answers tests set; commands are built with the product's own builders, so one
without overrides is exactly what a gateway sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.attributes import parse_attributes
from k3s_daas.bcs import Writer
from k3s_daas.bearer import mint
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import (
    STORE_REQUEST_ID,
    STORE_RESPONSE,
    STORE_STATUS,
    Command,
    PayloadReference,
    SharedRef,
    execute_command,
)
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.contract.objects import ExecutorState, GrantState, RequestState, ResponseState, SessionState
from k3s_daas.deadlines import Deadlines
from k3s_daas.envelope import BlobReference, RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import new_request_id
from k3s_daas.payload import join, payload_hash, split
from k3s_daas.rbac import url_matches
from k3s_daas.sealing import SealingPrivateKey, request_info, response_info
from k3s_daas.sui.ledger import (
    ChainEvent,
    EventFilter,
    EventFrame,
    EventPage,
    ExecutionOutcome,
    SignedTransaction,
)
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, decode_transaction, transaction_digest
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER,
    CLUSTER_REF,
    HOUR_MS,
    OPERATOR,
    OWNER,
    PACKAGE,
    SEAL,
    SEAL_REF,
    announced,
    cluster_object,
    cluster_state,
    grant_object,
    request_object,
    seal_object,
    seal_state,
    trust_roots,
)
from tests.unit.contract_world import POLICY as CLUSTER_POLICY
from tests.unit.memory_leases import MemoryLeases
from tests.unit.memory_ledger import MemoryLedger

NOW_MS = 1_800_000_000_000
STAKE = 5_000
POLICY = replace(
    CLUSTER_POLICY, min_write_stake=1_000, max_start_ms=24_000, max_finish_ms=240_000, max_answer_ms=840_000
)
NAMESPACE = "daas-system"


class FrozenClock:
    """Stands still unless a test moves it; sleeping takes a moment and no time. `boot_s` is the clock that
    leases are measured with."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self.boot_s = 1000.0

    def now_ms(self) -> int:
        return self.ms

    def earliest_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


@dataclass
class ScriptedLedger(MemoryLedger):
    """`events` is its history; what `publish` adds also goes to live subscriptions."""

    events: list[ChainEvent] = field(default_factory=list)
    indexed: int | None = None
    timestamp_ms: int = NOW_MS - 60_000
    on_execute: Callable[[bytes], ExecutionOutcome] | None = None
    subscriptions: list[asyncio.Queue[EventFrame | None]] = field(default_factory=list)
    listed_from: list[int | None] = field(default_factory=list)
    closed: bool = False

    def publish(self, event: ChainEvent, *, live: bool = True) -> None:
        """Puts the event into the next checkpoint."""
        self.checkpoint += 1
        event = replace(event, checkpoint=self.checkpoint)
        self.events.append(event)
        if live:
            self.send(EventFrame(event, self.checkpoint, b"live"))

    def send(self, frame: EventFrame) -> None:
        for queue in self.subscriptions:
            queue.put_nowait(frame)

    def progress(self) -> None:
        """A checkpoint without events."""
        self.checkpoint += 1
        self.send(EventFrame(None, self.checkpoint, b"live"))

    def drop_streams(self) -> None:
        for queue in self.subscriptions:
            queue.put_nowait(None)
        self.subscriptions.clear()

    def effect(self, transaction: bytes) -> ExecutionOutcome:
        if self.on_execute is not None:
            return self.on_execute(transaction)
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        self.asked("list_events")
        self.listed_from.append(start_checkpoint)
        tip = self.checkpoint if self.indexed is None else self.indexed
        begin = max(start_checkpoint or 0, int(after or b"0"))
        found = [event for event in self.events if begin <= (event.checkpoint or 0) <= tip]
        yield EventPage(found, str(tip + 1).encode(), tip, last=True)

    async def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        self.asked("subscribe_events")
        queue: asyncio.Queue[EventFrame | None] = asyncio.Queue()
        queue.put_nowait(EventFrame(None, self.checkpoint, b"live"))
        self.subscriptions.append(queue)
        while (frame := await queue.get()) is not None:
            yield frame
        raise LedgerUnavailableError("the scripted stream was dropped")

    async def close(self) -> None:
        self.closed = True
        self.drop_streams()


@dataclass
class World:
    """Keys, roots, chain state, and commands in one cluster."""

    ledger: ScriptedLedger = field(default_factory=ScriptedLedger)
    clock: FrozenClock = field(default_factory=FrozenClock)
    gateway: FileSigner = field(default_factory=lambda: FileSigner(Ed25519PrivateKey.generate()))
    executor: FileSigner = field(default_factory=lambda: FileSigner(Ed25519PrivateKey.generate()))
    session: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    sealing_key: SealingPrivateKey = field(default_factory=SealingPrivateKey.generate)
    reply_key: SealingPrivateKey = field(default_factory=SealingPrivateKey.generate)
    seals: dict[bytes, bytes] = field(default_factory=dict)
    """The seal of each request that was made."""

    def __post_init__(self) -> None:
        self.leases = MemoryLeases(lambda: self.clock.ms)
        self.roots = trust_roots(self.gateway, self.executor)
        self.set_cluster()
        self.set_seal()
        self.set_grant()

    @property
    def session_key(self) -> bytes:
        return self.session.public_key().public_bytes_raw()

    def set_cluster(
        self,
        *,
        gateways: Sequence[bytes] | None = None,
        executors: Sequence[ExecutorState] | None = None,
        **terms: Any,
    ) -> None:
        """`terms` are those of `cluster_state`."""
        state = cluster_state(
            executors=[announced(self.executor, self.sealing_key)] if executors is None else executors,
            gateways=[self.gateway.address] if gateways is None else gateways,
            namespace=NAMESPACE,
            **{"policy": POLICY, "is_open": False, **terms},
        )
        self.ledger.put(cluster_object(state))

    def set_seal(
        self,
        *,
        read_only: bool = False,
        namespaces: tuple[str, ...] = (),
        sessions: bool = True,
        **terms: Any,
    ) -> None:
        """`terms` are those of `seal_state`."""
        session = SessionState(NOW_MS + HOUR_MS, read_only, namespaces)
        state = seal_state(
            sessions={self.session_key: session} if sessions else {},
            **{"stake": STAKE, "expires_at_ms": NOW_MS + HOUR_MS, **terms},
        )
        self.ledger.put(seal_object(state))

    def add_seal(self, seal: SharedRef, owner: bytes) -> None:
        """One more seal, like the first, with a grant of its owner."""
        session = SessionState(NOW_MS + HOUR_MS, False, ())
        state = seal_state(
            sessions={self.session_key: session}, stake=STAKE, expires_at_ms=NOW_MS + HOUR_MS, owner=owner
        )
        self.ledger.put(seal_object(replace(state, ref=seal)))
        self.set_grant(owner=owner)

    def set_grant(self, expires_at_ms: int | None = NOW_MS + HOUR_MS, owner: bytes = OWNER) -> None:
        """The owner's grant; None removes it."""
        found = grant_object(GrantState(owner, "operator", expires_at_ms or 0))
        if expires_at_ms is None:
            self.ledger.objects.pop(found.id, None)
        else:
            self.ledger.put(found)

    def answered_on_chain(self, requested: ApiRequested) -> None:
        """Puts the request object with its response where `ContractReader.request` looks for it."""
        self.ledger.put(
            request_object(
                RequestState(
                    request_id=requested.request_id,
                    previous_transaction="",
                    executor=requested.executor,
                    gateway=requested.gateway,
                    requester=requested.requester,
                    role=requested.role,
                    attributes=requested.attributes,
                    priority=0,
                    request_hash=requested.payload_hash,
                    request_size=requested.payload_size,
                    accepted_at_ms=requested.accepted_at_ms,
                    start_by_ms=requested.start_by_ms,
                    finish_by_ms=requested.finish_by_ms,
                    answer_by_ms=requested.answer_by_ms,
                    expires_at_ms=requested.answer_by_ms,
                    response=ResponseState(200, bytes(32), 1, b"", NOW_MS),
                )
            )
        )

    def command(
        self,
        method: str = "GET",
        path: str = "/api/v1/namespaces/default/pods",
        query: str = "",
        *,
        headers: Sequence[tuple[str, str]] = (("Accept", "application/json"),),
        body: bytes = b"",
        reply_key: bytes | None = None,
        body_blob: BlobReference | None = None,
        authorised: OnChainAttributes | None = None,
        signer: FileSigner | None = None,
        session: Ed25519PrivateKey | None = None,
        payload: Sequence[bytes] | PayloadReference | Callable[[bytes], Sequence[bytes]] | None = None,
        event: Callable[[ApiRequested], ApiRequested] = lambda requested: requested,
        transaction: Callable[[SignedTransaction], SignedTransaction] = lambda done: done,
        type_tag: str = event_type(PACKAGE, API_REQUEST),
        seal: SharedRef = SEAL_REF,
        owner: bytes = OWNER,
    ) -> tuple[ApiRequested, ChainEvent]:
        """One command as event and (stored) transaction; each override forges one thing."""
        request_id = new_request_id(NOW_MS)
        answer_to = reply_key or self.reply_key.public_bytes()
        envelope = RequestEnvelope(method, path, query, tuple(headers), body, answer_to, body_blob)
        self.seals[request_id] = seal.id
        info = request_info(CLUSTER, seal.id, request_id)
        if callable(payload):
            payload = payload(request_id)
        chunks = payload or split(self.sealing_key.public_key.seal(envelope.encode(), info))
        token = mint(
            session or self.session,
            cluster=CLUSTER,
            seal=seal.id,
            gateway=self.gateway.address,
            now_ms=NOW_MS,
        )
        made = Command.of(
            token,
            Deadlines(NOW_MS + 20_000, NOW_MS + 200_000, NOW_MS + 800_000),
            request_id=request_id,
            attributes=authorised or on_chain(method, path, query),
            executor=self.executor.address,
            payload=chunks,
        )
        made = replace(made, session_key=self.session_key)
        where = chunks if isinstance(chunks, PayloadReference) else inline(chunks)
        done = self._submit(made, seal, signer or self.gateway)
        requested = event(
            ApiRequested(
                cluster=CLUSTER,
                seal=seal.id,
                request_id=request_id,
                requester=owner,
                role="operator",
                priority=0,
                gateway=self.gateway.address,
                executor=self.executor.address,
                session_key=self.session_key,
                attributes=made.attributes,
                payload_hash=where.hash,
                payload_size=where.size,
                payload_reference=where.reference,
                accepted_at_ms=NOW_MS,
                start_by_ms=made.start_by_ms,
                finish_by_ms=made.finish_by_ms,
                answer_by_ms=made.answer_by_ms,
            )
        )
        self.ledger.transactions[done.digest] = transaction(done)
        return requested, ChainEvent(
            package=PACKAGE,
            module="k8s_gateway",
            type_tag=type_tag,
            sender=self.gateway.address,
            contents=encode_event(requested),
            transaction_digest=done.digest,
            event_index=0,
        )

    def _submit(self, made: Command, seal: SharedRef, signer: FileSigner) -> SignedTransaction:
        builder = PtbBuilder()
        execute_command(builder, PACKAGE, CLUSTER_REF, seal, made)
        gas = AddressBalanceGas(50_000_000, 1_000, 1, CHAIN_ID, 7)
        data = builder.build(signer.address, gas=gas)
        digest = transaction_digest(data)
        return SignedTransaction(digest, data, [signer.sign(data)], success=True)

    def stored(self) -> list[tuple[bytes, int, bytes]]:
        """What the listener stored: request id, status and what it put there."""
        found = []
        for data in self.ledger.executed:
            decoded = decode_transaction(data)
            assert decoded.sender == self.executor.address
            for call in decoded.move_calls:
                assert call.function == "store_k8s_response"
                request_id = decoded.resolve_pure(call.arguments[STORE_REQUEST_ID])[1:]
                status = int.from_bytes(decoded.resolve_pure(call.arguments[STORE_STATUS]), "little")
                found.append(
                    (request_id, status, join(decoded.resolve_chunks(call.arguments[STORE_RESPONSE])))
                )
        return found

    def answers(self) -> dict[bytes, tuple[int, ResponseEnvelope]]:
        """Status and opened envelope by request id."""
        found: dict[bytes, tuple[int, ResponseEnvelope]] = {}
        for request_id, status, sealed in self.stored():
            seal = self.seals.get(request_id, SEAL)
            plain = self.reply_key.open(sealed, response_info(CLUSTER, seal, request_id))
            found[request_id] = (status, ResponseEnvelope.decode(plain))
        return found


def other_signer() -> FileSigner:
    """Somebody whom nothing pins."""
    return FileSigner(Ed25519PrivateKey.generate())


def inline(chunks: Sequence[bytes]) -> PayloadReference:
    """What an event says of a payload that is in the transaction."""
    return PayloadReference(b"", payload_hash(chunks), sum(map(len, chunks)))


def on_chain(method: str, path: str, query: str) -> OnChainAttributes:
    """The attributes that a gateway would put on chain for this request."""
    parsed = parse_attributes(method, path, query)
    pattern = ""
    if not parsed.is_resource_request:
        pattern = next(url for url in OPERATOR[1].non_resource_urls if url_matches(url, parsed.decoded_path))
    return OnChainAttributes.of(parsed, pattern)


def encode_event(requested: ApiRequested) -> bytes:
    writer = Writer().address(requested.cluster).address(requested.seal).byte_vector(requested.request_id)
    writer.address(requested.requester).string(requested.role).u8(requested.priority)
    writer.address(requested.gateway).address(requested.executor).byte_vector(requested.session_key)
    requested.attributes.write(writer)
    writer.byte_vector(requested.payload_hash).u64(requested.payload_size)
    writer.byte_vector(requested.payload_reference).u64(requested.accepted_at_ms)
    return writer.u64(requested.start_by_ms).u64(requested.finish_by_ms).u64(requested.answer_by_ms).finish()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for something that happens in another task or thread."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  conditions of other threads have no event
            await asyncio.sleep(0.002)
