"""A fullnode lies: one of three, which delivers all the events that the listener sees.

Nothing that nobody signed runs, nothing runs twice or late, and each lie is counted by its reason. In memory,
so that every lie can be told; what real endpoints do besides is in the tests of the quorum.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio

from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.ids import to_hex
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.ledger import ChainEvent, SignedTransaction
from k3s_daas.sui.quorum import QuorumLedger
from listener_service.counts import CLAIMED_BEFORE, TOO_LATE, Tally
from tests.integration.listener_stage import JSON, Stage, stage
from tests.unit.contract_world import (
    HOUR_MS,
    PACKAGE,
    announced,
    cluster_object,
    cluster_state,
    seal_object,
    seal_state,
)
from tests.unit.listener_world import (
    NAMESPACE,
    NOW_MS,
    POLICY,
    ScriptedLedger,
    World,
    encode_event,
    other_signer,
    until,
)
from tests.unit.running_listener import Running, listener
from tests.unit.scripted_api_server import ScriptedApiServer, scripted_api_server

POD = "/api/v1/namespaces/default/pods/web"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass
class Three:
    """A world whose ledger lies, among two that do not."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.liar = self.world.ledger
        self.honest = [ScriptedLedger(objects=dict(self.liar.objects)) for _ in range(2)]
        self.believed = QuorumLedger([self.liar, *self.honest], 2)

    def command(self, *arguments: Any, **options: Any) -> tuple[ApiRequested, ChainEvent]:
        """A genuine command, which all of them know; what `event` and `type_tag` change, the liar says."""
        requested, event = self.world.command(*arguments, **options)
        digest = event.transaction_digest
        for ledger in self.honest:
            ledger.transactions[digest] = self.liar.transactions[digest]
        return requested, event

    def dissents(self) -> Counter[str]:
        return sum(self.believed.dissents.values(), Counter[str]())


@pytest.fixture
def three() -> Three:
    return Three()


@pytest.fixture
def api() -> Iterator[ScriptedApiServer]:
    with scripted_api_server() as script:
        yield script


def counted(running: Running) -> dict[str, int]:
    counts = running.service.counts
    assert isinstance(counts, Tally)
    return dict(counts.by_reason)


async def only_a_genuine_read_runs(three: Three, api: ScriptedApiServer, *lies: ChainEvent) -> dict[str, int]:
    """Tells the lies, then a genuine command; what was counted when that is answered."""
    genuine, after = three.command()
    async with listener(three.world, api, believed=three.believed) as running:
        for lie in lies:
            three.liar.publish(lie)
        await until(lambda: sum(counted(running).values()) >= len(lies))
        three.liar.publish(after)
        await until(lambda: genuine.request_id in three.world.answers())
        found = counted(running)
    assert [seen.method for seen in api.seen] == ["GET"], "nothing but the genuine read"
    return found


Lie = Callable[[ApiRequested], ApiRequested]

LIES: dict[str, tuple[Lie, str]] = {
    "cluster's executor": (lambda event: replace(event, executor=bytes(32)), "unknown-executor"),
    "gateway": (lambda event: replace(event, gateway=bytes(32)), "unknown-gateway"),
    "seal": (lambda event: replace(event, seal=hashlib.sha256(b"x").digest()), "unknown-seal"),
    "request id": (lambda event: replace(event, request_id=bytes(16)), "not-authorised"),
    "role": (lambda event: replace(event, role="admin"), "wrong-seal"),
    "session key": (lambda event: replace(event, session_key=bytes(32)), "not-authorised"),
    "payload hash": (lambda event: replace(event, payload_hash=bytes(32)), "wrong-hash"),
    "payload size": (lambda event: replace(event, payload_size=1), "wrong-size"),
    "payload reference": (lambda event: replace(event, payload_reference=b"x"), "not-authorised"),
    "accepted at": (lambda event: replace(event, accepted_at_ms=NOW_MS + HOUR_MS), "not-authorised"),
    "start by": (lambda event: replace(event, start_by_ms=event.start_by_ms + 1), "not-authorised"),
    "finish by": (lambda event: replace(event, finish_by_ms=event.finish_by_ms + 1), "not-authorised"),
    "answer by": (lambda event: replace(event, answer_by_ms=event.answer_by_ms + 1), "not-authorised"),
    **{
        f"attribute {name}": (
            lambda event, name=name, value=value: replace(  # type: ignore[misc]  # bound in the loop
                event, attributes=replace(event.attributes, **{name: value})
            ),
            "not-authorised",
        )
        for name, value in (
            ("verb", "get"),
            ("api_group", "apps"),
            ("api_version", "v2"),
            ("resource", "secrets"),
            ("subresource", "status"),
            ("namespace", "kube-system"),
            ("name", "db"),
            ("non_resource_url", "/version"),
        )
    },
}


