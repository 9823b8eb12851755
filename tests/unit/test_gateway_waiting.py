"""When the gateway looks for an answer, and what it keeps of the chain's state."""

from __future__ import annotations

import asyncio
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chalicelib.cache import SingleFlightCache
from chalicelib.rhythm import LONGEST_PAUSE_S, Rhythm
from chalicelib.waiting import Answer, AnswerWaiter


def test_the_first_look_comes_when_answers_usually_come() -> None:
    rhythm = Rhythm()
    for _ in range(60):
        rhythm.learn(0.8)
    assert next(rhythm.pauses(patient=True)) == pytest.approx(0.8, abs=0.02)


def test_after_that_the_pauses_grow_to_a_limit() -> None:
    pauses = list(islice(Rhythm().pauses(patient=False), 1, 40))
    assert pauses[0] < 0.05
    assert max(pauses) <= LONGEST_PAUSE_S * 1.25
    assert min(pauses[-5:]) >= LONGEST_PAUSE_S * 0.75


def test_one_slow_answer_does_not_delay_the_next_look_by_much() -> None:
    rhythm = Rhythm()
    for _ in range(60):
        rhythm.learn(0.5)
    rhythm.learn(60.0)
    assert next(rhythm.pauses(patient=True)) < 0.6


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class ChainOfMoments:
    """Time passes by sleeping only; a command is answered so many seconds after it was submitted."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.submitted_s = 0.0
        self.takes_s = 0.0
        self.shown_after_s = 0.0
        """How much later the endpoint shows it: finality, checkpoints, a node that is behind."""
        self.reads = 0

    async def sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    async def request(self, seal: bytes, request_id: bytes) -> Any:
        self.reads += 1
        answered_s = self.submitted_s + self.takes_s
        response = None
        if self.clock.now >= answered_s + self.shown_after_s:
            response = SimpleNamespace(answered_at_ms=round(answered_s * 1000))
        return SimpleNamespace(accepted_at_ms=round(self.submitted_s * 1000), response=response)


class TrustingWaiter(AnswerWaiter):
    """Checks no signature: these tests are about time."""

    async def _fetch(self, request: Any, response: Any) -> Answer:
        return Answer(b"", "digest", 200)


def waiter_on(chain: ChainOfMoments) -> AnswerWaiter:
    return TrustingWaiter(
        cast(Any, None),
        cast(Any, chain),
        executor=b"",
        executor_key=b"",
        monotonic=chain.clock,
        sleep=chain.sleep,
    )


async def reads_of(waiter: AnswerWaiter, chain: ChainOfMoments, takes_s: float) -> int:
    """How often the chain is read for a command that takes so long; for 25 s at most."""
    chain.submitted_s, chain.takes_s, before = chain.clock.now, takes_s, chain.reads
    await waiter.begin(b"", b"", stays_open=False).until(chain.clock.now + 25)
    return chain.reads - before


@pytest.mark.parametrize(
    ("takes_s", "shown_after_s"),
    [(0.13, 0.05), (0.65, 0.4), (0.65, 3.0)],
    ids=["50/50 ms", "400/250 ms", "a node that is behind by 3 s"],
)
async def test_in_steady_state_a_command_takes_few_reads(takes_s: float, shown_after_s: float) -> None:
    chain = ChainOfMoments()
    chain.shown_after_s = shown_after_s
    waiter = waiter_on(chain)
    # Some take a fifth longer than others.
    reads = [await reads_of(waiter, chain, takes_s * (1 + number % 3 / 10)) for number in range(100)]
    assert sum(reads[50:]) / 50 <= 4


async def test_a_congested_chain_does_not_multiply_the_reads() -> None:
    """From half a second on, twice the time costs half a dozen reads more; a whole exchange about 35."""
    chain = ChainOfMoments()
    reads = {}
    for takes_s in (5.0, 10.0, 20.0, 60.0):
        waiter = waiter_on(chain)
        for _ in range(20):
            await reads_of(waiter, chain, 0.5)
        reads[takes_s] = await reads_of(waiter, chain, takes_s)
    assert reads[5.0] <= 24
    assert reads[10.0] - reads[5.0] <= 8
    assert reads[20.0] - reads[10.0] <= 8
    assert reads[60.0] <= 38


async def test_a_wait_that_is_broken_off_goes_on_as_it_was() -> None:
    chain = ChainOfMoments()
    chain.takes_s = 12.0
    waiting = waiter_on(chain).begin(b"", b"", stays_open=False)
    assert await waiting.until(4.0) is None
    before = chain.reads
    assert await waiting.until(25.0) is not None
    assert chain.clock.now < 14.0
    assert chain.reads - before <= 14


async def test_when_it_stays_congested_the_expectation_follows() -> None:
    chain = ChainOfMoments()
    waiter = waiter_on(chain)
    reads = [await reads_of(waiter, chain, 4.0) for _ in range(60)]
    assert sum(reads[-20:]) / 20 <= 5


async def test_after_a_slow_while_quick_answers_are_soon_found_quickly_again() -> None:
    chain = ChainOfMoments()
    waiter = waiter_on(chain)

    async def command(takes_s: float) -> float:
        chain.submitted_s, chain.takes_s = chain.clock.now, takes_s
        assert await waiter.begin(b"", b"", stays_open=False).until(chain.clock.now + 25)
        return chain.clock.now - chain.submitted_s

    for _ in range(30):
        # Late by one pause at most: an eighth of the time waited, and its jitter.
        assert 5 <= await command(5.0) < 6
    found = [await command(0.3) for _ in range(8)]
    assert sum(found[:4]) < 12
    assert max(found[4:]) < 0.5


async def test_many_callers_share_one_load_until_it_is_too_old() -> None:
    loads: list[str] = []
    clock = Clock()

    async def load(key: str) -> str:
        loads.append(key)
        await asyncio.sleep(0)
        return f"{key}{len(loads)}"

    cache = SingleFlightCache(load, ttl_s=1.0, capacity=2, monotonic=clock)
    assert await asyncio.gather(*(cache.get("a") for _ in range(10))) == [("a1", 0.0)] * 10
    clock.now = 0.9
    assert await cache.get("a") == ("a1", 0.0)
    clock.now = 1.0
    assert await cache.get("a") == ("a2", 1.0)
    assert loads == ["a", "a"]


async def test_a_failed_load_is_tried_again_and_the_oldest_key_makes_room() -> None:
    loads: list[str] = []

    async def load(key: str) -> str:
        loads.append(key)
        if len(loads) == 1:
            raise ConnectionError
        return key

    cache = SingleFlightCache(load, ttl_s=60.0, capacity=2)
    with pytest.raises(ConnectionError):
        await cache.get("a")
    for key in ("a", "b", "c", "a"):
        assert (await cache.get(key))[0] == key
    assert loads == ["a", "a", "b", "c", "a"]
