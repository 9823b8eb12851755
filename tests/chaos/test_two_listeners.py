"""Two listeners, real processes and real signals: whoever dies or sleeps, no command runs twice.

The Kubernetes API runs in this process, so a signal can be sent at an exact moment: when a claim was stored,
before its maker hears of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from time import monotonic

import pytest
import pytest_asyncio

from infra.local.kube import slowness
from infra.local.kube.request_info import RequestInfo
from infra.local.kube.store import Change
from tests.chaos.commands import CONFIG_MAPS, NOTHING_RUN, Sent, Wanted, executions, judge
from tests.chaos.scale import scaled, tallied
from tests.chaos.supervisor import LEADS, STANDS_BY, state
from tests.chaos.tally import Tally
from tests.integration.listener_stage import Process, Stage, stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


Stopped = Callable[[Stage, Process], AbstractContextManager[None]]
# Until `start_by`, in ms: time enough to take over, and to go on before it has passed as well.
SOON, LATER = 5_000, 20_000


@pytest.fixture(params=range(scaled(1, 10)), autouse=True)
def again(request: pytest.FixtureRequest) -> None:
    """Once, or often enough that moments differ."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("two-listeners")) as made:
        yield made


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    with tallied("2 leader killed or asleep") as made:
        yield made


@pytest.fixture
def told(chain: Stage, tally: Tally) -> Iterator[Told]:
    made = Told(chain, tally)
    yield made
    before = len(tally.violations)
    runs = executions(chain)
    for one in made.sent:
        judge(one, runs[one.asked.request_id], tally)
    assert len(tally.violations) == before, tally.violations[before:]


class Told:
    """Sends commands, each of which is judged when the test is over."""

    def __init__(self, chain: Stage, tally: Tally) -> None:
        self.sent: list[Sent] = []
        self.tally = tally
        self._chain = chain

    async def send(self, wanted: Wanted, *, start_within_ms: int = 20_000) -> Sent:
        """Puts it on chain."""
        asked = await self._chain.submit(
            wanted.method, wanted.path, body=wanted.body, start_within_ms=start_within_ms
        )
        self.sent.append(Sent(wanted, asked))
        return self.sent[-1]

    async def answer(self, one: Sent) -> int:
        """The status of its answer."""
        one.answer = await self._chain.answer(one.asked, 30)
        return one.answer.status

    async def ask(self, wanted: Wanted) -> int:
        """`send`, then `answer`."""
        return await self.answer(await self.send(wanted))


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


async def until(process: Process, wanted: str) -> None:
    async with asyncio.timeout(30):
        while state(process) != wanted:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


@contextmanager
def continued_at_last(process: Process, told: Told) -> Iterator[None]:
    """Nothing ends a stopped process in order."""
    told.tally.stops += 1
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(chain: Stage) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        yield Pair(chain, stack)


def create(**metadata: str) -> Wanted:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return Wanted("POST", CONFIG_MAPS, 201, json.dumps(body).encode())


def delete(name: str) -> Wanted:
    return Wanted("DELETE", f"{CONFIG_MAPS}/{name}", 200)


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


async def test_the_leader_is_killed_in_the_middle_of_commands(chain: Stage, pair: Pair, told: Told) -> None:
    first, second = await pair.settled()
    prefix = f"kill-{secrets.token_hex(4)}"
    with at_claim(chain, 5, lambda: os.kill(first.pid, signal.SIGKILL)):
        sent = [
            await told.send(
                create(**({"name": f"{prefix}-{n}"} if n % 2 else {"generateName": f"{prefix}-any-"})),
                start_within_ms=6_000,
            )
            for n in range(12)
        ]
        await until(second, LEADS)
    told.tally.kills += 1
    statuses = await asyncio.gather(*map(told.answer, sent))
    # On a busy machine terms are lost besides.
    assert set(statuses) <= {201, 500, *NOTHING_RUN}
    assert 201 in statuses, "those before the fifth claim"
    names = [one["metadata"]["name"] for one in chain.cluster.store.objects(("", "configmaps"), "default")]
    made = len([name for name in names if name.startswith(prefix)])
    assert statuses.count(201) <= made <= statuses.count(201) + statuses.count(500)


@contextmanager
def stopped_before_it_hears(chain: Stage, process: Process) -> Iterator[None]:
    process.send(signal.SIGSTOP)
    yield


