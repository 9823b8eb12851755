"""Replicas of the listener, each of which is started again when it ended, as Kubernetes does it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.integration.listener_stage import Process, Stage

# One leads, one stands by, and one starts again, which takes longer than to take over.
REPLICAS = 3
LEADS, STANDS_BY, TERM_IS_OVER = "leading", "standing by", "the term is over"


class Supervisor:
    """`running` has the replicas that are ready."""

    def __init__(self, chain: Stage, settings: dict[str, str]) -> None:
        self.running: list[Process] = []
        self.kills = 0
        self._chain = chain
        self._settings = settings

    async def leader_with_successor(self) -> Process:
        """Whoever leads, as soon as somebody does and another one stands by."""
        while True:
            states = {state(one): one for one in self.running}
            if LEADS in states and STANDS_BY in states:
                return states[LEADS]
            await asyncio.sleep(0.005)

    async def anybody(self) -> list[Process]:
        """The replicas that are ready, as soon as there are any."""
        while not self.running:  # noqa: ASYNC110  processes
            await asyncio.sleep(0.005)
        return list(self.running)

    def kill(self, process: Process) -> None:
        """SIGKILL, unless it has ended."""
        if process in self.running:
            self.running.remove(process)
            process.send(signal.SIGKILL)
            self.kills += 1

    async def keep(self) -> None:
        """One replica, for ever."""
        while True:
            async with self._chain.listener(**self._settings) as process:
                self.running.append(process)
                code = await process.process.wait()
                assert code == -signal.SIGKILL, f"a listener ended by itself: {process.logged[-5:]}"


@asynccontextmanager
async def supervised(chain: Stage, **settings: str) -> AsyncGenerator[Supervisor, None]:
    """Replicas with these settings, one of which leads; ended in order."""
    supervisor = Supervisor(chain, settings)
    async with asyncio.TaskGroup() as group:
        replicas = [group.create_task(supervisor.keep()) for _ in range(REPLICAS)]
        async with asyncio.timeout(60):
            await supervisor.leader_with_successor()
        yield supervisor
        for replica in replicas:
            replica.cancel()


def state(process: Process) -> str | None:
    """What it last said about its part."""
    said = [message for message in process.messages() if message in (LEADS, STANDS_BY, TERM_IS_OVER)]
    return said[-1] if said else None
