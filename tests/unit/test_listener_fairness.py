"""Many commands at a few places: what holders owe each other, and what becomes of those that must wait."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import pytest

from k3s_daas.contract.calls import SharedRef
from tests.unit.listener_world import World, until
from tests.unit.running_listener import listener, unpressed
from tests.unit.scripted_api_server import ScriptedApiServer, ScriptedReply, SeenRequest, scripted_api_server

OTHER_SEAL = SharedRef(hashlib.sha256(b"other seal").digest(), 3)
OTHER_OWNER = hashlib.sha256(b"other owner").digest()
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def world() -> World:
    world = World()
    world.add_seal(OTHER_SEAL, OTHER_OWNER)
    return world


class SlowApiServer:
    """Holds what is asked with `slow` in its query until it is let go."""

    def __init__(self, script: ScriptedApiServer) -> None:
        self.script = script
        self.let_go = threading.Event()
        script.reply = self._reply

    def _reply(self, seen: SeenRequest) -> ScriptedReply:
        if "slow" in seen.target:
            self.let_go.wait(10)
        return ScriptedReply()

    @property
    def seen(self) -> list[str]:
        return [seen.target for seen in self.script.seen]


@pytest.fixture
def api() -> Iterator[SlowApiServer]:
    with scripted_api_server() as script:
        slow = SlowApiServer(script)
        yield slow
        slow.let_go.set()


async def test_a_thousand_requests_of_one_holder_that_hang_delay_no_get_of_another(
    world: World, api: SlowApiServer
) -> None:
    flood = [world.command(query=f"slow={number}") for number in range(1_000)]
    single, event = world.command("GET", f"{PODS}/web", seal=OTHER_SEAL, owner=OTHER_OWNER)
    async with listener(world, api.script, concurrency=4) as running:
        for _, one in flood:
            world.ledger.publish(one)
        await until(lambda: len(api.seen) == 2 and running.service.queue.waiting == 998, 20.0)
        world.ledger.publish(event)
        await until(lambda: single.request_id in world.answers())
        assert api.seen[2:] == [f"{PODS}/web"]
        assert running.service.queue.waiting == 998
        running.stop.set()
        api.let_go.set()


async def test_several_seals_of_one_owner_have_one_share(world: World, api: SlowApiServer) -> None:
    world.add_seal(SharedRef(bytes(32), 3), OTHER_OWNER)
    async with listener(world, api.script, concurrency=4) as running:
        for seal in (OTHER_SEAL, SharedRef(bytes(32), 3)):
            for _ in range(4):
                _, event = world.command(query="slow=1", seal=seal, owner=OTHER_OWNER)
                world.ledger.publish(event)
        await until(lambda: running.service.queue.waiting == 6 and len(api.seen) == 2)
        api.let_go.set()
        await until(lambda: len(world.stored()) == 8)


async def test_what_can_no_longer_start_is_answered_while_others_still_run(
    world: World, api: SlowApiServer
) -> None:
    running_one, first = world.command(query="slow=1")
    waiting, second = world.command("DELETE", f"{PODS}/web")
    behind, third = world.command("PATCH", f"{PODS}/web")
    slow, blocking = world.command("PATCH", f"{PODS}/web", "fieldManager=slow")
    async with listener(world, api.script, concurrency=1) as running:
        for event in (first, blocking, second, third):
            world.ledger.publish(event)
        await until(lambda: len(api.seen) == 2 and running.service.queue.waiting == 2)
        world.clock.ms = waiting.start_by_ms + 200
        await until(lambda: len(world.stored()) == 2)
        answered = {request_id: status for request_id, status, _ in world.stored()}
        assert answered == {waiting.request_id: 504, behind.request_id: 504}
        assert len(api.seen) == 2
        api.let_go.set()
        await until(lambda: len(world.stored()) == 4)
    assert world.answers()[running_one.request_id][0] == 200
    assert world.answers()[slow.request_id][0] == 200


async def test_a_full_queue_stops_the_stream_and_what_is_in_work_goes_on(
    world: World, api: SlowApiServer
) -> None:
    commands = [world.command(query=f"slow={number}") for number in range(16)]
    async with listener(world, api.script, concurrency=2, memory=unpressed(64 * 1024)) as running:
        queue = running.service.queue
        before = world.ledger.checkpoint
        for _, event in commands:
            world.ledger.publish(event)
        await until(lambda: len(api.seen) == 1 and queue.waiting > 4)
        assert queue.waiting < 10
        assert running.service.watermark in (None, before)
        api.let_go.set()
        await until(lambda: len(world.stored()) == 16)
        world.ledger.progress()
        await until(lambda: running.service.watermark == world.ledger.checkpoint)
        assert queue.is_empty
        assert queue.used_bytes == 0


async def test_the_watermark_waits_for_what_was_overtaken(world: World, api: SlowApiServer) -> None:
    _, slow = world.command(query="slow=1")
    quick = [world.command() for _ in range(3)]
    async with listener(world, api.script) as running:
        world.ledger.publish(slow)
        held = world.ledger.checkpoint - 1
        for _, event in quick:
            world.ledger.publish(event)
        world.ledger.progress()
        await until(lambda: len(world.stored()) == 3)
        assert running.service.watermark == held
        api.let_go.set()
        await until(lambda: running.service.watermark == world.ledger.checkpoint)


async def test_what_waits_when_a_listener_stops_is_left_to_the_next_one(
    world: World, api: SlowApiServer
) -> None:
    commands = [world.command(query=f"slow={number}") for number in range(5)]
    async with listener(world, api.script, concurrency=1) as running:
        for _, event in commands:
            world.ledger.publish(event)
        await until(lambda: len(api.seen) == 1 and running.service.queue.waiting == 4)
        running.stop.set()
        await until(lambda: running.service.queue.is_closed)
        api.let_go.set()
        await running.task
    assert set(world.answers()) == {commands[0][0].request_id}
    world.answered_on_chain(commands[0][0])
    async with listener(world, api.script, identity="two", concurrency=1):
        await until(lambda: len(world.answers()) == 5)
    assert [target.rpartition("=")[2] for target in api.seen] == ["0", "1", "2", "3", "4"]
