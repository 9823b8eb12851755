"""A scripted chain, a scripted API server, and genuine or forged commands for the listener's tests.

The chain is a `Ledger` whose answers tests set; commands are built with the product's own builders, so one
without overrides is exactly what a gateway sends.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kubernetes.client import Configuration

from k3s_daas.attributes import parse_attributes
from k3s_daas.bcs import Writer
from k3s_daas.bearer import mint
from k3s_daas.contract.addresses import dynamic_field_id, request_object_id
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import (
    STORE_REQUEST_ID,
    STORE_RESPONSE,
    STORE_STATUS,
    Command,
    Policy,
    SharedRef,
    execute_command,
)
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import new_request_id
from k3s_daas.payload import join, payload_hash, split
from k3s_daas.rbac import Rule, url_matches
from k3s_daas.roots import ExecutorRoot, TrustRoots
from k3s_daas.sealing import SealingPrivateKey, request_info, response_info
from k3s_daas.sui.ledger import (
    ChainEvent,
    ChainObject,
    ChainTransaction,
    EpochInfo,
    EventFilter,
    EventFrame,
    EventPage,
    ExecutionOutcome,
    Owner,
    ServiceInfo,
)
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, decode_transaction, transaction_digest
from k3s_daas.sui.type_tags import StructTag

CHAIN_ID = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
PACKAGE = hashlib.sha256(b"package").digest()
CLUSTER = hashlib.sha256(b"cluster").digest()
SEAL = hashlib.sha256(b"seal").digest()
OWNER = hashlib.sha256(b"owner").digest()
NOW_MS = 1_800_000_000_000
POLICY = Policy(1_000, 3_600_000, 86_400_000, 24_000, 240_000, 840_000, 600_000, 98_304)
NAMESPACE = "daas-system"
GRANTS = hashlib.sha256(b"grants").digest()
OPERATOR = (
    Rule(verbs=("*",), api_groups=("*",), resources=("*",)),
    Rule(verbs=("get",), non_resource_urls=("/version", "/openapi/*")),
)


class FrozenClock:
    """Stands still unless a test moves it; sleeping takes a moment and no time."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


