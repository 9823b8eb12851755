"""The cache of what the chain says: each value loaded once, for a while, and no more of them than it has room
for."""

from __future__ import annotations

import asyncio

import pytest
from chalicelib.cache import SingleFlightCache

TTL_S = 1.0


class Chain:
    """Answers with how often it was asked; a test decides when."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def load(self, key: str) -> int:
        self.asked.append(key)
        count = len(self.asked)
        await self.may_answer.wait()
        if self.fails:
            self.fails -= 1
            raise LookupError(key)
        return count


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
async def chain() -> Chain:
    return Chain()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(chain: Chain, clock: Clock) -> SingleFlightCache[str, int]:
    return SingleFlightCache(chain.load, ttl_s=TTL_S, capacity=2, monotonic=clock)


async def test_a_value_is_used_until_it_is_too_old(cache: SingleFlightCache[str, int], clock: Clock) -> None:
    assert await cache.get("a") == (1, 0.0)
    clock.s = TTL_S - 0.01
    assert await cache.get("a") == (1, 0.0)
    clock.s = TTL_S
    assert await cache.get("a") == (2, TTL_S)


async def test_its_age_counts_from_when_it_was_asked_for(
    cache: SingleFlightCache[str, int], chain: Chain, clock: Clock
) -> None:
    chain.may_answer.clear()
    first = asyncio.ensure_future(cache.get("a"))
    await asyncio.sleep(0)
    clock.s = TTL_S
    chain.may_answer.set()
    assert await first == (1, 0.0)
    assert await cache.get("a") == (2, TTL_S)


async def test_many_who_ask_at_once_cost_one_reading(
    cache: SingleFlightCache[str, int], chain: Chain
) -> None:
    chain.may_answer.clear()
    asking = [asyncio.ensure_future(cache.get("a")) for _ in range(10)]
    await asyncio.sleep(0)
    chain.may_answer.set()
    assert await asyncio.gather(*asking) == [(1, 0.0)] * 10


async def test_who_gives_up_takes_the_reading_from_nobody(
    cache: SingleFlightCache[str, int], chain: Chain
) -> None:
    chain.may_answer.clear()
    impatient, patient = (asyncio.ensure_future(cache.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    chain.may_answer.set()
    assert await patient == (1, 0.0)
    assert impatient.cancelled()


async def test_a_failure_is_not_kept(cache: SingleFlightCache[str, int], chain: Chain) -> None:
    chain.fails = 1
    with pytest.raises(LookupError):
        await cache.get("a")
    assert await cache.get("a") == (2, 0.0)


async def test_there_are_never_more_than_it_has_room_for(
    cache: SingleFlightCache[str, int], chain: Chain
) -> None:
    for key in ("a", "b", "c"):
        await cache.get(key)
    assert cache.reading().entries == 2
    await cache.get("c")
    await cache.get("b")
    assert chain.asked == ["a", "b", "c"]
    await cache.get("a")
    assert chain.asked == ["a", "b", "c", "a"]


async def test_what_is_forgotten_is_read_again(cache: SingleFlightCache[str, int]) -> None:
    await cache.get("a")
    cache.forget("a")
    assert await cache.get("a") == (2, 0.0)
