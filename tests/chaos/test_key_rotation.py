"""Rotation of the sealing key under commands: real processes, the Secret at an API server, the chain.

The Kubernetes API runs in this process, so a listener can be killed at the moment when the Secret was
written, before it hears of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from infra.local.kube.store import Change
from infra.local.stack.chain import LISTENER_NAMESPACE
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import ExecutorState
from k3s_daas.envelope import RequestEnvelope
from k3s_daas.payload import split
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from listener_service.clock import ClusterClock
from listener_service.keys.generations import Generation, Generations
from listener_service.keys.secret import ROTATE, SECRET_NAME, SecretStore
from listener_service.kube_objects import (
    KubeForbiddenError,
    KubeObjects,
    KubeRefusedError,
    ObjectChangedError,
)
from listener_service.leadership import lease_name
from tests.integration.held_keys import secret_store
from tests.integration.listener_stage import Asked, Process, Stage, stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
# A key is replaced after this time; a step is taken four times as often.
QUICK = {"DAAS_KEY_ROTATION_SECONDS": "4", "DAAS_LEASE_SECONDS": "2"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("key-rotation")) as made:
        yield made


async def executor(chain: Stage) -> ExecutorState:
    return (await chain.reader.cluster()).executors[chain.services.executor.address]


async def present_key(chain: Stage) -> SealingPublicKey:
    return announced_key(await executor(chain), chain.chain.roots)


async def announced_after(chain: Stage, generation: int) -> SealingPublicKey:
    """Waits for a later generation on chain."""
    async with asyncio.timeout(30):
        while (state := await executor(chain)).generation <= generation:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.02)
    return announced_key(state, chain.chain.roots)


async def in_force(process: Process) -> None:
    """Waits until the process leads and has a key."""
    async with asyncio.timeout(30):
        while "sealing key in force" not in process.messages():  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


async def submit_for(chain: Stage, key: SealingPublicKey) -> Asked:
    """A read by a gateway that knows `key` as the executor's."""
    made: list[RequestEnvelope] = []
    cluster, seal = chain.chain.roots.cluster, chain.holder("operator").seal

    def remember(envelope: RequestEnvelope) -> RequestEnvelope:
        made.append(envelope)
        return envelope

    return await chain.submit(
        "GET",
        CONFIG_MAPS,
        envelope_with=remember,
        command_with=lambda command: replace(
            command,
            payload=split(key.seal(made[-1].encode(), request_info(cluster, seal, command.request_id))),
        ),
    )


def entry(chain: Stage) -> str:
    return lease_name(chain.chain.roots, chain.services.executor.address)


def written(secret: dict[str, Any], name: str) -> list[dict[str, Any]]:
    text = (secret.get("data") or {}).get(name)
    return [] if text is None else list(json.loads(base64.b64decode(text))["generations"])


@contextmanager
def at_new_generation(chain: Stage, process: Process) -> Iterator[list[int]]:
    """Kills the process when it has written a generation down, before it hears of it."""
    held, killed = len(written(chain.keys_secret(), entry(chain))), list[int]()

    def follow(change: Change) -> None:
        if change.object["kind"] != "Secret" or change.object["metadata"]["name"] != SECRET_NAME:
            return
        if len(written(change.object, entry(chain))) > held and not killed:
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    forget = chain.cluster.store.subscribe(follow)
    try:
        yield killed
    finally:
        forget()


async def test_commands_go_on_while_keys_are_replaced(chain: Stage) -> None:
    old, generation = await present_key(chain), (await executor(chain)).generation
    async with chain.listener(**QUICK) as process:
        statuses = []
        while (await executor(chain)).generation < generation + 2:
            statuses.append((await chain.ask("GET", CONFIG_MAPS)).status)
        assert len(statuses) > 5
        assert set(statuses) == {200}
        assert (await present_key(chain)).key_id != old.key_id
        # A gateway that has not seen the new key yet.
        assert (await chain.answer(await submit_for(chain, old))).status == 200
        assert process.messages().count("sealing key announced") >= 1


async def test_the_secret_and_the_log_show_no_key(chain: Stage) -> None:
    assert chain.services.sealing is not None
    private = chain.services.sealing.private_bytes()
    async with chain.listener() as process:
        await chain.ask("GET", CONFIG_MAPS)
    secret = json.dumps(chain.keys_secret())
    content = base64.b64decode(chain.keys_secret()["data"][entry(chain)]).decode()
    # Both halves are made of secrets; neither may be there, in whatever spelling.
    for part in (private, private[:32], private[64:]):
        for text in (part.hex(), base64.b64encode(part).decode().rstrip("=")[:-1]):
            assert text not in secret + content + json.dumps(process.logged)
    assert chain.services.sealing.public_key.key_id.hex() in content


