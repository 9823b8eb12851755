"""The event source: nothing lost, nothing twice, whatever happens to the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.ledger import ChainEvent, EventFilter, EventFrame
from listener_service.backoff import Backoff
from listener_service.event_source import (
    Covered,
    LedgerEventSource,
    ReplayPlan,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
)
from tests.unit.contract_world import CHAIN_ID
from tests.unit.listener_world import FrozenClock, ScriptedLedger, until


def event(number: int) -> ChainEvent:
    return ChainEvent(
        package=bytes(32),
        module="k8s_gateway",
        type_tag="0x1::events::K8sAPIRequest",
        sender=bytes(32),
        contents=b"",
        transaction_digest=f"tx{number}",
        event_index=0,
    )


def source(ledger: ScriptedLedger, chain_id: str = CHAIN_ID) -> LedgerEventSource:
    return LedgerEventSource(
        ledger=ledger,
        event_filter=EventFilter(("0x1::events::K8sAPIRequest",)),
        chain_id=chain_id,
        replay=ReplayPlan(window_ms=2_000, fastest_checkpoints_per_second=20),
        clock=FrozenClock(),
        backoff=Backoff(uniform=lambda low, high: 0.0),
    )


@asynccontextmanager
async def collected(made: LedgerEventSource, watermark: int | None) -> AsyncGenerator[list[SourceItem], None]:
    """What the source delivers while the block runs."""
    items: list[SourceItem] = []

    async def collect() -> None:
        stream = made.items(watermark)
        try:
            async for item in stream:
                items.append(item)
        finally:
            await stream.aclose()

    task = asyncio.create_task(collect())
    try:
        yield items
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def digests(items: list[SourceItem]) -> list[str]:
    return [item.event.transaction_digest for item in items if isinstance(item, SourcedEvent)]


def covered(items: list[SourceItem]) -> list[int]:
    return [item.checkpoint for item in items if isinstance(item, Covered)]


async def test_past_events_come_before_live_ones_and_are_marked() -> None:
    ledger = ScriptedLedger()
    ledger.publish(event(1))
    async with collected(source(ledger), watermark=100) as items:
        await until(lambda: len(digests(items)) == 1 and bool(ledger.subscriptions))
        ledger.publish(event(2))
        await until(lambda: len(digests(items)) == 2)
    assert [item.replayed for item in items if isinstance(item, SourcedEvent)] == [True, False]
    assert ledger.listed_from == [101]
    assert covered(items) == [101, 102]


async def test_nothing_is_listed_when_the_watermark_is_the_tip() -> None:
    ledger = ScriptedLedger()
    async with collected(source(ledger), watermark=100) as items:
        await until(lambda: bool(ledger.subscriptions))
        ledger.publish(event(1))
        await until(lambda: digests(items) == ["tx1"])
    assert ledger.listed_from == []


async def test_an_index_that_lags_is_asked_until_it_covers_the_first_frame() -> None:
    ledger = ScriptedLedger(indexed=100)
    ledger.publish(event(1))
    ledger.publish(event(2))
    async with collected(source(ledger), watermark=90) as items:
        await until(lambda: len(ledger.listed_from) >= 3)
        assert digests(items) == []
        ledger.indexed = 101
        await until(lambda: digests(items) == ["tx1"])
        ledger.publish(event(3))
        ledger.indexed = None
        await until(lambda: digests(items) == ["tx1", "tx2", "tx3"])
    assert covered(items) == sorted(covered(items))


async def test_duplicates_are_dropped_across_list_live_and_reconnection() -> None:
    ledger = ScriptedLedger()
    ledger.publish(event(1))
    async with collected(source(ledger), watermark=100) as items:
        await until(lambda: bool(ledger.subscriptions) and len(items) == 2)
        ledger.publish(event(2))
        ledger.publish(event(2))
        ledger.publish(event(1))
        ledger.drop_streams()
        ledger.publish(event(2), live=False)
        ledger.publish(event(3), live=False)
        await until(lambda: "tx3" in digests(items))
    assert digests(items) == ["tx1", "tx2", "tx3"]


async def test_covered_never_runs_ahead_of_the_events() -> None:
    ledger = ScriptedLedger()
    async with collected(source(ledger), watermark=100) as items:
        await until(lambda: bool(ledger.subscriptions))
        ledger.progress()
        ledger.publish(event(1))
        ledger.send(EventFrame(None, 99, b"late"))
        ledger.progress()
        await until(lambda: covered(items)[-1:] == [103])
    assert items == [
        Covered(101),
        SourcedEvent(ledger.events[0], replayed=False),
        Covered(102),
        Covered(103),
    ]


async def test_an_endpoint_that_is_away_is_tried_again_with_growing_delays() -> None:
    ledger = ScriptedLedger(away=True)
    ceilings: list[float] = []

    def jitter(low: float, high: float) -> float:
        ceilings.append(high)
        return 0.0

    made = source(ledger)
    made.backoff = Backoff(base_s=0.2, cap_s=1.0, uniform=jitter)
    async with collected(made, watermark=100) as items:
        await until(lambda: len(ceilings) >= 5)
        ledger.away = False
        ledger.publish(event(1))
        await until(lambda: digests(items) == ["tx1"])
        ledger.drop_streams()
        await until(lambda: bool(ledger.subscriptions))
    assert ceilings[:5] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert ceilings[-1] == 0.2


async def test_a_pruned_watermark_is_loud_and_says_how_to_go_on() -> None:
    ledger = ScriptedLedger(lowest=50)
    stream = source(ledger).items(48)
    with pytest.raises(WatermarkGapError, match=r"DAAS_RESUME_AFTER_CHECKPOINT=49"):
        await anext(stream)
    ledger.lowest = 49
    async with collected(source(ledger), watermark=48):
        await until(lambda: ledger.listed_from == [49])


async def test_another_chain_is_refused() -> None:
    stream = source(ScriptedLedger(), chain_id="another").items(None)
    with pytest.raises(ConfigurationError, match="DAAS_SUI_ENDPOINT"):
        await anext(stream)


@pytest.mark.parametrize(("tip", "lowest", "start"), [(100, 0, 60), (100, 70, 70), (10, 0, 0)])
async def test_without_a_watermark_the_replay_reaches_as_far_back_as_answers(
    tip: int, lowest: int, start: int
) -> None:
    ledger = ScriptedLedger(checkpoint=tip, lowest=lowest)
    async with collected(source(ledger), watermark=None):
        await until(lambda: ledger.listed_from == [start])


async def test_a_watermark_far_beyond_the_tip_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An endpoint that lied about the tip must not make its successor's events disappear."""
    ledger = ScriptedLedger()
    ledger.publish(event(1))
    async with collected(source(ledger), 2**62) as items:
        await until(lambda: digests(items) == ["tx1"])
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "far beyond the chain's tip" in record.message
