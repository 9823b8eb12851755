"""A chain in memory that also plays the listener, and the gateway in front of it with moto's DynamoDB and
KMS.

The chain accepts what it is sent without running the contract (tests of the contract do that); what it
stores, signs and answers is built with the product's own code, so the gateway's checks see the real thing
unless a test forges something.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.gateway import Gateway
from chalicelib.loop import EventLoopThread
from chalicelib.request_store import RequestStore
from chalicelib.routes import create_app
from chalicelib.settings import GatewaySettings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.aws import create_request_table, create_signing_key
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from k3s_daas.bcs import Reader, Writer
from k3s_daas.bearer import mint
from k3s_daas.contract.addresses import dynamic_field_id, request_object_id
from k3s_daas.contract.calls import EXECUTE_PAYLOAD, Policy, Response, SharedRef, store_response
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.payload import join, payload_hash, split
from k3s_daas.rbac import Rule
from k3s_daas.roots import ExecutorRoot, TrustRoots
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info, response_info
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.ledger import (
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
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, decode_transaction, transaction_digest
from k3s_daas.sui.type_tags import StructTag

CHAIN_ID = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
PACKAGE = hashlib.sha256(b"package").digest()
CLUSTER = hashlib.sha256(b"cluster").digest()
SEAL = hashlib.sha256(b"seal").digest()
OWNER = hashlib.sha256(b"owner").digest()
GRANTS = hashlib.sha256(b"grants").digest()
HOUR_MS = 3_600_000
SUI = 1_000_000_000
POLICY = Policy(10 * SUI, HOUR_MS, 24 * HOUR_MS, 60_000, 600_000, 1_800_000, 600_000, 98_304)
NAMESPACE = "daas-listener"
TABLE = "requests"
OPERATOR = (
    Rule(verbs=("*",), api_groups=("*",), resources=("*",)),
    Rule(verbs=("get",), non_resource_urls=("/version", "/api", "/apis", "/openapi/*")),
)

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
class ScriptedChain:
    """A `Ledger` in memory. `outcomes` scripts executions; `respond` is the listener, if any."""

    executor: FileSigner
    sealing_key: SealingPrivateKey
    respond: Respond | None = echo
    forge: Callable[[ChainTransaction], ChainTransaction] = lambda transaction: transaction
    objects: dict[bytes, ChainObject] = field(default_factory=dict)
    transactions: dict[str, ChainTransaction] = field(default_factory=dict)
    executed: list[bytes] = field(default_factory=list)
    outcomes: list[Callable[[bytes], ExecutionOutcome]] = field(default_factory=list)
    epoch_info: EpochInfo = field(default_factory=lambda: EpochInfo(7, 1_000))
    chain_id: str = CHAIN_ID
    away: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def _count(self, name: str) -> None:
        self.calls[name] += 1
        if self.away:
            raise LedgerUnavailableError("the scripted endpoint is away")

    async def service_info(self) -> ServiceInfo:
        self._count("service_info")
        return ServiceInfo(self.chain_id, 7, 100, 0, now_ms())

    async def epoch(self) -> EpochInfo:
        self._count("epoch")
        return self.epoch_info

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        self._count("get_object")
        return self.objects.get(object_id)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        return [await self.get_object(object_id) for object_id in object_ids]

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        self._count("get_transaction")
        return self.transactions.get(digest)

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        self._count("execute")
        self.executed.append(transaction)
        if self.outcomes:
            return self.outcomes.pop(0)(transaction)
        return self.accept(transaction)

    def accept(self, transaction: bytes) -> ExecutionOutcome:
        """The contract agrees, and the listener answers; the same bytes again change nothing."""
        digest = transaction_digest(transaction)
        if digest not in self.transactions:
            outcome = ExecutionOutcome(digest, success=True)
            self.transactions[digest] = ChainTransaction(digest, transaction, [b""], outcome, [], 1)
            self._answer(transaction, digest)
        return ExecutionOutcome(digest, success=True)

    def _answer(self, transaction: bytes, digest: str) -> None:
        decoded = decode_transaction(transaction)
        [call] = decoded.move_calls
        request_id = Reader(decoded.resolve_pure(call.arguments[2])).byte_vector()
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
        store_response(
            builder,
            PACKAGE,
            SharedRef(CLUSTER, 3),
            SharedRef(SEAL, 3),
            Response(request_id, response.status, sealed),
        )
        gas = AddressBalanceGas(1, 1, 7, CHAIN_ID, 1)
        data = builder.build(self.executor.address, gas=gas)
        answered = ChainTransaction(
            transaction_digest(data),
            data,
            [self.executor.sign(data)],
            ExecutionOutcome("", success=True),
            [],
            2,
        )
        stored = self.forge(answered)
        self.transactions[answered.digest] = stored
        self._put_request(request_id, payload, answered.digest, (response.status, payload_hash(sealed)))

    def _put_request(
        self, request_id: bytes, payload: list[bytes], digest: str, response: tuple[int, bytes] | None
    ) -> None:
        object_id = request_object_id(PACKAGE, SEAL, request_id)
        writer = Writer().address(object_id).byte_vector(request_id)
        writer.address(self.executor.address).address(bytes(32)).address(OWNER).string("operator")
        for _ in range(8):
            writer.string("")
        writer.u8(0).byte_vector(payload_hash(payload)).u64(sum(map(len, payload)))
        for _ in range(5):
            writer.u64(0)
        writer.option(
            response, lambda inner, value: inner.u16(value[0]).byte_vector(value[1]).u64(0).u64(now_ms())
        )
        gateway = f"0x{PACKAGE.hex()}::k8s_gateway"
        self.objects[object_id] = ChainObject(
            object_id,
            1,
            "",
            f"0x{2:064x}::dynamic_field::Field<{gateway}::RequestKey, {gateway}::Request>",
            writer.finish(),
            Owner("object", address=SEAL),
            digest,
        )

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        raise AssertionError("the gateway simulates nothing")

    async def balance(self, address: bytes) -> int:
        raise AssertionError("the gateway asks for no balance")

    def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        raise AssertionError("the gateway reads no events")

    def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        raise AssertionError("the gateway subscribes to nothing")

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        raise AssertionError("the gateway owns nothing")

    async def close(self) -> None:
        """Nothing to end."""


@dataclass
class SealTerms:
    """The seal and its session as the chain shows them."""

    stake: int = 50 * SUI
    revoked: bool = False
    expires_in_ms: int = HOUR_MS
    session_expires_in_ms: int = HOUR_MS
    read_only: bool = False
    sessions: bool = True
    role: str = "operator"
    cluster: bytes = CLUSTER


class LocalAws:
    """Table and key on moto, and the clients for them; worlds share it. Make it inside `mock_aws`."""

    def __init__(self) -> None:
        session = boto3.session.Session("local", "local", region_name="us-east-1")
        self.dynamodb, kms = session.client("dynamodb"), session.client("kms")
        create_request_table(self.dynamodb, TABLE)
        self.signer = KmsSigner(kms, create_signing_key(kms))


class World:
    """A configured gateway in process, and everything around it."""

    def __init__(
        self,
        aws: LocalAws,
        *,
        deadlines: DeadlineSettings | None = None,
        wrap_store: Callable[[RequestStore], RequestStore] = lambda store: store,
        wrap_signer: Callable[[TransactionSigner], TransactionSigner] = lambda signer: signer,
    ) -> None:
        self.signer = aws.signer
        self.store = DynamoDbRequestStore(aws.dynamodb, TABLE)
        self.executor = FileSigner(Ed25519PrivateKey.generate())
        self.session_key = Ed25519PrivateKey.generate()
        self.sealing_key = SealingPrivateKey.generate()
        self.chain = ScriptedChain(self.executor, self.sealing_key)
        self.roots = TrustRoots(
            chain_id=CHAIN_ID,
            package_original=PACKAGE,
            package_latest=PACKAGE,
            cluster=CLUSTER,
            gateways={self.signer.address: self.signer.public_key},
            executors={
                self.executor.address: ExecutorRoot(self.executor.public_key, self.sealing_key.public_bytes())
            },
        )
        self.settings = settings(self.executor.address, deadlines or DeadlineSettings())
        self.logged: list[str] = []
        self.loop = EventLoopThread()
        self.gateway = Gateway(
            settings=self.settings,
            roots=self.roots,
            ledger=self.chain,
            loop=self.loop,
            store=wrap_store(self.store),
            signer=wrap_signer(self.signer),
            log=self.logged.append,
        )
        self.front_door = StrictGateway(create_app(lambda: self.gateway))
        self.set_cluster()
        self.set_seal(SealTerms())

    def close(self) -> None:
        self.loop.close()

    def token(self, **changes: Any) -> str:
        """A fresh token; `changes` override the arguments of `mint`."""
        arguments: dict[str, Any] = {
            "cluster": CLUSTER,
            "seal": SEAL,
            "gateway": self.signer.address,
            "now_ms": now_ms(),
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
        paused: bool = False,
        rules: Sequence[Rule] = OPERATOR,
        role_stake: int = 0,
        is_open: bool = True,
        gateways: Sequence[bytes] | None = None,
        executors: Sequence[bytes] | None = None,
        policy: Policy = POLICY,
    ) -> None:
        writer = Writer().address(CLUSTER).u64(1).string("demo").string(NAMESPACE)
        for name in Policy.__slots__:
            writer.u64(getattr(policy, name))
        writer.vector(
            [rules], lambda inner, value: _write_role(inner, "operator", role_stake, is_open, value)
        )
        writer.address(GRANTS).u64(0)
        writer.vector(
            [self.executor.address] if executors is None else executors,
            lambda inner, value: inner.address(value).byte_vector(self.sealing_key.public_bytes()),
        )
        writer.vector([self.signer.address] if gateways is None else gateways, Writer.address)
        self._put(CLUSTER, "cluster::Cluster", writer.boolean(paused).finish())

    def set_seal(self, terms: SealTerms) -> None:
        writer = Writer().address(SEAL).address(terms.cluster).address(OWNER).string(terms.role)
        writer.u64(terms.stake).u64(0).u64(0).u64(HOUR_MS).u64(now_ms() + terms.expires_in_ms)
        writer.boolean(terms.revoked)
        key = self.session_key.public_key().public_bytes_raw()
        writer.vector(
            [key] if terms.sessions else [],
            lambda inner, value: (
                inner.byte_vector(value).u64(now_ms() + terms.session_expires_in_ms).boolean(terms.read_only)
            ),
        )
        self._put(SEAL, "seal::SealToken", writer.finish())

    def set_grant(self, expires_at_ms: int) -> None:
        key_type = StructTag(PACKAGE, "cluster", "GrantKey")
        key = Writer().address(OWNER).string("operator").finish()
        object_id = dynamic_field_id(GRANTS, key_type, key)
        contents = Writer().address(object_id).fixed(key).u64(expires_at_ms).finish()
        cluster = f"0x{PACKAGE.hex()}::cluster"
        tag = f"0x{2:064x}::dynamic_field::Field<{cluster}::GrantKey, {cluster}::Grant>"
        self.chain.objects[object_id] = ChainObject(
            object_id, 1, "", tag, contents, Owner("object", address=GRANTS), ""
        )

    def _put(self, object_id: bytes, name: str, contents: bytes) -> None:
        self.chain.objects[object_id] = ChainObject(
            object_id,
            9,
            "",
            f"0x{PACKAGE.hex()}::{name}",
            contents,
            Owner("shared", initial_shared_version=3),
            "",
        )


def settings(executor: bytes, deadlines: DeadlineSettings) -> GatewaySettings:
    return GatewaySettings(
        trust_roots_file=Path("unused"),
        sui_endpoint="http://127.0.0.1:1",
        single_endpoint="development",
        request_table=TABLE,
        kms_key_id="unused",
        executor=executor,
        deadlines=deadlines,
    )


def _write_role(writer: Writer, name: str, stake: int, is_open: bool, rules: Sequence[Rule]) -> Writer:
    writer.string(name).u8(1).u64(stake).boolean(is_open)
    return writer.vector(rules, _write_rule)


def _write_rule(writer: Writer, rule: Rule) -> Writer:
    for texts in (
        rule.verbs,
        rule.api_groups,
        rule.resources,
        rule.namespaces,
        rule.resource_names,
        rule.non_resource_urls,
    ):
        writer.vector(texts, Writer.string)
    return writer


def status(reply: HttpReply) -> dict[str, Any]:
    """The reply's body, which must be a Status of the reply's code."""
    parsed: dict[str, Any] = json.loads(reply.body)
    assert (parsed["kind"], parsed["apiVersion"], parsed["code"]) == ("Status", "v1", reply.status)
    assert parsed["message"]
    return parsed


def header(reply: HttpReply, name: str) -> str | None:
    """A reply header by case-insensitive name."""
    return next((value for key, value in reply.headers if key.lower() == name.lower()), None)
