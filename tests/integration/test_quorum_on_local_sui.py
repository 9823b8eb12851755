"""Gateway and listener with 2 of 3 endpoints on the compiled contract, one of which misbehaves.

The three ports are over one chain, so whatever they say differently is that port's misbehaviour. The first
one misbehaves: it is the one that is preferred.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
import pytest_asyncio
from chalicelib.discovery_shelf import DynamoDbShelf
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.gateway import Gateway
from chalicelib.leftovers import DynamoDbLeftovers
from chalicelib.loop import EventLoopThread
from chalicelib.parking_keys import ParkingKeys
from chalicelib.routes import create_app
from chalicelib.settings import GatewaySettings
from chalicelib.trust_roots import RootsFile
from chalicelib.windows import DynamoDbWindows
from moto import mock_aws

from infra.local.aws import create_parking_key, create_request_table
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from infra.local.sui.rpc.misbehaviour import Failing
from k3s_daas.ids import to_hex
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.quorum import QuorumLedger
from tests.integration.listener_stage import Process, Stage, now_ms, stage
from tests.integration.revocation import revoke

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

OTHER_CHAIN = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass
class OneGateway:
    """A gateway whose parts a test can close."""

    gateway: Gateway
    ledger: QuorumLedger
    chain: Stage

    async def send(
        self, method: str, target: str, body: bytes = b"", *, holder: str = "operator"
    ) -> HttpReply:
        token = self.chain.holder(holder).token(now_ms())
        headers = (("Authorization", f"Bearer {token.encode()}"), ("Content-Type", "application/json"))
        door = StrictGateway(create_app(lambda: self.gateway))
        return await asyncio.to_thread(door.handle, HttpRequest(method, target, headers, body))

    def dissents(self, number: int) -> dict[str, int]:
        return dict(self.ledger.dissents[f"Sui endpoint 127.0.0.1:{self.chain.sui.grpc_ports[number]}"])


def endpoints(chain: Stage) -> SuiEndpoints:
    return SuiEndpoints(tuple(f"http://127.0.0.1:{port}" for port in chain.sui.grpc_ports[:3]), quorum=2)


@asynccontextmanager
async def one_gateway(chain: Stage, *, admission_ttl_ms: int = 1_000) -> AsyncGenerator[OneGateway, None]:
    """A gateway that knows nothing of its endpoints yet."""
    loop = EventLoopThread()
    ledger = endpoints(chain).open()
    assert isinstance(ledger, QuorumLedger)
    with mock_aws():
        session = boto3.session.Session("local", "local", region_name="us-east-1")
        dynamodb, kms = session.client("dynamodb"), session.client("kms")
        create_request_table(dynamodb, "requests")
        parking_keys = ParkingKeys.from_kms(kms, create_parking_key(kms))
        gateway = Gateway(
            settings=GatewaySettings(
                trust_roots=RootsFile(chain.directory / "roots.json"),
                endpoints=endpoints(chain),
                request_table="requests",
                kms_key_id="unused",
                parking_key_id="unused",
                executor=chain.services.executor.address,
                admission_ttl_ms=admission_ttl_ms,
            ),
            roots=chain.chain.roots,
            ledger=ledger,
            loop=loop,
            store=DynamoDbRequestStore(dynamodb, "requests"),
            signer=chain.services.gateway,
            parking_keys=parking_keys,
            windows=DynamoDbWindows(dynamodb, "requests"),
            leftovers=DynamoDbLeftovers(dynamodb, "requests"),
            shelf=DynamoDbShelf(dynamodb, "requests", parking_keys),
            log=lambda line: None,
        )
        yield OneGateway(gateway, ledger, chain)
        await asyncio.to_thread(loop.run, ledger.close())
    await asyncio.to_thread(loop.close)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("quorum"), ports=4) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listener(chain: Stage) -> AsyncIterator[Process]:
    async with listener_of_three(chain) as process:
        yield process


@asynccontextmanager
async def listener_of_three(chain: Stage) -> AsyncGenerator[Process, None]:
    several = {
        "DAAS_SUI_ENDPOINT": "",
        "DAAS_SINGLE_ENDPOINT": "",
        "DAAS_SUI_ENDPOINTS": ",".join(endpoints(chain).urls),
        "DAAS_QUORUM": "2",
    }
    async with chain.listener(**several) as process:
        yield process


@asynccontextmanager
async def misbehaving(chain: Stage, **changes: Any) -> AsyncGenerator[None, None]:
    port = chain.sui.grpc_ports[0]
    chain.sui.misbehave(port, **changes)
    try:
        yield
    finally:
        chain.sui.endpoints[port].reform()


def config_map(name: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).encode()


def stored(chain: Stage, name: str) -> bool:
    return chain.cluster.store.get(("", "configmaps"), "default", name) is not None


def flip(message: Any) -> None:
    """Another last byte of an object's contents."""
    value = message.contents.value if message.contents else b""
    if value:
        message.contents.value = value[:-1] + bytes([value[-1] ^ 1])


def newer(message: Any) -> None:
    """Forged contents in a version that nobody else has."""
    flip(message)
    message.version = (message.version or 0) + 1_000


