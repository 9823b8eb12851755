"""Starting up: what does not fit the roots or the chain is refused before anything is run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from k3s_daas.contract.objects import ExecutorState
from k3s_daas.errors import ConfigurationError
from k3s_daas.sealing import SealingPrivateKey
from listener_service.assembly import Listener, assemble
from listener_service.journal import Journal
from listener_service.settings import ListenerIdentity, ListenerSettings
from tests.unit.contract_world import CHAIN_ID, CLUSTER, announced
from tests.unit.listener_world import NAMESPACE, NOW_MS, World, until
from tests.unit.scripted_api_server import ScriptedApiServer, scripted_api_server


@pytest.fixture
def api() -> Iterator[ScriptedApiServer]:
    with scripted_api_server() as script:
        yield script


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
        sui_endpoint="http://127.0.0.1:9",
        single_endpoint="development",
        executor_key_file=tmp_path / "executor.key",
        sealing_key_file=tmp_path / "sealing.key",
        state_dir=tmp_path / "state",
        kubeconfig=kubeconfig,
        listener_namespace=NAMESPACE,
    )


async def assembled(world: World, settings: ListenerSettings, ready: list[object] | None = None) -> Listener:
    identity = ListenerIdentity(world.roots, world.executor, world.sealing_key)
    announce: Callable[[object], None] = (ready if ready is not None else []).append
    return await assemble(settings, identity, on_ready=announce, ledger=world.ledger, clock=world.clock)


async def test_a_listener_announces_itself_once_and_works(
    settings: ListenerSettings, api: ScriptedApiServer
) -> None:
    world, ready, stop = World(), list[object](), asyncio.Event()
    listener = await assembled(world, settings, ready)
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
    assert len(api.seen) == 1


REFUSALS: dict[str, tuple[Callable[[World], None], str]] = {
    "another chain": (
        lambda world: setattr(
            world, "roots", replace(world.roots, chain_id="8" * 43 + "1", package_latest=bytes(32))
        ),
        "chain",
    ),
    "a clock that is behind": (lambda world: setattr(world.clock, "ms", NOW_MS - 90_000), "clock is 30 s"),
    "an executor that is not registered": (
        lambda world: setattr(world, "executor", world.gateway),
        "not registered",
    ),
    "a key that was not announced": (
        lambda world: setattr(world, "sealing_key", SealingPrivateKey.generate()),
        "daas executor rotate",
    ),
    "an executor without a key": (
        lambda world: world.set_cluster(executors=[ExecutorState(world.executor.address, b"", 0, b"")]),
        "daas executor rotate",
    ),
    "an announcement that somebody else signed": (
        lambda world: world.set_cluster(
            executors=[replace(announced(world.gateway, world.sealing_key), address=world.executor.address)]
        ),
        "does not count",
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
    Journal(settings.state_dir, chain_id=CHAIN_ID, cluster=CLUSTER).close()


async def test_the_namespace_must_be_the_one_that_the_contract_protects(settings: ListenerSettings) -> None:
    with pytest.raises(ConfigurationError, match="DAAS_LISTENER_NAMESPACE"):
        await assembled(World(), replace(settings, listener_namespace="elsewhere"))


@pytest.mark.parametrize(("stored", "chosen", "used"), [(10, 50, 50), (70, 50, 70), (None, 50, 50)])
async def test_an_operator_may_skip_forward_and_never_back(
    stored: int | None, chosen: int, used: int, settings: ListenerSettings
) -> None:
    journal = Journal(settings.state_dir, chain_id=CHAIN_ID, cluster=CLUSTER)
    if stored is not None:
        journal.set_watermark(stored)
    journal.close()
    listener = await assembled(World(), replace(settings, resume_after_checkpoint=chosen))
    await listener.close()
    assert listener.watermark == used
