"""Two listeners, real processes and real signals: whoever dies or sleeps, no command runs twice.

The Kubernetes API runs in this process, so a signal can be sent at an exact moment: when a claim was stored,
before its maker hears of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import pytest_asyncio

from infra.local.kube.store import Change
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.ids import request_id_text
from tests.integration.listener_stage import Asked, Process, Stage, stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("two-listeners")) as made:
        yield made


@asynccontextmanager
async def two_listeners(chain: Stage) -> AsyncGenerator[tuple[Process, Process], None]:
    """The one that leads, and the one that stands by; both run on and are ended at the end."""
    async with chain.listener() as first:
        await first.says("leading")
        async with chain.listener() as second:
            await second.says("standing by")
            try:
                yield first, second
            finally:
                for process in (first, second):
                    if process.process.returncode is None:
                        process.send(signal.SIGCONT)


def config_map(**metadata: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).encode()


def runs(chain: Stage, asked: Asked) -> int:
    """How often the API server saw this request, by its audit log."""
    wanted = [request_id_text(asked.request_id)]

    def is_it(entry: dict[str, object]) -> bool:
        user = entry.get("impersonatedUser")
        return isinstance(user, dict) and user["extra"].get("daas.io/request-id") == wanted

    return len(chain.cluster.audit.find(is_it))


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


async def test_the_leader_is_killed_in_the_middle_of_commands(chain: Stage) -> None:
    async with two_listeners(chain) as (first, second):
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
            killed = time.monotonic()
            await second.says("leading")
        took_s = time.monotonic() - killed
        answers = await asyncio.gather(*(chain.answer(one) for one in asked))
    statuses = [answer.status for answer in answers]
    print(f"led again {took_s:.2f} s after the last submission; answers {statuses}")  # noqa: T201  the figure
    assert first.process.returncode == -signal.SIGKILL
    assert set(statuses) <= {201, 500, 504}
    assert statuses.count(201) >= 6
    names = [
        lease["metadata"]["name"] for lease in chain.cluster.store.objects(("", "configmaps"), "default")
    ]
    made = len([name for name in names if name.startswith("kill-")])
    assert statuses.count(201) <= made <= statuses.count(201) + statuses.count(500)
    for one, answer in zip(asked, answers, strict=True):
        assert runs(chain, one) == {201: 1, 504: 0}.get(answer.status, min(runs(chain, one), 1))
        assert answer.status != 500 or "outcome unknown" in message(answer)


async def test_a_leader_stopped_before_the_claim_runs_nothing_when_it_goes_on(chain: Stage) -> None:
    async with two_listeners(chain) as (first, second):
        first.send(signal.SIGSTOP)
        asked = await chain.submit("POST", CONFIG_MAPS, body=config_map(name="before-claim"))
        assert (await chain.answer(asked)).status == 201
        await second.says("leading")
        first.send(signal.SIGCONT)
        await first.says("the term is over")
        await first.says("standing by")
        # Whoever leads now works on.
        assert (await chain.ask("DELETE", f"{CONFIG_MAPS}/before-claim")).status == 200
    assert runs(chain, asked) == 1


async def test_a_leader_stopped_after_the_claim_and_continued_after_start_by_runs_nothing(
    chain: Stage,
) -> None:
    async with two_listeners(chain) as (first, _):
        with at_claim(chain, 1, lambda: os.kill(first.pid, signal.SIGSTOP)):
            asked = await chain.submit(
                "POST", CONFIG_MAPS, body=config_map(name="after-claim"), start_within_ms=5_000
            )
            answer = await chain.answer(asked)
        assert answer.status == 500
        assert "outcome unknown" in message(answer)
        first.send(signal.SIGCONT)
        await first.says("standing by")
        assert (await chain.ask("GET", CONFIG_MAPS)).status == 200
    assert runs(chain, asked) == 0


async def test_a_leader_stopped_after_the_claim_and_continued_after_its_lease_runs_nothing(
    chain: Stage,
) -> None:
    """`start_by` has not passed: it is the lease that stops it."""
    async with two_listeners(chain) as (first, second):
        with at_claim(chain, 1, lambda: os.kill(first.pid, signal.SIGSTOP)):
            asked = await chain.submit(
                "POST", CONFIG_MAPS, body=config_map(name="after-lease"), start_within_ms=10_000
            )
            await second.says("leading")
        first.send(signal.SIGCONT)
        answer = await chain.answer(asked)
        # If it still heard that the claim was its own, it knows that nothing was run.
        assert (answer.status, "nothing was run" in message(answer)) in ((503, True), (500, False))
        await first.says("standing by")
    assert runs(chain, asked) == 0


async def test_sigterm_hands_over_at_once(chain: Stage) -> None:
    async with two_listeners(chain) as (first, second):
        assert (await chain.ask("POST", CONFIG_MAPS, body=config_map(name="handed-over"))).status == 201
        assert await first.end(signal.SIGTERM) == 0
        ended = time.monotonic()
        await second.says("leading")
        print(f"led {time.monotonic() - ended:.2f} s after the other one's end")  # noqa: T201  the figure
        assert (await chain.ask("DELETE", f"{CONFIG_MAPS}/handed-over")).status == 200
