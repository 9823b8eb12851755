"""Finality and checkpoints: when what is seen, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import hash_named
from tests.unit.ledger_world import START_MS, World, number_of, setting


async def test_without_an_interval_every_transaction_closes_a_checkpoint() -> None:
    world = World()
    target = await world.shared_box(1)
    executed = await world.run(setting(target, 2))
    checkpoints = world.ledger.checkpoints.checkpoints
    assert [len(checkpoint.transactions) for checkpoint in checkpoints] == [0, 1, 1]
    assert (executed.checkpoint, executed.index, executed.checkpoint_ms) == (2, 0, START_MS)
    assert [checkpoint.network_transactions for checkpoint in checkpoints] == [0, 1, 2]


async def test_checkpoints_form_a_chain_of_hashes() -> None:
    world = World()
    await world.shared_box(1)
    genesis, first = world.ledger.checkpoints.checkpoints
    assert genesis.digest == world.ledger.chain_id
    assert (genesis.previous, first.previous) == (None, genesis.digest)
    assert first.digest == hash_named("CheckpointSummary", first.summary)
    assert first.content_digest in first.summary


async def test_two_chains_differ_and_a_seed_repeats_one() -> None:
    first, second = World(), World()
    assert first.ledger.chain_id == second.ledger.chain_id
    second.ledger.advance_epoch()
    assert first.ledger.checkpoints.tip.digest != second.ledger.checkpoints.tip.digest


async def test_events_get_positions_in_order() -> None:
    world = World(checkpoint_ms=60_000)
    targets = [await world.shared_box(n) for n in range(3)]
    executed = [await world.run(setting(target, 10 + n)) for n, target in enumerate(targets)]
    assert world.ledger.checkpoints.events == []
    assert executed[0].checkpoint is None
    world.ledger.close_checkpoint()
    events = world.ledger.checkpoints.events
    assert [indexed.position for indexed in events] == [0, 1, 2]
    assert [indexed.transaction for indexed in events] == executed
    assert [one.checkpoint for one in executed] == [1, 1, 1]


async def test_nobody_sees_a_transaction_before_it_is_final() -> None:
    world = World(finality_ms=60)
    target = await world.shared_box(1)
    loop = asyncio.get_running_loop()
    before = loop.time()
    running = asyncio.create_task(world.run(setting(target, 2)))
    following = asyncio.create_task(world.run(setting(target, 3)))
    await asyncio.sleep(0.02)
    assert number_of(world.live(target.id)) == 1
    await asyncio.gather(running, following)
    assert 0.06 <= loop.time() - before < 0.5, "both wait for finality at the same time, not in turn"
    assert number_of(world.live(target.id)) == 3


async def test_a_sender_that_hangs_up_does_not_stop_its_transaction() -> None:
    world = World(finality_ms=10)
    target = await world.shared_box(1)
    encoded, signature = world.sign(setting(target, 2))
    sender = asyncio.create_task(world.ledger.execute(encoded, [signature]))
    await asyncio.sleep(0)
    sender.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sender
    executed = await world.ledger.execute(encoded, [signature])
    assert executed.effects.success
    assert number_of(world.live(target.id)) == 2


async def test_checkpoints_close_by_themselves() -> None:
    world = World(checkpoint_ms=5)
    await world.ledger.start()
    try:
        executed = await world.call("share", bytes(8))
        async with asyncio.timeout(5):
            async for checkpoint in world.ledger.checkpoints.follow(1):
                if executed in checkpoint.transactions:
                    break
    finally:
        await world.ledger.close()
    assert executed.checkpoint is not None


def test_a_chains_clock_does_not_go_back() -> None:
    clock = ManualClock(START_MS)
    clock.advance(5)
    assert clock.now_ms() == START_MS + 5
    with pytest.raises(ValueError, match="cannot go back"):
        clock.set(START_MS)