@pytest.mark.parametrize("name", LIES)
async def test_an_altered_field_is_not_believed(name: str, three: Three, api: ScriptedApiServer) -> None:
    change, reason = LIES[name]
    _, lie = three.command("DELETE", POD, event=change)
    found = await only_a_genuine_read_runs(three, api, lie)
    assert sum(found.values()) == 1
    assert found.get(reason) == 1, found


async def test_the_requester_is_the_seals_owner_whatever_the_event_says(
    three: Three, api: ScriptedApiServer
) -> None:
    """Who is impersonated is decided by the seal that two endpoints confirm."""
    _, lie = three.command("DELETE", POD, event=lambda event: replace(event, requester=bytes(32)))
    found = await only_a_genuine_read_runs(three, api, lie)
    assert sum(found.values()) == 1


async def test_an_invented_event_has_no_transaction(three: Three, api: ScriptedApiServer) -> None:
    _, lie = three.world.command("DELETE", POD)
    three.liar.transactions.clear()
    three.world.clock.ms += 1

    # The liar says that it knows the transaction, the others never heard of it.
    found = await _with_moving_clock(three, api, lie)
    assert sum(found.values()) == 1


async def _with_moving_clock(three: Three, api: ScriptedApiServer, lie: ChainEvent) -> dict[str, int]:
    """Patience with an endpoint that may lag ends after a time, which is let pass here."""
    genuine, after = three.command()
    async with listener(three.world, api, believed=three.believed) as running:
        three.liar.publish(lie)
        async with asyncio.timeout(20):
            while not counted(running):
                await asyncio.sleep(0.01)
                three.world.clock.ms += 5_000
        found = counted(running)
        three.world.clock.ms = NOW_MS
        three.liar.publish(after)
        await until(lambda: genuine.request_id in three.world.answers())
    assert [seen.method for seen in api.seen] == ["GET"]
    return found


async def test_events_of_a_package_with_the_same_module_name(three: Three, api: ScriptedApiServer) -> None:
    other = hashlib.sha256(b"another package").digest()
    lies = [
        three.command("DELETE", POD, type_tag=tag)[1]
        for tag in (
            event_type(other, API_REQUEST),
            f"{to_hex(PACKAGE)}::k8s_gateway::{API_REQUEST}",
            f"{to_hex(PACKAGE)}::events::{API_REQUEST}<u8>",
            f"{to_hex(PACKAGE)}::events::{API_REQUEST}2",
        )
    ]
    assert await only_a_genuine_read_runs(three, api, *lies) == {"wrong-type": len(lies)}


async def test_an_old_event_is_replayed(three: Three, api: ScriptedApiServer) -> None:
    """At another place of the stream, so that it is no duplicate; and again when another replica leads."""
    requested, event = three.command("DELETE", POD)
    async with listener(three.world, api, believed=three.believed) as running:
        three.liar.publish(event)
        await until(lambda: requested.request_id in three.world.answers())
        three.liar.publish(replace(event, event_index=event.event_index + 1))
        await until(lambda: counted(running) == {CLAIMED_BEFORE: 1})
    async with listener(three.world, api, believed=three.believed, identity="two") as running:
        three.liar.publish(replace(event, event_index=event.event_index + 2))
        genuine, after = three.command()
        three.liar.publish(after)
        await until(lambda: genuine.request_id in three.world.answers())
    assert [seen.method for seen in api.seen] == ["DELETE", "GET"]


async def test_a_withheld_request_is_delivered_after_start_by(three: Three, api: ScriptedApiServer) -> None:
    requested, event = three.command("DELETE", POD)
    async with listener(three.world, api, believed=three.believed) as running:
        three.world.clock.ms = requested.start_by_ms + 1
        three.liar.publish(event)
        await until(lambda: requested.request_id in three.world.answers())
        assert counted(running) == {TOO_LATE: 1}
        assert three.world.answers()[requested.request_id][0] == 504
        three.world.clock.ms = requested.answer_by_ms + 1
        three.liar.publish(replace(event, event_index=1))
        await until(lambda: counted(running) == {TOO_LATE: 2})
    assert api.seen == []


