"""A chain in memory that also plays the listener, and the gateway in front of it with moto's DynamoDB and
KMS.

The chain accepts what it is sent without running the contract (tests of the contract do that); what it
stores, signs and answers is built with the product's own code, so the gateway's checks see the real thing
unless a test forges something.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
from chalicelib.discovery_shelf import DynamoDbShelf
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.gateway import Gateway
from chalicelib.leftovers import DynamoDbLeftovers
from chalicelib.loop import EventLoopThread
from chalicelib.parking_keys import ParkingKeys
from chalicelib.request_store import RequestStore
from chalicelib.routes import create_app
from chalicelib.settings import GatewaySettings
from chalicelib.trust_roots import RootsFile
from chalicelib.windows import DynamoDbWindows
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.aws import create_request_table, create_signing_key
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from k3s_daas.bcs import Reader
from k3s_daas.bearer import mint
from k3s_daas.blobs.store import BlobStore
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import EXECUTE_PAYLOAD, EXECUTE_REQUEST_ID, Response, store_response
from k3s_daas.contract.objects import (
    ExecutorState,
    GrantState,
    RequestState,
    ResponseState,
    SessionState,
    UsageState,
)
from k3s_daas.contract.usage import MINUTE_MS
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.payload import join, payload_hash, split
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info, response_info
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.ledger import ExecutionOutcome, SignedTransaction
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, decode_transaction, transaction_digest
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER,
    CLUSTER_REF,
    HOUR_MS,
    OWNER,
    PACKAGE,
    SEAL,
    SEAL_REF,
    SUI,
    announced,
    cluster_object,
    cluster_state,
    grant_object,
    request_object,
    seal_object,
    seal_state,
    trust_roots,
)
from tests.unit.memory_ledger import MemoryLedger

NAMESPACE = "daas-listener"
TABLE = "requests"

Respond = Callable[[RequestEnvelope], ResponseEnvelope]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def echo(request: RequestEnvelope) -> ResponseEnvelope:
    """Tells as JSON what reached the API server."""
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": list(request.headers),
        "body": request.body.decode("latin-1"),
    }
    return ResponseEnvelope(200, (("Content-Type", "application/json"),), json.dumps(seen).encode())


@dataclass
class ScriptedChain(MemoryLedger):
    """`outcomes` scripts executions; `respond` is the listener, if any; `forge` alters its transaction."""

    executor: FileSigner = field(default_factory=lambda: FileSigner(Ed25519PrivateKey.generate()))
    sealing_key: SealingPrivateKey = field(default_factory=SealingPrivateKey.generate)
    respond: Respond | None = echo
    reference: bytes = b""
    forge: Callable[[SignedTransaction], SignedTransaction] = lambda transaction: transaction
    outcomes: list[Callable[[bytes], ExecutionOutcome]] = field(default_factory=list)

    def effect(self, transaction: bytes) -> ExecutionOutcome:
        if self.outcomes:
            return self.outcomes.pop(0)(transaction)
        return self.accept(transaction)

    def accept(self, transaction: bytes) -> ExecutionOutcome:
        """The contract agrees, and the listener answers; the same bytes again change nothing."""
        digest = transaction_digest(transaction)
        if digest not in self.transactions:
            self.transactions[digest] = SignedTransaction(digest, transaction, [b""], success=True)
            self.answer(transaction, digest)
        return ExecutionOutcome(digest, success=True)

    def answer(self, transaction: bytes, digest: str) -> None:
        """What the listener stores for this command, if there is one: `respond` decides."""
        decoded = decode_transaction(transaction)
        [call] = decoded.move_calls
        request_id = Reader(decoded.resolve_pure(call.arguments[EXECUTE_REQUEST_ID])).byte_vector()
        payload = decoded.resolve_chunks(call.arguments[EXECUTE_PAYLOAD])
        if self.respond is None:
            self._put_request(request_id, payload, digest, None)
            return
        info = request_info(CLUSTER, SEAL, request_id)
        request = RequestEnvelope.decode(self.sealing_key.open(join(payload), info))
        response = self.respond(request)
        reply_key = SealingPublicKey.from_bytes(request.reply_key)
        sealed = split(reply_key.seal(response.encode(), response_info(CLUSTER, SEAL, request_id)))
        builder = PtbBuilder()
        store_response(builder, PACKAGE, CLUSTER_REF, SEAL_REF, Response(request_id, response.status, sealed))
        data = builder.build(self.executor.address, gas=AddressBalanceGas(1, 1, 7, CHAIN_ID, 1))
        answered = transaction_digest(data)
        stored = SignedTransaction(answered, data, [self.executor.sign(data)], success=True)
        self.transactions[answered] = self.forge(stored)
        size = sum(map(len, sealed))
        state = ResponseState(response.status, payload_hash(sealed), size, self.reference, now_ms())
        self._put_request(request_id, payload, answered, state)

    def _put_request(
        self, request_id: bytes, payload: list[bytes], digest: str, response: ResponseState | None
    ) -> None:
        self.put(
            request_object(
                RequestState(
                    request_id=request_id,
                    previous_transaction=digest,
                    executor=self.executor.address,
                    gateway=bytes(32),
                    requester=OWNER,
                    role="operator",
                    attributes=OnChainAttributes(""),
                    priority=0,
                    request_hash=payload_hash(payload),
                    request_size=sum(map(len, payload)),
                    accepted_at_ms=0,
                    start_by_ms=0,
                    finish_by_ms=0,
                    answer_by_ms=0,
                    expires_at_ms=0,
                    response=response,
                )
            )
        )


@dataclass
class SealTerms:
    """The seal and its session as the chain shows them."""

    stake: int = 50 * SUI
    revoked: bool = False
    expires_in_ms: int = HOUR_MS
    session_expires_in_ms: int = HOUR_MS
    read_only: bool = False
    namespaces: tuple[str, ...] = ()
    usage: UsageState | None = None
    sessions: bool = True
    role: str = "operator"
    cluster: bytes = CLUSTER


def one_at_a_time(client: Any) -> None:
    """moto tests a condition and writes in two steps, so calls in one process must not overlap; AWS's may."""
    lock, call = threading.Lock(), client._make_api_call

    def serialised(*arguments: Any) -> Any:
        with lock:
            return call(*arguments)

    client._make_api_call = serialised