async def test_what_is_sealed_for_an_erased_key_is_refused_and_says_so(chain: Stage) -> None:
    store = secret_store(
        chain.kubeconfig, LISTENER_NAMESPACE, chain.chain.roots, chain.services.executor.address
    )
    assert chain.services.sealing is not None
    erased, present = chain.services.sealing.public_key, await present_key(chain)
    assert erased.key_id != present.key_id
    kept = await store.read()
    left = [item for item in kept.generations.items if item.key_id != erased.key_id.hex()]
    await store.replace(kept, Generations(tuple(left)))
    store.close()
    async with chain.listener() as process:
        asked = await submit_for(chain, erased)
        assert (await chain.ask("GET", CONFIG_MAPS)).status == 200
        async with asyncio.timeout(30):
            while (answered := (await chain.request(asked)).response) is None:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.01)
            # What it logged may arrive after what it answered.
            while "unknown-key" not in [line.get("reason") for line in process.logged]:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.01)
        assert answered.status_code == 503


async def test_a_listener_killed_between_writing_and_announcing_is_succeeded(chain: Stage) -> None:
    """What was written is what its successor announces; the key in force opens all the time."""
    async with (
        chain.listener(**QUICK) as leader,
        chain.listener(**QUICK) as other,
    ):
        await in_force(leader)
        with at_new_generation(chain, leader) as killed:
            generation, old = (await executor(chain)).generation, await present_key(chain)
            async with asyncio.timeout(30):
                while not killed:  # noqa: ASYNC110  another thread
                    await asyncio.sleep(0.01)
            pending = written(chain.keys_secret(), entry(chain))[-1]["key_id"]
        assert (await executor(chain)).generation == generation
        new = await announced_after(chain, generation)
        assert new.key_id.hex() == pending
        await in_force(other)
        for key in (old, new):
            assert (await chain.answer(await submit_for(chain, key))).status == 200


async def test_a_listener_killed_after_announcing_is_succeeded(chain: Stage) -> None:
    generation, old = (await executor(chain)).generation, await present_key(chain)
    async with chain.listener(**QUICK) as leader:
        new = await announced_after(chain, generation)
        await leader.end(signal.SIGKILL)
    asked = [await submit_for(chain, key) for key in (old, new)]
    async with chain.listener():
        assert [(await chain.answer(one)).status for one in asked] == [200, 200]
    items = written(chain.keys_secret(), entry(chain))
    assert [item["superseded_ms"] is None for item in items] == [False] * (len(items) - 1) + [True]


async def test_the_secret_is_kept_as_the_port_promises(chain: Stage) -> None:
    server = ApiServer(lambda: load_configuration(chain.kubeconfig), connections=1)
    objects = KubeObjects(server, ClusterClock(), threads=1, timeout_s=5)
    store = SecretStore(objects, LISTENER_NAMESPACE, "one")
    theirs = SecretStore(objects, LISTENER_NAMESPACE, "two")
    before = chain.keys_secret()["data"]
    generations = Generations((Generation("00" * 8, 1, 5, b"wrapped"),))
    try:
        kept, stale = await store.read(), await store.read()
        assert (kept.generations, kept.rotation_asked) == (Generations(), False)
        kept = await store.replace(kept, generations)
        assert (await store.read()) == kept
        with pytest.raises(ObjectChangedError):
            await store.replace(stale, Generations())
        await theirs.replace(await theirs.read(), Generations())
        assert (await store.read()).generations == generations
        data = chain.keys_secret()["data"]
        assert {name: data[name] for name in before} == before

        asked = await objects.get(f"/api/v1/namespaces/{LISTENER_NAMESPACE}/secrets/{SECRET_NAME}")
        asked["metadata"]["annotations"] = {ROTATE: "now", "somebody.else/note": "kept"}
        await objects.replace(f"/api/v1/namespaces/{LISTENER_NAMESPACE}/secrets/{SECRET_NAME}", asked)
        kept = await store.read()
        assert kept.rotation_asked
        assert not (await store.replace(kept, generations, answered=True)).rotation_asked
        assert chain.keys_secret()["metadata"]["annotations"] == {"somebody.else/note": "kept"}

        secrets = f"/api/v1/namespaces/{LISTENER_NAMESPACE}/secrets"
        for target in (f"{secrets}/other", secrets):
            with pytest.raises(KubeRefusedError, match="forbidden"):
                await objects.get(target)
        with pytest.raises(KubeRefusedError, match="forbidden"):
            await objects.create(secrets, asked)
        with pytest.raises(KubeForbiddenError, match="apply its manifests"):
            await SecretStore(objects, "default", "one").read()
    finally:
        store.close()


async def test_an_executor_without_a_key_announces_its_first(chain: Stage) -> None:
    """As after `daas executor add`: the Secret is empty, and the chain shows a key that nobody holds."""
    store = secret_store(
        chain.kubeconfig, LISTENER_NAMESPACE, chain.chain.roots, chain.services.executor.address
    )
    await store.replace(await store.read(), Generations())
    store.close()
    generation, lost = (await executor(chain)).generation, await present_key(chain)
    async with chain.listener() as process:
        await in_force(process)
        assert (await executor(chain)).generation == generation + 1
        assert (await chain.ask("GET", CONFIG_MAPS)).status == 200
        asked = await submit_for(chain, SealingPrivateKey.generate().public_key)
        lost_one = await submit_for(chain, lost)
        await chain.ask("GET", CONFIG_MAPS)
        for one in (asked, lost_one):
            async with asyncio.timeout(10):
                while (answered := (await chain.request(one)).response) is None:  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.01)
            assert answered.status_code == 503
        assert any("is not in the Secret" in message for message in process.messages())
