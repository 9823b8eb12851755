"""Large replies: they wait for memory while they are read, and never for each other."""

from __future__ import annotations

import threading

from listener_service.queue.replies import SMALL_BYTES, Replies
from tests.unit.listener_world import World, until
from tests.unit.running_listener import listener, unpressed
from tests.unit.scripted_api_server import ScriptedApiServer, ScriptedReply

MIB = 1024 * 1024
NOW_S = 100.0


def replies(capacity: int) -> Replies:
    return Replies(lambda: capacity, monotonic=lambda: NOW_S)


def test_small_replies_take_nothing_and_never_wait() -> None:
    memory = replies(0)
    with memory.reply(b"a") as first, memory.reply(b"b") as second:
        assert first.grow(50 * MIB, NOW_S)
        assert second.grow(SMALL_BYTES, NOW_S)
        assert second.held_bytes == 0


def test_the_first_large_one_goes_on_and_others_wait_for_what_is_left() -> None:
    memory = replies(40 * MIB)
    with memory.reply(b"a") as first, memory.reply(b"b") as second, memory.reply(b"a") as third:
        assert first.grow(5 * MIB, NOW_S)
        assert memory.used_bytes == 20 * MIB
        assert not third.grow(3 * MIB, NOW_S), "its holder has his share"
        assert second.grow(3 * MIB, NOW_S)
        assert not second.grow(6 * MIB, NOW_S)
        assert first.grow(12 * MIB, NOW_S), "the oldest"
    assert memory.used_bytes == 0


def test_whoever_waits_goes_on_when_another_ends() -> None:
    memory = replies(8 * MIB)
    grown = threading.Event()
    with memory.reply(b"b") as second:
        with memory.reply(b"a") as first:
            assert first.grow(2 * MIB, NOW_S)

            def read() -> None:
                assert second.grow(2 * MIB, NOW_S + 10)
                grown.set()

            reading = threading.Thread(target=read)
            reading.start()
            assert not grown.wait(0.05)
        assert grown.wait(5)
        reading.join()
        assert memory.used_bytes == 8 * MIB


def test_a_reply_that_nobody_waits_for_any_more_is_dropped() -> None:
    memory = replies(8 * MIB)
    with memory.reply(b"a") as ended:
        pass
    assert not ended.grow(2 * MIB, NOW_S + 10)
    assert (memory.used_bytes, len(memory._large)) == (0, 0)


async def test_large_lists_at_the_same_time_are_all_answered_within_the_bound(
    api: ScriptedApiServer,
) -> None:
    world = World()
    body = b'{"kind":"PodList","items":[' + b" " * MIB + b"]}"
    api.reply = lambda _: ScriptedReply(body=body)
    commands = [world.command(query=f"limit={number + 1}") for number in range(8)]
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, running.service.queue.replies.used_bytes)
        return len(world.stored()) == 8

    async with listener(world, api, memory=unpressed(16 * MIB)) as running:
        for _, event in commands:
            world.ledger.publish(event)
        await until(watch, 20.0)
        await until(lambda: running.service.queue.is_empty)
        assert running.service.queue.replies.used_bytes == 0
    assert 0 < most <= 4 * MIB + 5 * MIB, "a quarter of the bound, and one reply"
    assert {status for status, _ in world.answers().values()} == {200}
