"""kill -9 at random moments: every command is run once, or its caller knows that nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.chaos.commands import Commands
from tests.chaos.scale import dice, scaled, tallied
from tests.chaos.supervisor import Supervisor, supervised
from tests.integration.listener_stage import stage

pytestmark = pytest.mark.timeout(scaled(300, 3600))

# Kills and commands, by where events come from.
SIZES = {"grpc": scaled((6, 24), (100, 300)), "websocket": scaled((3, 12), (10, 40))}
Sending = Coroutine[Any, Any, None]
AtStep = Callable[[int, Callable[[], object]], AbstractContextManager[None]]
START_WITHIN_MS = scaled(12_000, 20_000)
# Of three kills, two hit the leader while it works.
OUT_OF = 3
# From a leader's death until the next one has settled in, with a lease of two seconds.
TAKEOVER_S = 3.0
# Between two steps of a command.
STEP_S = 0.05


@pytest.mark.parametrize("source", SIZES)
async def test_no_command_is_lost_or_run_twice_when_the_listener_is_killed(
    source: str, tmp_path: Path
) -> None:
    random, (kills, count) = dice(), SIZES[source]
    with tallied(f"1 listener killed, events by {source}") as tally:
        async with stage(tmp_path, jsonrpc_ports=1) as chain:
            commands = await Commands.prepare(chain, "kill", count)
            settings = chain.event_source(source)
            async with supervised(chain, DAAS_LEASE_SECONDS="2", **settings) as replicas:
                for number in range(kills):
                    each = count // kills
                    sending = commands.send(each, start_within_ms=START_WITHIN_MS)
                    if number % OUT_OF:
                        step = random.randint(1, 2 * each)
                        await kill_at_work(random, commands.at_step, step, replicas, sending)
                    else:
                        await kill_any(random, replicas, sending)
                await commands.collect(START_WITHIN_MS / 1000 + 30)
            tally.kills = replicas.kills
            commands.judge(tally)
            assert (tally.commands, tally.kills) == (count, kills)
            assert tally.executed_once, "what is never run is never run twice"


async def kill_any(random: Random, replicas: Supervisor, sending: Sending) -> None:
    """Some replica at any time, so also one that stands by, takes over, or has nothing to do."""
    async with asyncio.TaskGroup() as group:
        group.create_task(sending)
        await asyncio.sleep(random.uniform(0, TAKEOVER_S))
        replicas.kill(random.choice(await replicas.anybody()))


async def kill_at_work(
    random: Random, at_step: AtStep, number: int, replicas: Supervisor, sending: Sending
) -> None:
    """The leader, when so many steps of commands were taken: then, or a little later."""
    reached, loop = asyncio.Event(), asyncio.get_running_loop()
    at_once = random.choice((True, False))

    def step() -> None:
        # In the API server's thread: its reply has not left.
        if at_once:
            replicas.kill(leader)
        loop.call_soon_threadsafe(reached.set)

    leader = await replicas.leader_with_successor()
    with at_step(number, step):
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(sending)
            await reached.wait()
            await asyncio.sleep(random.uniform(0, STEP_S))
            replicas.kill(leader)