class LocalAws:
    """Table and key on moto, and the clients for them; worlds share it. Make it inside `mock_aws`."""

    def __init__(self) -> None:
        session = boto3.session.Session("local", "local", region_name="us-east-1")
        self.dynamodb, kms = session.client("dynamodb"), session.client("kms")
        one_at_a_time(self.dynamodb)
        create_request_table(self.dynamodb, TABLE)
        self.signer = KmsSigner(kms, create_signing_key(kms))
        self._tables = 0

    def new_table(self) -> str:
        """An empty one."""
        self._tables += 1
        name = f"{TABLE}-{self._tables}"
        create_request_table(self.dynamodb, name)
        return name


class World:
    """A configured gateway in process, and everything around it."""

    def __init__(
        self,
        aws: LocalAws,
        *,
        deadlines: DeadlineSettings | None = None,
        admission_ttl_ms: int = 1_000,
        discovery_ttl_ms: int = 30_000,
        blobs: BlobStore | None = None,
        parking_keys: ParkingKeys | None = None,
        shelf_table: str | None = None,
        wrap_store: Callable[[RequestStore], RequestStore] = lambda store: store,
        wrap_signer: Callable[[TransactionSigner], TransactionSigner] = lambda signer: signer,
        table: str | None = None,
        **changed: Any,
    ) -> None:
        """`changed` are settings. Worlds with one `table` are functions of one gateway; without, they share
        records, and count what is limited for themselves: they have the same seal and the same source."""
        self.signer = aws.signer
        self.store = DynamoDbRequestStore(aws.dynamodb, table or TABLE)
        self.parking_keys = parking_keys or ParkingKeys(os.urandom(32))
        self.executor = FileSigner(Ed25519PrivateKey.generate())
        self.session_key = Ed25519PrivateKey.generate()
        self.sealing_key = SealingPrivateKey.generate()
        self.chain = ScriptedChain(executor=self.executor, sealing_key=self.sealing_key)
        self.roots = trust_roots(self.signer, self.executor)
        self.settings = replace(
            settings(self.executor.address, deadlines or DeadlineSettings(), admission_ttl_ms),
            discovery_ttl_ms=discovery_ttl_ms,
            **changed,
        )
        self.logged: list[str] = []
        self.refusals: list[str] = []
        self.metrics: list[str] = []
        self.ahead_ms = 0
        self.stopped_at_ms: int | None = None
        self.loop = EventLoopThread()
        self.gateway = Gateway(
            settings=self.settings,
            roots=self.roots,
            ledger=self.chain,
            loop=self.loop,
            store=wrap_store(self.store),
            signer=wrap_signer(self.signer),
            # Its own: worlds share the table, and the same request may be parked in another one.
            parking_keys=self.parking_keys,
            windows=DynamoDbWindows(aws.dynamodb, table or aws.new_table(), self.now_ms),
            leftovers=DynamoDbLeftovers(aws.dynamodb, TABLE),
            shelf=DynamoDbShelf(aws.dynamodb, shelf_table or aws.new_table(), self.parking_keys),
            blobs=blobs,
            now_ms=self.now_ms,
            log=self.logged.append,
            refusal_log=self.refusals.append,
            metric_log=self.metrics.append,
        )
        self.front_door = StrictGateway(create_app(lambda: self.gateway, self.now_ms), now_ms=self.now_ms)
        self.set_cluster()
        self.set_seal(SealTerms())

    def close(self) -> None:
        self.loop.close()

    def now_ms(self) -> int:
        """The gateway's clock; a test lets time pass by setting it ahead, or stops it."""
        return (now_ms() if self.stopped_at_ms is None else self.stopped_at_ms) + self.ahead_ms

    def stop_clock_early_in_a_minute(self) -> None:
        """For what counts by minutes: however slow the machine is, the next one does not begin."""
        self.stopped_at_ms = now_ms() // MINUTE_MS * MINUTE_MS + MINUTE_MS // 6

    def token(self, **changes: Any) -> str:
        """A fresh token; `changes` override the arguments of `mint`."""
        arguments: dict[str, Any] = {
            "cluster": CLUSTER,
            "seal": SEAL,
            "gateway": self.signer.address,
            "now_ms": now_ms() if self.stopped_at_ms is None else self.stopped_at_ms,
        }
        key = changes.pop("key", self.session_key)
        return mint(key, **{**arguments, **changes}).encode()

    def send(
        self,
        target: str,
        method: str = "GET",
        body: bytes = b"",
        *,
        token: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> HttpReply:
        """One request through the strict front door. An empty `token` sends no Authorization header."""
        bearer = self.token() if token is None else token
        pairs = [("Authorization", f"Bearer {bearer}")] if bearer else []
        return self.front_door.handle(HttpRequest(method, target, (*pairs, *headers), body))

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
            gateways=[self.signer.address] if gateways is None else gateways,
            namespace=NAMESPACE,
            **terms,
        )
        self.chain.put(cluster_object(state))

    def set_seal(self, terms: SealTerms) -> None:
        key = self.session_key.public_key().public_bytes_raw()
        session = SessionState(now_ms() + terms.session_expires_in_ms, terms.read_only, terms.namespaces)
        state = seal_state(
            sessions={key: session} if terms.sessions else {},
            stake=terms.stake,
            expires_at_ms=now_ms() + terms.expires_in_ms,
            role=terms.role,
            cluster=terms.cluster,
            revoked=terms.revoked,
            usage=terms.usage,
        )
        self.chain.put(seal_object(state))

    def set_grant(self, expires_at_ms: int) -> None:
        self.chain.put(grant_object(GrantState(OWNER, "operator", expires_at_ms)))


MakeWorld = Callable[..., World]
"""The fixture `make`."""


def settings(executor: bytes, deadlines: DeadlineSettings, admission_ttl_ms: int) -> GatewaySettings:
    return GatewaySettings(
        trust_roots=RootsFile(Path("unused")),
        endpoints=SuiEndpoints(("http://127.0.0.1:1",)),
        request_table=TABLE,
        kms_key_id="unused",
        parking_key_id="unused",
        executor=executor,
        deadlines=deadlines,
        admission_ttl_ms=admission_ttl_ms,
    )


def status(reply: HttpReply) -> dict[str, Any]:
    """The reply's body, which must be a Status of the reply's code."""
    parsed: dict[str, Any] = json.loads(reply.body)
    assert (parsed["kind"], parsed["apiVersion"], parsed["code"]) == ("Status", "v1", reply.status)
    assert parsed["message"]
    return parsed


def header(reply: HttpReply, name: str) -> str | None:
    """A reply header by case-insensitive name."""
    return next((value for key, value in reply.headers if key.lower() == name.lower()), None)
