"""The gateway against the compiled contract in the real Move VM, with a small executor that answers."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.gateway import Gateway
from chalicelib.loop import EventLoopThread
from chalicelib.parking_keys import ParkingKeys
from chalicelib.routes import create_app
from chalicelib.settings import GatewaySettings
from chalicelib.trust_roots import RootsFile
from chalicelib.windows import DynamoDbWindows
from moto import mock_aws

from infra.local.aws import create_parking_key, create_request_table, create_signing_key
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from infra.local.stack.chain import Bootstrap, Chain, Services
from infra.local.stack.stack import compiled_contract
from infra.local.sui.rpc.misbehaviour import Failing
from infra.local.sui.server import LocalSui
from k3s_daas.bearer import mint
from k3s_daas.cli.holder import Holder
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.contract.objects import UsageState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.contract.usage import DAY_MS, command_deposit
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.payload import join, split
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info, response_info
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.ledger import EventFilter
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import PtbBuilder
from k3s_daas.sui.wallet import Wallet, object_ref

PODS = "/api/v1/namespaces/default/pods"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Answering:
    """An executor without a cluster: it answers each command with what it was asked."""

    ledger: GrpcLedger
    services: Services
    chain: Chain
    ran: list[tuple[str, str]] = field(default_factory=list)

    async def run(self, subscribed: asyncio.Event) -> None:
        roots = self.chain.roots
        reader = ContractReader(self.ledger, roots)
        wallet = Wallet(self.ledger, self.services.executor)
        wanted = EventFilter((event_type(roots.package_original, API_REQUEST),))
        async with aclosing(self.ledger.subscribe_events(wanted)) as frames:
            async for frame in frames:
                subscribed.set()
                if frame.event is None:
                    continue
                requested = ApiRequested.decode(frame.event.contents)
                transaction = await self.ledger.get_signed_transaction(frame.event.transaction_digest)
                assert transaction is not None
                chunks = reader.request_payload(transaction, requested.request_id, requested.payload_hash)
                await self._answer(wallet, requested, join(chunks))

    async def _answer(self, wallet: Wallet, requested: ApiRequested, sealed: bytes) -> None:
        names = (requested.cluster, requested.seal, requested.request_id)
        request = RequestEnvelope.decode(self.services.sealing.open(sealed, request_info(*names)))
        self.ran.append((request.method, request.path))
        headers = (("Content-Type", "application/json"),)
        body = json.dumps({"method": request.method, "path": request.path}).encode()
        reply_key = SealingPublicKey.from_bytes(request.reply_key)
        answer = reply_key.seal(ResponseEnvelope(200, headers, body).encode(), response_info(*names))
        cluster, seal = await self._refs(requested)

        def compose(builder: PtbBuilder) -> None:
            response = calls.Response(requested.request_id, 200, split(answer))
            calls.store_response(builder, self.chain.roots.package_latest, cluster, seal, response)

        await wallet.run(compose)

    async def _refs(self, requested: ApiRequested) -> tuple[SharedRef, SharedRef]:
        found = await self.ledger.get_objects([requested.cluster, requested.seal])
        cluster, seal = (SharedRef.of(one) for one in found if one is not None)
        return cluster, seal


@dataclass
class Stage:
    """Chain, executor and gateway, each on a loop of its own."""

    sui: LocalSui
    sui_loop: EventLoopThread
    chain: Chain
    services: Services
    keys: Path
    executor: Answering
    gateway: Gateway
    logged: list[str]

    @property
    def port(self) -> int:
        return self.sui.grpc_ports[0]

    def calls(self, method: str) -> int:
        return self.sui.calls[method]

    def send(
        self, target: str, method: str = "GET", body: bytes = b"", *, holder: str = "operator"
    ) -> HttpReply:
        settings = Holder.load(self.chain.holders[holder])
        token = mint(
            settings.session_key(),
            cluster=settings.cluster,
            seal=settings.seal,
            gateway=settings.gateway,
            now_ms=now_ms(),
        )
        door = StrictGateway(create_app(lambda: self.gateway))
        return door.handle(
            HttpRequest(method, target, (("Authorization", f"Bearer {token.encode()}"),), body)
        )

    def misbehave(self, **changes: Any) -> None:
        async def change() -> None:
            self.sui.misbehave(self.port, **changes)

        self.sui_loop.run(change())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    keys = tmp_path_factory.mktemp("keys")
    sui_loop, gateway_loop = EventLoopThread(), EventLoopThread()
    sui = LocalSui(finality_ms=20, checkpoint_ms=10, ports=2)
    sui_loop.run(sui.start())
    with mock_aws():
        session = boto3.session.Session("local", "local", region_name="us-east-1")
        dynamodb, kms = session.client("dynamodb"), session.client("kms")
        create_request_table(dynamodb, "requests")
        services = Services(
            KmsSigner(kms, create_signing_key(kms)),
            FileSigner.generate(keys / "executor.key"),
            SealingPrivateKey.generate(),
        )
        # The second port is the set-up's and the executor's: only the gateway's misbehaves.
        ours = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[1]}")
        bootstrap = Bootstrap(ours, keys, services, f"http://127.0.0.1:{sui.faucet_port}")
        chain = sui_loop.run(bootstrap.run(compiled_contract(), now_ms))
        executor = Answering(ours, services, chain)

        async def start() -> asyncio.Task[None]:
            subscribed = asyncio.Event()
            task = asyncio.create_task(executor.run(subscribed))
            await subscribed.wait()
            return task

        answering = sui_loop.run(start())
        ledger = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[0]}")
        logged: list[str] = []
        gateway = Gateway(
            settings=GatewaySettings(
                trust_roots=RootsFile(keys / "unused"),
                endpoints=SuiEndpoints(("unused",)),
                request_table="requests",
                kms_key_id="unused",
                parking_key_id="unused",
                executor=services.executor.address,
                deadlines=DeadlineSettings(),
                # Long, so that a test can be sure of a stale view.
                admission_ttl_ms=60_000,
            ),
            roots=chain.roots,
            ledger=ledger,
            loop=gateway_loop,
            store=DynamoDbRequestStore(dynamodb, "requests"),
            signer=services.gateway,
            parking_keys=ParkingKeys.from_kms(kms, create_parking_key(kms)),
            windows=DynamoDbWindows(dynamodb, "requests"),
            log=logged.append,
        )
        yield Stage(sui, sui_loop, chain, services, keys, executor, gateway, logged)

        async def end() -> None:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            await ours.close()
            await sui.close()

        gateway_loop.run(ledger.close())
        sui_loop.run(end())
    gateway_loop.close()
    sui_loop.close()


def header(reply: HttpReply, name: str) -> str | None:
    return next((value for key, value in reply.headers if key == name), None)


def status(reply: HttpReply) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(reply.body)
    assert parsed["kind"] == "Status", parsed
    return parsed


def test_a_command_goes_through_the_contract_and_back(stage: Stage) -> None:
    reply = stage.send(f"{PODS}/web", "DELETE")
    assert reply.status == 200, reply.body
    assert json.loads(reply.body) == {"method": "DELETE", "path": f"{PODS}/web"}
    assert header(reply, "X-Daas-Request-Digest") != header(reply, "X-Daas-Response-Digest")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/version"),
        ("GET", "/openapi/v3/apis/apps/v1?hash=1"),
        ("GET", "/api/v1/namespaces?watch=true"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/a/token"),
        ("PATCH", "/apis/example.com/v1/namespaces/default/widgets/a%20b/status"),
        ("DELETE", PODS),
    ],
)
def test_what_admission_lets_through_the_contract_takes(stage: Stage, method: str, target: str) -> None:
    reply = stage.send(target, method)
    assert reply.status == 200, reply.body
    assert stage.executor.ran[-1] == (method, target.partition("?")[0])


def test_the_largest_request_that_is_not_refused_fits_a_transaction(stage: Stage) -> None:
    reply = stage.send(PODS, "POST", os.urandom(95_000))
    assert reply.status == 200, reply.body


def test_a_warm_command_is_two_transactions_and_one_submission_of_ours(stage: Stage) -> None:
    stage.send(PODS)
    before = stage.calls("ExecuteTransaction"), stage.calls("GetEpoch"), stage.calls("GetServiceInfo")
    stage.send(PODS)
    after = stage.calls("ExecuteTransaction"), stage.calls("GetEpoch"), stage.calls("GetServiceInfo")
    # The executor's wallet asks for epoch and chain once per answer; the gateway does not.
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1, 1]


def test_refusals_by_admission_cost_nothing(stage: Stage) -> None:
    before = stage.calls("ExecuteTransaction")
    assert status(stage.send(PODS, "POST", b"{}", holder="small-stake"))["code"] == 403
    assert status(stage.send(f"{PODS}/p", "DELETE", holder="viewer"))["code"] == 403
    assert stage.calls("ExecuteTransaction") == before


def test_a_stale_gas_price_is_refreshed_once_and_the_command_runs_once(stage: Stage) -> None:
    stage.send(PODS)

    async def next_epoch() -> None:
        stage.sui.ledger.advance_epoch(2_000)

    stage.sui_loop.run(next_epoch())
    ran = len(stage.executor.ran)
    reply = stage.send(PODS, "POST", b"{}")
    assert reply.status == 200, reply.body
    assert len(stage.executor.ran) == ran + 1


def test_a_submission_whose_reply_is_lost_runs_once(stage: Stage) -> None:
    stage.send(PODS)
    ran = len(stage.executor.ran)
    stage.misbehave(fail={"ExecuteTransaction": Failing(times=1, after=True)})
    reply = stage.send(PODS, "POST", b"{}")
    assert reply.status == 200, reply.body
    assert len(stage.executor.ran) == ran + 1


def test_a_connection_that_drops_is_made_again(stage: Stage) -> None:
    async def drop() -> None:
        stage.sui.drop_streams(stage.port)

    stage.sui_loop.run(drop())
    assert stage.send(PODS).status == 200


def test_the_chain_counts_what_the_gateway_counts(stage: Stage) -> None:
    before, began = usage(stage, "viewer"), now_ms()
    assert stage.send(PODS, holder="viewer").status == 200
    after = usage(stage, "viewer")
    asked = OnChainAttributes("list", "", "v1", "pods", "", "default")
    expected = command_deposit("viewer", asked)
    assert after.day in (began // DAY_MS, now_ms() // DAY_MS)
    assert after.deposit - (before.deposit if after.day == before.day else 0) == expected
    assert after.commands - (before.commands if after.minute == before.minute else 0) == 1


def test_what_the_cache_does_not_know_yet_the_contract_refuses(stage: Stage) -> None:
    stage.send(PODS)
    seal = Holder.load(stage.chain.holders["operator"]).seal
    revoke(stage, seal)
    reply = stage.send(PODS, "POST", b"{}")
    parsed = status(reply)
    assert parsed["code"] == 403
    assert {"ESealRevoked", "RequestDigest"} <= {cause["reason"] for cause in parsed["details"]["causes"]}


def test_a_ledger_that_is_gone_is_a_status_and_never_an_answer(stage: Stage) -> None:
    ran = len(stage.executor.ran)
    stage.misbehave(fail={"*": Failing()})
    try:
        for method in ("GET", "POST"):
            reply = stage.send(PODS, method, holder="viewer")
            assert status(reply)["code"] in (503, 504)
    finally:
        stage.misbehave(fail={})
    assert len(stage.executor.ran) == ran


def usage(stage: Stage, holder: str) -> UsageState:
    reader = ContractReader(stage.executor.ledger, stage.chain.roots)
    seal = stage.sui_loop.run(reader.seal(Holder.load(stage.chain.holders[holder]).seal))
    assert seal is not None
    return seal.usage


def revoke(stage: Stage, seal: bytes) -> None:
    roots, ledger = stage.chain.roots, stage.executor.ledger
    wallet = Wallet(ledger, FileSigner.load(stage.keys / "admin.key"))

    async def run() -> None:
        cap_type = f"0x{roots.package_original.hex()}::capability::AccessCap"
        [cap] = await ledger.list_owned_objects(wallet.address, cap_type)
        cluster_object, seal_object = await ledger.get_objects([roots.cluster, seal])
        assert cluster_object is not None
        assert seal_object is not None

        def compose(builder: PtbBuilder) -> None:
            capability = builder.owned(object_ref(cap))
            cluster, target = SharedRef.of(cluster_object), SharedRef.of(seal_object)
            calls.revoke(builder, roots.package_latest, cluster, capability, target, reason="left")

        await wallet.run(compose)

    stage.sui_loop.run(run())
