"""Several endpoints as one stream: a minority can neither hide an event nor put another in its place."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.ledger import ChainEvent
from listener_service.event_source import (
    Covered,
    MergedEventSource,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
)
from listener_service.event_source.recent import Recent


def event(number: int, contents: bytes = b"true") -> SourcedEvent:
    found = ChainEvent(bytes(32), "m", "0x1::m::E", bytes(32), contents, f"t{number}", 0, checkpoint=number)
    return SourcedEvent(found, replayed=False)


class Told:
    """A source that delivers what a test tells it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[SourceItem | Exception] = asyncio.Queue()
        self.watermark: int | None = -1
        self.closed = False
        self.breaks_when_closed = False
        self.read = 0

    def tell(self, *items: SourceItem | Exception) -> None:
        for item in items:
            self.queue.put_nowait(item)

    async def items(self, watermark: int | None) -> AsyncGenerator[SourceItem, None]:
        self.watermark = watermark
        try:
            while True:
                item = await self.queue.get()
                if isinstance(item, Exception):
                    raise item
                self.read += 1
                yield item
        finally:
            self.closed = True
            if self.breaks_when_closed:
                raise LedgerUnavailableError("the stream was reset")


class Heard:
    """What the merged source delivered so far."""

    def __init__(self, items: AsyncGenerator[SourceItem, None]) -> None:
        self._items = items

    async def take(self, number: int) -> list[SourceItem]:
        async with asyncio.timeout(2):
            return [await anext(self._items) for _ in range(number)]


@asynccontextmanager
async def merged(*sources: Told, watermark: int | None = 10) -> AsyncGenerator[Heard, None]:
    items = MergedEventSource(sources, 2).items(watermark)
    async with aclosing(items):
        yield Heard(items)
    assert all(source.closed for source in sources if source.watermark != -1)


async def test_an_event_comes_once_and_from_whoever_is_first() -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c) as heard:
        b.tell(event(11))
        assert await heard.take(1) == [event(11)]
        a.tell(event(11))
        c.tell(replace(event(11), replayed=True), event(12))
        assert await heard.take(1) == [event(12)]
        assert [source.watermark for source in (a, b, c)] == [10, 10, 10]


async def test_what_one_withholds_comes_from_another() -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c) as heard:
        a.tell(Covered(20))
        b.tell(event(15), Covered(20))
        assert await heard.take(2) == [event(15), Covered(20)]


async def test_one_alone_moves_no_watermark() -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c) as heard:
        a.tell(Covered(2**62))
        b.tell(Covered(12))
        assert await heard.take(1) == [Covered(12)]
        c.tell(Covered(13), Covered(14))
        assert await heard.take(2) == [Covered(13), Covered(14)]
        b.tell(Covered(13), Covered(15))
        assert await heard.take(1) == [Covered(15)]


async def test_a_watermark_does_not_go_back() -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c, watermark=30) as heard:
        a.tell(Covered(29))
        b.tell(Covered(29), Covered(31))
        c.tell(Covered(31))
        assert await heard.take(1) == [Covered(31)]


@pytest.mark.parametrize(
    "change",
    [{"contents": b"forged"}, {"checkpoint": 99}, {"sender": b"\x01" * 32}, {"type_tag": "0x1::m::F"}],
)
async def test_a_forged_event_does_not_take_the_place_of_the_true_one(change: dict[str, bytes]) -> None:
    a, b, c = Told(), Told(), Told()
    forged = SourcedEvent(replace(event(11).event, **change), replayed=False)  # type: ignore[arg-type]  # by name
    async with merged(a, b, c) as heard:
        a.tell(forged)
        assert await heard.take(1) == [forged]
        b.tell(event(11))
        c.tell(event(11), event(12))
        assert await heard.take(2) == [event(11), event(12)]


async def test_one_that_needs_a_person_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c) as heard:
        a.tell(Covered(50), WatermarkGapError(10, 40))
        b.tell(event(11), Covered(12))
        c.tell(Covered(12))
        assert await heard.take(2) == [event(11), Covered(12)]
        assert "checkpoint 40" in caplog.records[0].__dict__["error"]
        b.tell(ConfigurationError("another chain"))
        with pytest.raises(ConfigurationError):
            await heard.take(1)


async def test_a_defect_of_a_source_is_not_hidden() -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c) as heard:
        a.tell(RuntimeError("defect"))
        with pytest.raises(RuntimeError):
            await heard.take(1)


async def test_whoever_does_not_read_on_stops_all_sources() -> None:
    a, b, c = Told(), Told(), Told()
    async with merged(a, b, c) as heard:
        for number in range(100):
            a.tell(event(number))
            b.tell(event(1000 + number))
        await heard.take(1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert a.read + b.read <= 1 + 3 + 3


async def test_sources_that_break_while_they_are_closed_do_not_hold_up_the_end() -> None:
    a, b, c = Told(), Told(), Told()
    async with asyncio.timeout(2):
        async with merged(a, b, c) as heard:
            for source in (a, b, c):
                source.breaks_when_closed = True
                source.tell(event(1), event(2), event(3))
            await heard.take(1)
            for _ in range(50):
                await asyncio.sleep(0)


def test_what_is_remembered_of_an_event_is_small_however_large_it_was() -> None:
    recent = Recent(capacity=50)
    tracemalloc.start()
    try:
        assert all(recent.is_new(("tx", number, bytes(100_000))) for number in range(60))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 100_000
    assert not recent.is_new(("tx", 59, bytes(100_000)))
    assert recent.is_new(("tx", 59, bytes(99_999)))
    assert recent.is_new(("tx", 0, bytes(100_000))), "the oldest is forgotten"
