"""Two listeners, real processes and real signals: whoever dies or sleeps, no command runs twice.

The Kubernetes API runs in this process, so a signal can be sent at an exact moment: when a claim was stored,
before its maker hears of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
import pytest_asyncio

from infra.local.kube.store import Change
from k3s_daas.envelope import ResponseEnvelope
from tests.integration.listener_stage import Asked, Process, Stage, stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
LEADS, STANDS_BY, TERM_IS_OVER = "leading", "standing by", "the term is over"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("two-listeners")) as made:
        yield made


class Pair:
    """Two listeners, one of which leads. Whoever ended is replaced."""

    def __init__(self, chain: Stage, stack: AsyncExitStack) -> None:
        self._chain = chain
        self._stack = stack
        self._processes: list[Process] = []

    async def settled(self) -> tuple[Process, Process]:
        """The one that leads and the one that stands by."""
        self._processes = [one for one in self._processes if one.process.returncode is None]
        while len(self._processes) < 2:
            one = self._chain.listener(DAAS_LEASE_SECONDS="2")
            self._processes.append(await self._stack.enter_async_context(one))
        first, second = self._processes
        async with asyncio.timeout(30):
            while {state(first), state(second)} != {LEADS, STANDS_BY}:  # noqa: ASYNC110  other processes
                await asyncio.sleep(0.01)
        return (first, second) if state(first) == LEADS else (second, first)


def state(process: Process) -> str | None:
    """What it last said about its part."""
    said = [message for message in process.messages() if message in (LEADS, STANDS_BY, TERM_IS_OVER)]
    return said[-1] if said else None


async def until(process: Process, wanted: str) -> None:
    async with asyncio.timeout(30):
        while state(process) != wanted:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


@contextmanager
def continued_at_last(process: Process) -> Iterator[None]:
    """Nothing ends a stopped process in order."""
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(chain: Stage) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        yield Pair(chain, stack)


def config_map(**metadata: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).encode()


def runs(chain: Stage, asked: Asked) -> int:
    return chain.runs(asked)


@contextmanager
def at_claim(chain: Stage, number: int, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` when the claim of this number (from 1) was stored, before anybody is told."""
    seen = 0

    def follow(change: Change) -> None:
        nonlocal seen
        name = change.object["metadata"]["name"]
        if change.type == "ADDED" and name.startswith("daas-claim-"):
            seen += 1
            if seen == number:
                act()

    forget = chain.cluster.store.subscribe(follow)
    try:
        yield
    finally:
        forget()


def message(answer: ResponseEnvelope) -> str:
    return str(json.loads(answer.body)["message"])


async def test_the_leader_is_killed_in_the_middle_of_commands(chain: Stage, pair: Pair) -> None:
    first, second = await pair.settled()
    with at_claim(chain, 5, lambda: os.kill(first.pid, signal.SIGKILL)):
        asked = [
            await chain.submit(
                "POST",
                CONFIG_MAPS,
                body=config_map(**({"name": f"kill-{n}"} if n % 2 else {"generateName": "kill-any-"})),
                start_within_ms=6_000,
            )
            for n in range(12)
        ]
        await until(second, LEADS)
    answers = await asyncio.gather(*(chain.answer(one) for one in asked))
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {201, 500, 504}
    assert statuses.count(201) >= 4, "those before the fifth claim"
    names = [one["metadata"]["name"] for one in chain.cluster.store.objects(("", "configmaps"), "default")]
    made = len([name for name in names if name.startswith("kill-")])
    assert statuses.count(201) <= made <= statuses.count(201) + statuses.count(500)
    for one, answer in zip(asked, answers, strict=True):
        expected = {201: {1}, 500: {0, 1}, 504: {0}}[answer.status]
        assert runs(chain, one) in expected
        assert answer.status != 500 or "outcome unknown" in message(answer)


async def test_a_leader_stopped_before_the_claim_runs_nothing_when_it_goes_on(
    chain: Stage, pair: Pair
) -> None:
    first, second = await pair.settled()
    with continued_at_last(first):
        first.send(signal.SIGSTOP)
        asked = await chain.submit("POST", CONFIG_MAPS, body=config_map(name="before-claim"))
        assert (await chain.answer(asked)).status == 201
        assert state(second) == LEADS
    await until(first, STANDS_BY)
    # Whoever leads now works on.
    assert (await chain.ask("DELETE", f"{CONFIG_MAPS}/before-claim")).status == 200
    assert runs(chain, asked) == 1


async def test_a_leader_stopped_after_the_claim_and_continued_after_start_by_runs_nothing(
    chain: Stage, pair: Pair
) -> None:
    first, _ = await pair.settled()
    with continued_at_last(first), at_claim(chain, 1, lambda: os.kill(first.pid, signal.SIGSTOP)):
        asked = await chain.submit(
            "POST", CONFIG_MAPS, body=config_map(name="after-claim"), start_within_ms=5_000
        )
        answer = await chain.answer(asked)
    assert answer.status == 500
    assert "outcome unknown" in message(answer)
    await until(first, STANDS_BY)
    assert runs(chain, asked) == 0


async def test_a_leader_stopped_after_the_claim_and_continued_after_its_lease_runs_nothing(
    chain: Stage, pair: Pair
) -> None:
    """`start_by` has not passed: it is the lease that stops it."""
    first, second = await pair.settled()
    with continued_at_last(first), at_claim(chain, 1, lambda: os.kill(first.pid, signal.SIGSTOP)):
        asked = await chain.submit(
            "POST", CONFIG_MAPS, body=config_map(name="after-lease"), start_within_ms=10_000
        )
        await until(second, LEADS)
    answer = await chain.answer(asked)
    # If it still heard that the claim was its own, it knows that nothing was run.
    assert (answer.status, "nothing was run" in message(answer)) in ((503, True), (500, False))
    await until(first, STANDS_BY)
    assert runs(chain, asked) == 0


async def test_sigterm_hands_over(chain: Stage, pair: Pair) -> None:
    first, second = await pair.settled()
    assert (await chain.ask("POST", CONFIG_MAPS, body=config_map(name="handed-over"))).status == 201
    assert await first.end(signal.SIGTERM) == 0
    await until(second, LEADS)
    assert (await chain.ask("DELETE", f"{CONFIG_MAPS}/handed-over")).status == 200