@dataclass
class ScriptedLedger:
    """A ledger in memory. `events` is its history; what `publish` adds also goes to live subscriptions."""

    objects: dict[bytes, ChainObject] = field(default_factory=dict)
    transactions: dict[str, ChainTransaction] = field(default_factory=dict)
    events: list[ChainEvent] = field(default_factory=list)
    executed: list[bytes] = field(default_factory=list)
    checkpoint: int = 100
    lowest: int = 0
    indexed: int | None = None
    timestamp_ms: int = NOW_MS - 60_000
    on_execute: Callable[[bytes], ExecutionOutcome] | None = None
    away: bool = False
    subscriptions: list[asyncio.Queue[EventFrame | None]] = field(default_factory=list)
    listed_from: list[int | None] = field(default_factory=list)

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

    def _check(self) -> None:
        if self.away:
            raise LedgerUnavailableError("the scripted endpoint is away")

    async def service_info(self) -> ServiceInfo:
        self._check()
        return ServiceInfo(CHAIN_ID, 1, self.checkpoint, self.lowest, self.timestamp_ms)

    async def epoch(self) -> EpochInfo:
        self._check()
        return EpochInfo(1, 1_000)

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        self._check()
        return self.objects.get(object_id)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        return [await self.get_object(object_id) for object_id in object_ids]

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        self._check()
        return self.transactions.get(digest)

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        self._check()
        self.executed.append(transaction)
        if self.on_execute is not None:
            return self.on_execute(transaction)
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        raise AssertionError("the listener simulates nothing")

    async def balance(self, address: bytes) -> int:
        raise AssertionError("the listener asks for no balance")

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        self._check()
        self.listed_from.append(start_checkpoint)
        tip = self.checkpoint if self.indexed is None else self.indexed
        begin = max(start_checkpoint or 0, int(after or b"0"))
        found = [event for event in self.events if begin <= (event.checkpoint or 0) <= tip]
        yield EventPage(found, str(tip + 1).encode(), tip, last=True)

    async def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        self._check()
        queue: asyncio.Queue[EventFrame | None] = asyncio.Queue()
        queue.put_nowait(EventFrame(None, self.checkpoint, b"live"))
        self.subscriptions.append(queue)
        while (frame := await queue.get()) is not None:
            yield frame
        raise LedgerUnavailableError("the scripted stream was dropped")

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        raise AssertionError("the listener owns nothing")

    async def close(self) -> None:
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

    def __post_init__(self) -> None:
        self.roots = TrustRoots(
            chain_id=CHAIN_ID,
            package_original=PACKAGE,
            package_latest=PACKAGE,
            cluster=CLUSTER,
            gateways={self.gateway.address: self.gateway.public_key},
            executors={
                self.executor.address: ExecutorRoot(self.executor.public_key, self.sealing_key.public_bytes())
            },
        )
        self.set_cluster()
        self.set_seal()
        self.set_grant()

    @property
    def session_key(self) -> bytes:
        return self.session.public_key().public_bytes_raw()

    def set_cluster(
        self,
        *,
        paused: bool = False,
        rules: Sequence[Rule] = OPERATOR,
        stake: int = 0,
        gateways: Sequence[bytes] | None = None,
    ) -> None:
        writer = Writer().address(CLUSTER).u64(1).string("demo").string(NAMESPACE)
        for name in Policy.__slots__:
            writer.u64(getattr(POLICY, name))
        writer.vector([rules], lambda inner, value: _write_role(inner, "operator", stake, value))
        writer.address(GRANTS).u64(1)
        writer.vector(
            [self.executor.address],
            lambda inner, value: inner.address(value).byte_vector(self.sealing_key.public_bytes()),
        )
        registered = [self.gateway.address] if gateways is None else gateways
        writer.vector(registered, Writer.address).boolean(paused)
        self._put(CLUSTER, "cluster::Cluster", writer.finish())

    def set_seal(
        self,
        *,
        owner: bytes = OWNER,
        role: str = "operator",
        stake: int = 5_000,
        revoked: bool = False,
        expires_at_ms: int = NOW_MS + 3_600_000,
        read_only: bool = False,
        sessions: bool = True,
    ) -> None:
        writer = Writer().address(SEAL).address(CLUSTER).address(owner).string(role)
        writer.u64(stake).u64(0).u64(0).u64(3_600_000).u64(expires_at_ms).boolean(revoked)
        writer.vector(
            [self.session_key] if sessions else [],
            lambda inner, key: inner.byte_vector(key).u64(NOW_MS + 3_600_000).boolean(read_only),
        )
        self._put(SEAL, "seal::SealToken", writer.finish())

    def set_grant(self, expires_at_ms: int | None = NOW_MS + 3_600_000) -> None:
        """The owner's grant; None removes it."""
        key_type = StructTag(PACKAGE, "cluster", "GrantKey")
        key = Writer().address(OWNER).string("operator").finish()
        object_id = dynamic_field_id(GRANTS, key_type, key)
        self.ledger.objects.pop(object_id, None)
        if expires_at_ms is None:
            return
        contents = Writer().address(object_id).fixed(key).u64(expires_at_ms).finish()
        cluster = f"0x{PACKAGE.hex()}::cluster"
        tag = f"0x{2:064x}::dynamic_field::Field<{cluster}::GrantKey, {cluster}::Grant>"
        self.ledger.objects[object_id] = ChainObject(
            object_id, 1, "", tag, contents, Owner("object", address=GRANTS), ""
        )

    def _put(self, object_id: bytes, name: str, contents: bytes) -> None:
        self.ledger.objects[object_id] = ChainObject(
            id=object_id,
            version=9,
            digest="",
            type_tag=f"0x{PACKAGE.hex()}::{name}",
            contents=contents,
            owner=Owner("shared", initial_shared_version=3),
            previous_transaction="",
        )

    def answered_on_chain(self, requested: ApiRequested) -> None:
        """Puts the request object with its response where `ContractReader.request` looks for it."""
        object_id = request_object_id(PACKAGE, requested.seal, requested.request_id)
        writer = Writer().address(object_id).byte_vector(requested.request_id)
        writer.address(requested.executor).address(requested.gateway).address(requested.requester)
        writer.string(requested.role)
        requested.attributes.write(writer)
        writer.u8(0).byte_vector(requested.payload_hash).u64(requested.payload_size)
        for time_ms in (requested.accepted_at_ms, requested.start_by_ms, requested.finish_by_ms):
            writer.u64(time_ms)
        writer.u64(requested.answer_by_ms).u64(requested.answer_by_ms)
        writer.u8(1).u16(200).byte_vector(bytes(32)).u64(1).u64(NOW_MS)
        key = f"0x{PACKAGE.hex()}::k8s_gateway"
        field_type = f"0x{2:064x}::dynamic_field::Field<{key}::RequestKey, {key}::Request>"
        self.ledger.objects[object_id] = ChainObject(
            object_id, 1, "", field_type, writer.finish(), Owner("object", address=requested.seal), ""
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
        authorised: OnChainAttributes | None = None,
        signer: FileSigner | None = None,
        session: Ed25519PrivateKey | None = None,
        payload: Sequence[bytes] | None = None,
        event: Callable[[ApiRequested], ApiRequested] = lambda requested: requested,
        transaction: Callable[[ChainTransaction], ChainTransaction] = lambda done: done,
        type_tag: str = event_type(PACKAGE, API_REQUEST),
    ) -> tuple[ApiRequested, ChainEvent]:
        """One command as event and (stored) transaction; each override forges one thing."""
        request_id = new_request_id(NOW_MS)
        answer_to = reply_key or self.reply_key.public_bytes()
        envelope = RequestEnvelope(method, path, query, tuple(headers), body, answer_to)
        info = request_info(CLUSTER, SEAL, request_id)
        chunks = payload or split(self.sealing_key.public_key.seal(envelope.encode(), info))
        token = mint(
            session or self.session,
            cluster=CLUSTER,
            seal=SEAL,
            gateway=self.gateway.address,
            now_ms=NOW_MS,
        )
        made = Command(
            request_id=request_id,
            session_key=self.session_key,
            secret_hash=token.claims.secret_hash,
            not_before_ms=token.claims.not_before_ms,
            token_expires_at_ms=token.claims.expires_at_ms,
            claims_signature=token.signature,
            attributes=authorised or on_chain(method, path, query),
            executor=self.executor.address,
            start_by_ms=NOW_MS + 20_000,
            finish_by_ms=NOW_MS + 200_000,
            answer_by_ms=NOW_MS + 800_000,
            payload=chunks,
        )
        done = self._submit(made, signer or self.gateway)
        requested = event(
            ApiRequested(
                cluster=CLUSTER,
                seal=SEAL,
                request_id=request_id,
                requester=OWNER,
                role="operator",
                priority=0,
                gateway=self.gateway.address,
                executor=self.executor.address,
                session_key=self.session_key,
                attributes=made.attributes,
                payload_hash=payload_hash(chunks),
                payload_size=sum(map(len, chunks)),
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

    def _submit(self, made: Command, signer: FileSigner) -> ChainTransaction:
        builder = PtbBuilder()
        execute_command(builder, PACKAGE, SharedRef(CLUSTER, 3), SharedRef(SEAL, 3), made)
        gas = AddressBalanceGas(50_000_000, 1_000, 1, CHAIN_ID, 7)
        data = builder.build(signer.address, gas=gas)
        digest = transaction_digest(data)
        outcome = ExecutionOutcome(digest, success=True)
        return ChainTransaction(digest, data, [signer.sign(data)], outcome, [], 1)

    def answers(self) -> dict[bytes, tuple[int, ResponseEnvelope]]:
        """What the listener stored: status and opened envelope by request id."""
        found: dict[bytes, tuple[int, ResponseEnvelope]] = {}
        for data in self.ledger.executed:
            decoded = decode_transaction(data)
            assert decoded.sender == self.executor.address
            for call in decoded.move_calls:
                assert call.function == "store_k8s_response"
                request_id = decoded.resolve_pure(call.arguments[STORE_REQUEST_ID])[1:]
                status = int.from_bytes(decoded.resolve_pure(call.arguments[STORE_STATUS]), "little")
                sealed = join(decoded.resolve_chunks(call.arguments[STORE_RESPONSE]))
                plain = self.reply_key.open(sealed, response_info(CLUSTER, SEAL, request_id))
                found[request_id] = (status, ResponseEnvelope.decode(plain))
        return found


def on_chain(method: str, path: str, query: str) -> OnChainAttributes:
    """The attributes that a gateway would put on chain for this request."""
    parsed = parse_attributes(method, path, query)
    if not parsed.is_resource_request:
        pattern = next(url for url in OPERATOR[1].non_resource_urls if url_matches(url, parsed.decoded_path))
        return OnChainAttributes(parsed.verb, non_resource_url=pattern)
    return OnChainAttributes(
        parsed.verb,
        parsed.api_group,
        parsed.api_version,
        parsed.resource,
        parsed.subresource,
        parsed.namespace,
        parsed.name,
    )


def encode_event(requested: ApiRequested) -> bytes:
    writer = Writer().address(requested.cluster).address(requested.seal).byte_vector(requested.request_id)
    writer.address(requested.requester).string(requested.role).u8(requested.priority)
    writer.address(requested.gateway).address(requested.executor).byte_vector(requested.session_key)
    requested.attributes.write(writer)
    writer.byte_vector(requested.payload_hash).u64(requested.payload_size).u64(requested.accepted_at_ms)
    return writer.u64(requested.start_by_ms).u64(requested.finish_by_ms).u64(requested.answer_by_ms).finish()


def _write_role(writer: Writer, name: str, stake: int, rules: Sequence[Rule]) -> None:
    writer.string(name).u8(0).u64(stake).boolean(False)
    writer.vector(rules, _write_rule)


def _write_rule(writer: Writer, rule: Rule) -> None:
    for texts in (
        rule.verbs,
        rule.api_groups,
        rule.resources,
        rule.namespaces,
        rule.resource_names,
        rule.non_resource_urls,
    ):
        writer.vector(texts, Writer.string)


@dataclass(frozen=True)
class SeenRequest:
    """A request as the API server got it, headers in their order."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class ScriptedReply:
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("Content-Type", "application/json"),)
    body: bytes = b'{"kind":"PodList"}'
    hang_up: bool = False


class ScriptedApiServer:
    """An HTTP/1.1 server that records requests and answers as told; `before_reply` runs in its thread."""

    def __init__(self) -> None:
        self.seen: list[SeenRequest] = []
        self.reply: Callable[[SeenRequest], ScriptedReply] = lambda _: ScriptedReply()
        self.connections = 0

    @property
    def configuration(self) -> Configuration:
        return Configuration(host=f"http://127.0.0.1:{self.port}")

    port = 0


@contextmanager
def scripted_api_server() -> Iterator[ScriptedApiServer]:
    script = ScriptedApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            script.connections += 1
            super().setup()

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            request = SeenRequest(
                self.command, self.path, list(self.headers.items()), self.rfile.read(length)
            )
            script.seen.append(request)
            reply = script.reply(request)
            if reply.hang_up:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  the library's names

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for something that happens in another task or thread."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  conditions of other threads have no event
            await asyncio.sleep(0.002)