async def test_a_forged_cluster_has_another_gateway_and_another_key(
    three: Three, api: ScriptedApiServer
) -> None:
    """Its own gateway signs, for its own HPKE key: neither the chain's word nor the pinned roots say so."""
    mallory = other_signer()
    three.liar.put(
        cluster_object(
            cluster_state(
                executors=[announced(mallory, SealingPrivateKey.generate())],
                gateways=[mallory.address],
                namespace="elsewhere",
                policy=replace(POLICY, max_start_ms=HOUR_MS),
                is_open=True,
            )
        )
    )
    _, signed = three.command("DELETE", POD, signer=mallory)
    _, named = three.command(
        "DELETE", POD, signer=mallory, event=lambda made: replace(made, gateway=mallory.address)
    )
    # The namespace that the forged cluster does not protect.
    refused, own = three.command("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/x")
    found = await only_a_genuine_read_runs(three, api, signed, named, own)
    assert found == {"not-authorised": 1, "unknown-gateway": 1, "standing": 1}
    assert three.world.answers()[refused.request_id][0] == 403
    assert three.dissents()["contradicting"] >= 1


@pytest.mark.parametrize("lie", ["revoked", "stake", "expired", "session", "owner"])
async def test_a_forged_seal(lie: str, three: Three, api: ScriptedApiServer) -> None:
    """As it is confirmed by the two honest ones, it may not; the liar shows it as it was."""
    told: dict[str, dict[str, Any]] = {
        "revoked": {"revoked": True},
        "stake": {"stake": 1},
        "expired": {"expires_at_ms": NOW_MS},
        "session": {},
        "owner": {"owner": hashlib.sha256(b"a buyer").digest()},
    }
    terms = {"stake": 5_000, "expires_at_ms": NOW_MS + HOUR_MS, **told[lie]}
    truth = seal_state(sessions={}, **terms)
    for ledger in three.honest:
        ledger.put(seal_object(truth))
    requested, event = three.command("DELETE", POD)
    async with listener(three.world, api, believed=three.believed) as running:
        three.liar.publish(event)
        await until(lambda: bool(counted(running)))
        assert counted(running) == {"standing": 1}
        await until(lambda: requested.request_id in three.world.answers())
    assert api.seen == []
    assert three.dissents()["contradicting"] >= 1


async def test_a_refused_transaction_is_passed_off_as_a_success(three: Three, api: ScriptedApiServer) -> None:
    def aborted(done: SignedTransaction) -> SignedTransaction:
        return replace(done, success=False)

    _, event = three.command("DELETE", POD, transaction=aborted)
    digest = event.transaction_digest
    three.liar.transactions[digest] = replace(three.liar.transactions[digest], success=True)
    assert await only_a_genuine_read_runs(three, api, event) == {"not-authorised": 1}
    assert three.dissents()["contradicting"] >= 1


@pytest_asyncio.fixture
async def chain(tmp_path: Any) -> AsyncIterator[Stage]:
    async with stage(tmp_path, ports=4) as made:
        yield made


async def test_real_endpoints_one_of_which_alters_events(chain: Stage) -> None:
    """The real contract, three real endpoints and a listener process: each command runs exactly once, from
    the events of the honest ones, and each altered event is reported with its reason."""
    liar, *others = chain.sui.grpc_ports[:3]
    environment = {
        "DAAS_SUI_ENDPOINT": "",
        "DAAS_SINGLE_ENDPOINT": "",
        "DAAS_SUI_ENDPOINTS": ",".join(f"http://127.0.0.1:{port}" for port in (liar, *others)),
        "DAAS_QUORUM": "2",
    }
    told = {name: LIES[name] for name in ("role", "start by", "payload hash", "attribute name", "gateway")}
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(chain.listener(**environment))
        for number, (change, _) in enumerate(told.values()):

            def forge(message: Any, change: Lie = change) -> None:
                requested = ApiRequested.decode(message.contents.value)
                message.contents.value = encode_event(change(requested))

            chain.sui.misbehave(liar, forge={"event": forge})
            body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c%d"}}' % number
            answer = await chain.ask("POST", CONFIG_MAPS, body=body, headers=JSON)
            assert answer.status == 201, answer.body
        async with asyncio.timeout(10):
            while _reasons(process.logged) != Counter(reason for _, reason in told.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    names = {one["metadata"]["name"] for one in chain.cluster.store.objects(("", "configmaps"), "default")}
    assert {f"c{number}" for number in range(len(told))} <= names


def _reasons(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(
        line["reason"] for line in lines if line["message"] == "event not believed, nothing was run"
    )