@contextmanager
def stopped_before_it_claims(chain: Stage, process: Process) -> Iterator[None]:
    """It has read the event, and has asked for the transaction: what it needs to go on waits for it."""
    stopped: list[int] = []

    def stop(_: object) -> None:
        if not stopped:
            stopped.append(process.pid)
            process.send(signal.SIGSTOP)

    chain.listeners_port.misbehave({"forge": {"transaction": stop}})
    try:
        yield
    finally:
        chain.listeners_port.reform()
    assert stopped


@pytest.mark.parametrize("start_within_ms", [LATER, SOON], ids=["its lease", "start_by"])
@pytest.mark.parametrize("stopped", [stopped_before_it_hears, stopped_before_it_claims])
async def test_a_leader_stopped_before_the_claim_runs_nothing_when_it_goes_on(
    stopped: Stopped, start_within_ms: int, chain: Stage, pair: Pair, told: Told
) -> None:
    """Continued when its lease is over, or `start_by` too."""
    first, second = await pair.settled()
    name = f"before-claim-{secrets.token_hex(4)}"
    with continued_at_last(first, told), stopped(chain, first):
        one = await told.send(create(name=name), start_within_ms=start_within_ms)
        start_by_s = monotonic() + start_within_ms / 1000
        status = await told.answer(one)
        await until(second, LEADS)
        ran = chain.runs(one.asked)
        if start_within_ms == SOON:
            await asyncio.sleep(start_by_s - monotonic())
    # On a busy machine the other one may lead too late for the short time, or not long enough.
    assert (status, ran) == (201, 1) or (start_within_ms == SOON and ran == 0)
    await until(first, STANDS_BY)
    assert chain.runs(one.asked) == ran
    # Whoever leads now works on.
    assert await told.ask(create(name=f"{name}-2")) == 201


async def test_a_leader_stopped_after_the_claim_and_continued_after_start_by_runs_nothing(
    chain: Stage, pair: Pair, told: Told
) -> None:
    first, _ = await pair.settled()
    with continued_at_last(first, told), at_claim(chain, 1, lambda: os.kill(first.pid, signal.SIGSTOP)):
        one = await told.send(create(generateName="after-claim-"), start_within_ms=SOON)
        assert await told.answer(one) == 500
    assert "outcome unknown" in one.message
    await until(first, STANDS_BY)
    assert chain.runs(one.asked) == 0


async def test_a_leader_stopped_after_the_claim_and_continued_after_its_lease_runs_nothing(
    chain: Stage, pair: Pair, told: Told
) -> None:
    """`start_by` has not passed: it is the lease that stops it."""
    first, second = await pair.settled()
    with continued_at_last(first, told), at_claim(chain, 1, lambda: os.kill(first.pid, signal.SIGSTOP)):
        one = await told.send(create(generateName="after-lease-"), start_within_ms=10_000)
        await until(second, LEADS)
    status = await told.answer(one)
    # If it still heard that the claim was its own, it knows that nothing was run.
    assert (status, "nothing was run" in one.message) in ((503, True), (500, False))
    await until(first, STANDS_BY)
    assert chain.runs(one.asked) == 0


async def test_sigterm_hands_over(pair: Pair, told: Told) -> None:
    first, second = await pair.settled()
    name = f"handed-over-{secrets.token_hex(4)}"
    assert await told.ask(create(name=name)) == 201
    assert await first.end(signal.SIGTERM) == 0
    await until(second, LEADS)
    assert await told.ask(delete(name)) == 200


async def test_sigterm_hands_over_while_the_old_one_finishes_a_slow_write(
    chain: Stage, pair: Pair, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than its `start_by`, at which a successor would answer for it."""
    first, second = await pair.settled()
    name, arrived, loop = f"slow-{secrets.token_hex(4)}", asyncio.Event(), asyncio.get_running_loop()

    def slow_write(_: object, info: RequestInfo) -> float:
        if info.namespace != "default":
            return 0.0
        loop.call_soon_threadsafe(arrived.set)
        return 6.0

    with monkeypatch.context() as slowly:
        slowly.setattr(slowness, "seconds_for", slow_write)
        slow = await told.send(create(name=name), start_within_ms=SOON)
        await arrived.wait()
    first.send(signal.SIGTERM)
    await until(second, LEADS)
    assert await told.ask(create(name=f"{name}-2")) == 201
    assert await told.answer(slow) == 201
    # By itself, without another signal.
    assert await asyncio.wait_for(first.process.wait(), 30) == 0
    await first.end(signal.SIGTERM)
    assert "finishing what was claimed" in first.messages()
    assert chain.runs(slow.asked) == 1
