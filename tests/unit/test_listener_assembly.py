"""Starting up: what does not fit the roots or the chain is refused before anything is run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.endpoints import SuiEndpoints
from listener_service.assembly import Listener, assemble
from listener_service.clock import ClusterClock
from listener_service.event_source import ReplayPlan
from listener_service.health import checks
from listener_service.keys.settings import KeySettings
from listener_service.leadership import WATERMARK, lease_name
from listener_service.settings import ListenerIdentity, ListenerSettings
from listener_service.vitals import Phase
from tests.unit.listener_world import NAMESPACE, NOW_MS, POLICY, World, until
from tests.unit.memory_keys import MemoryWrapping, hold
from tests.unit.scripted_api_server import (
    ScriptedApiServer,
    ScriptedReply,
    SeenRequest,
)
from tests.unit.scripted_leases import ScriptedLeases


@pytest.fixture
def leases(api: ScriptedApiServer) -> ScriptedLeases:
    made = ScriptedLeases()
    api.reply = lambda request: made.reply(request) or ScriptedReply()
    api.now_ms = lambda: NOW_MS
    return made


@pytest.fixture
def settings(tmp_path: Path, api: ScriptedApiServer) -> ListenerSettings:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "http://127.0.0.1:{api.port}"}}}}]
users: [{{name: test, user: {{token: t}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
"""
    )
    return ListenerSettings(
        trust_roots_file=tmp_path / "roots.json",
        endpoints=SuiEndpoints(("http://127.0.0.1:9",)),
        keys=KeySettings(),
        kubeconfig=kubeconfig,
        listener_namespace=NAMESPACE,
    )


def held(world: World, leases: ScriptedLeases) -> MemoryWrapping:
    """With the world's sealing key in the Secret."""
    return hold(leases.secret, world.roots, world.executor.address, world.sealing_key, NOW_MS)


async def assembled(
    world: World,
    settings: ListenerSettings,
    ready: list[object] | None = None,
    wrapping: MemoryWrapping | None = None,
) -> Listener:
    identity = ListenerIdentity(world.roots, world.executor, wrapping or MemoryWrapping())
    announce: Callable[[object], None] = (ready if ready is not None else []).append
    return await assemble(settings, identity, on_ready=announce, ledger=world.ledger, clock=ClusterClock())


async def test_a_listener_announces_itself_once_and_works(
    settings: ListenerSettings, api: ScriptedApiServer, leases: ScriptedLeases
) -> None:
    world, ready, stop = World(), list[object](), asyncio.Event()
    listener = await assembled(world, settings, ready, held(world, leases))
    running = asyncio.create_task(listener.run(stop))
    await until(lambda: len(ready) == 1)
    requested, event = world.command()
    world.ledger.publish(event)
    await until(lambda: requested.request_id in world.answers())
    world.ledger.drop_streams()
    await until(lambda: bool(world.ledger.subscriptions))
    stop.set()
    await running
    await listener.close()
    assert len(ready) == 1
    assert len([seen for seen in api.seen if "/daas-system/" not in seen.target]) == 1
    assert leases.lead is not None
    assert leases.lead["spec"]["holderIdentity"] == ""
    assert int(leases.lead["metadata"]["annotations"][WATERMARK]) <= world.ledger.checkpoint