def opposite(message: Any) -> None:
    """A failure passed off as a success, and the other way round."""
    if message is not None and message.status is not None:
        message.status.success = not message.status.success
        message.status.error = None


def foreign_event(message: Any) -> None:
    """The event, with other contents."""
    if message.contents is not None and message.contents.value:
        message.contents.value = message.contents.value[:40] + bytes(8) + message.contents.value[48:]


async def test_a_state_before_the_revocation_runs_nothing(chain: Stage) -> None:
    """One endpoint shows the seal as it was; the listener starts after the revocation."""
    seal = chain.holder("small-stake").seal
    asked = await chain.submit("GET", CONFIG_MAPS, holder="small-stake", start_within_ms=60_000)
    before = await chain.ledger.get_object(seal)
    assert before is not None
    await revoke(chain, "small-stake")

    def unrevoked(message: Any) -> None:
        if message.object_id == to_hex(seal):
            message.contents.value = before.contents

    async with (
        misbehaving(chain, forge={"object": unrevoked}),
        listener_of_three(chain) as process,
    ):
        answer = await chain.answer(asked)
    assert answer.status == 403
    assert "command refused, nothing was run" in process.messages()
    [dissent] = [line for line in process.logged if line.get("dissent") == "contradicting"]
    assert dissent["endpoint"].endswith(f":{chain.sui.grpc_ports[0]}")


async def test_a_command_is_one_submission_and_one_answer(chain: Stage, listener: Process) -> None:
    async with one_gateway(chain) as gateway:
        assert (await gateway.send("GET", CONFIG_MAPS)).status == 200
        before = chain.sui.calls["ExecuteTransaction"]
        assert (await gateway.send("POST", CONFIG_MAPS, config_map("plain"))).status == 201
        assert chain.sui.calls["ExecuteTransaction"] == before + 2
        assert stored(chain, "plain")
        assert {kind for number in range(3) for kind in gateway.dissents(number)} <= {"behind"}


@pytest.mark.parametrize(
    ("name", "changes", "seen"),
    [
        ("forged-objects", {"forge": {"object": flip}}, "contradicting"),
        ("newer-objects", {"forge": {"object": newer}}, "unconfirmed"),
        ("forged-effects", {"forge": {"effects": opposite}}, "contradicting"),
        ("forged-chain", {"forge": {"service_info": {"chain_id": OTHER_CHAIN}}}, "contradicting"),
        ("lagging", {"lag": 200}, "behind"),
        ("failing", {"fail": {"*": Failing()}}, "away"),
        ("no-execution", {"fail": {"ExecuteTransaction": Failing(after=True)}}, "away"),
        ("frozen", {"frozen": True}, "away"),
        ("slow", {"delay_ms": 700}, None),
        ("withheld-events", {"withhold_events": True}, None),
        ("forged-events", {"forge": {"event": foreign_event}}, None),
        ("broken-streams", {"drop_streams_after": 1}, None),
    ],
)  # fmt: skip
async def test_commands_work_while_one_endpoint_misbehaves(
    chain: Stage, listener: Process, name: str, changes: dict[str, Any], seen: str | None
) -> None:
    async with misbehaving(chain, **changes), one_gateway(chain) as gateway:
        created = await gateway.send("POST", CONFIG_MAPS, config_map(name))
        assert created.status == 201, created.body
        assert stored(chain, name)
        listed = await gateway.send("GET", CONFIG_MAPS, holder="viewer")
        assert name in [item["metadata"]["name"] for item in json.loads(listed.body)["items"]]
        assert (await gateway.send("DELETE", f"{CONFIG_MAPS}/{name}")).status == 200
        assert not stored(chain, name)
        if seen is not None:
            assert gateway.dissents(0)[seen] >= 1


async def test_forged_events_were_not_believed(listener: Process) -> None:
    """By the listener of the test before."""
    refused = [line for line in listener.logged if line["message"] == "event not believed, nothing was run"]
    assert refused


async def test_a_refusal_on_chain_is_not_passed_off_as_a_success(chain: Stage, listener: Process) -> None:
    async with one_gateway(chain, admission_ttl_ms=60_000) as gateway:
        assert (await gateway.send("GET", CONFIG_MAPS, holder="viewer")).status == 200
        await revoke(chain, "viewer")
        async with misbehaving(chain, forge={"effects": opposite}):
            reply = await gateway.send("GET", CONFIG_MAPS, holder="viewer")
        assert reply.status == 403
        assert "ESealRevoked" in reply.body.decode()
        assert gateway.dissents(0)["contradicting"] >= 1


async def test_without_two_that_agree_nothing_is_believed(chain: Stage, listener: Process) -> None:
    second = chain.sui.grpc_ports[1]
    async with misbehaving(chain, forge={"object": flip}), one_gateway(chain) as gateway:
        chain.sui.misbehave(second, fail={"*": Failing()})
        try:
            reply = await gateway.send("POST", CONFIG_MAPS, config_map("lie"))
        finally:
            chain.sui.endpoints[second].reform()
    assert reply.status == 503, reply.body
    assert not stored(chain, "lie")