REFUSALS: dict[str, tuple[Callable[[World], None], str]] = {
    "another chain": (
        lambda world: setattr(
            world, "roots", replace(world.roots, chain_id="8" * 43 + "1", package_latest=bytes(32))
        ),
        "chain",
    ),
    "an executor that is not registered": (
        lambda world: setattr(world, "executor", world.gateway),
        "not registered",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_does_not_fit_is_refused_and_leaves_nothing_open(
    refusal: str, settings: ListenerSettings
) -> None:
    change, words = REFUSALS[refusal]
    world = World()
    change(world)
    with pytest.raises(ConfigurationError, match=words):
        await assembled(world, settings)
    assert world.ledger.closed


async def test_an_api_server_whose_clock_is_behind_the_chains_is_refused(
    settings: ListenerSettings, api: ScriptedApiServer, leases: ScriptedLeases
) -> None:
    api.now_ms = lambda: NOW_MS - 91_000
    listener = await assembled(World(), settings)
    with pytest.raises(ConfigurationError, match=r"clock is 3\d s behind"):
        await listener.run(asyncio.Event())
    await listener.close()
    assert leases.lead is not None
    assert leases.lead["spec"]["holderIdentity"] == "", "somebody else may lead"


async def test_while_another_one_leads_it_stands_by_and_ends_when_it_is_told(
    settings: ListenerSettings, leases: ScriptedLeases
) -> None:
    world, ready, stop = World(), list[object](), asyncio.Event()
    name = lease_name(world.roots, world.executor.address)
    leases.stored[name] = {
        "metadata": {"name": name, "resourceVersion": "1", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15},
    }
    listener = await assembled(world, settings, ready)
    running = asyncio.create_task(listener.run(stop))
    await until(lambda: bool(ready))
    [facts] = ready
    assert isinstance(facts, dict)
    assert facts["leading"] is False
    assert world.ledger.listed_from == []
    stop.set()
    await asyncio.wait_for(running, 2)
    await listener.close()
    assert leases.stored[name]["spec"]["holderIdentity"] == "another"


async def test_who_lost_the_lead_keeps_no_sealing_key(
    settings: ListenerSettings, api: ScriptedApiServer, leases: ScriptedLeases
) -> None:
    """Its successor erases them from the Secret, and cannot reach this memory."""
    world, stop = World(), asyncio.Event()
    listener = await assembled(world, replace(settings, lease_s=2), wrapping=held(world, leases))
    running = asyncio.create_task(listener.run(stop))
    await until(lambda: listener.vitals.keys().open == 1 and listener.vitals.phase is Phase.LEADING)

    def reply(request: SeenRequest) -> ScriptedReply:
        if request.method == "PUT" and "/leases/" in request.target:
            assert leases.lead is not None
            leases.lead["spec"]["holderIdentity"] = "another"
            return ScriptedReply(409, body=b'{"kind":"Status","reason":"Conflict"}')
        return leases.reply(request) or ScriptedReply()

    api.reply = reply
    await until(lambda: listener.vitals.keys().open == 0)
    assert listener.vitals.phase is Phase.STANDBY
    stop.set()
    await running
    await listener.close()


async def test_an_api_server_that_refuses_leases_is_a_sentence(
    settings: ListenerSettings, api: ScriptedApiServer
) -> None:
    api.reply = lambda _: ScriptedReply(403, body=b'{"kind":"Status","message":"leases is forbidden"}')
    listener = await assembled(World(), settings)
    with pytest.raises(ConfigurationError, match=r"leases is forbidden.*RBAC manifests"):
        await listener.run(asyncio.Event())
    await listener.close()


async def test_one_that_refuses_the_key_secret_while_it_restarts_is_waited_for(
    settings: ListenerSettings, api: ScriptedApiServer, leases: ScriptedLeases
) -> None:
    world, ready, stop, refused = World(), list[object](), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def reply(request: SeenRequest) -> ScriptedReply:
        if request.target.endswith("/secrets/daas-listener-keys"):
            loop.call_soon_threadsafe(refused.set)
            return ScriptedReply(403, body=b'{"kind":"Status","message":"secrets is forbidden"}')
        return leases.reply(request) or ScriptedReply()

    api.reply = reply
    listener = await assembled(world, settings, ready, held(world, leases))
    running = asyncio.create_task(listener.run(stop))
    await until(lambda: refused.is_set() and listener.vitals.phase is Phase.TAKING_OVER)
    assert [check.name for check in checks.ready(listener.vitals) if not check.passed] == ["running"]
    assert ready == []
    api.reply = lambda request: leases.reply(request) or ScriptedReply()
    await until(lambda: bool(ready) or running.done())
    stop.set()
    await running
    await listener.close()
    assert len(ready) == 1


async def test_the_namespace_must_be_the_one_that_the_contract_protects(settings: ListenerSettings) -> None:
    with pytest.raises(ConfigurationError, match="DAAS_LISTENER_NAMESPACE"):
        await assembled(World(), replace(settings, listener_namespace="elsewhere"))


async def test_without_a_watermark_the_policy_of_the_terms_beginning_says_how_far_back_to_look(
    settings: ListenerSettings, leases: ScriptedLeases
) -> None:
    world, stop, ready = World(), asyncio.Event(), list[object]()
    world.ledger.checkpoint = 1_000_000
    listener = await assembled(world, settings, ready, held(world, leases))
    world.set_cluster(policy=replace(POLICY, max_answer_ms=2 * POLICY.max_answer_ms))
    running = asyncio.create_task(listener.run(stop))
    await until(lambda: bool(ready))
    stop.set()
    await running
    await listener.close()
    fastest = ReplayPlan(0).fastest_checkpoints_per_second
    assert world.ledger.listed_from[0] == 1_000_000 - 2 * POLICY.max_answer_ms * fastest // 1000


@pytest.mark.parametrize(
    ("stored", "chosen", "used"), [(10, 50, 50), (70, 50, 70), (None, 50, 50), (70, None, 70), ("x", 50, 50)]
)
async def test_an_operator_may_skip_forward_and_never_back(
    stored: object, chosen: int | None, used: int, settings: ListenerSettings, leases: ScriptedLeases
) -> None:
    annotations = {} if stored is None else {WATERMARK: str(stored)}
    world, stop, ready = World(), asyncio.Event(), list[object]()
    name = lease_name(world.roots, world.executor.address)
    leases.stored[name] = {
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "annotations": annotations,
        },
        "spec": {"holderIdentity": ""},
    }
    world.ledger.checkpoint = 100
    chosen_settings = replace(settings, resume_after_checkpoint=chosen)
    listener = await assembled(world, chosen_settings, ready, held(world, leases))
    running = asyncio.create_task(listener.run(stop))
    await until(lambda: bool(ready))
    stop.set()
    await running
    await listener.close()
    assert world.ledger.listed_from[0] == used + 1
