"""Both event sources over an endpoint that plays tricks, watched for what every source promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from k3s_daas.sui.ledger import ChainEvent, EventFilter
from listener_service.backoff import Backoff
from listener_service.event_source import (
    EventSource,
    LedgerEventSource,
    ReplayPlan,
    SourcedEvent,
    SourceItem,
    WebSocketEventSource,
)
from tests.unit.contract_world import CHAIN_ID
from tests.unit.faulty_endpoint import WANTED, Endpoint, FaultyLedger, wires

KINDS = ("grpc", "websocket")
WATERMARK = 100
GIVEN_UP_WITHIN_S = 30.0
"""The interface's guarantee 9; then comes the backoff."""
BACKOFF_S = 15.0
QUIET_S = 60.0
"""Longer than any source takes to find and cover what there is."""


def make(kind: str, endpoint: Endpoint, chain_id: str = CHAIN_ID, interval_s: float = 5.0) -> EventSource:
    event_filter, replay = EventFilter((WANTED,)), ReplayPlan(window_ms=600_000)
    backoff = Backoff(uniform=lambda low, high: high)
    if kind == "grpc":
        return LedgerEventSource(
            FaultyLedger(endpoint), event_filter, chain_id, replay, endpoint.clock, backoff
        )
    return WebSocketEventSource(
        wires(endpoint), event_filter, chain_id, replay, endpoint.clock, backoff, interval_s
    )


class Observed:
    """What a source delivered so far, checked as it comes."""

    def __init__(self, endpoint: Endpoint, watermark: int) -> None:
        self.items: list[SourceItem] = []
        self._endpoint = endpoint
        self._watermark = watermark
        self._positions: set[tuple[str, int]] = set()
        self._covered = watermark

    def take(self, item: SourceItem) -> None:
        self.items.append(item)
        if isinstance(item, SourcedEvent):
            assert item.event.position not in self._positions, "delivered twice"
            self._positions.add(item.event.position)
            told = item.event.checkpoint
            assert told is None or told > self._watermark, "delivered from before the watermark"
        else:
            assert item.checkpoint > self._covered, "Covered went back"
            self._covered = item.checkpoint
            missing = [e for e in self.due(item.checkpoint) if e.position not in self._positions]
            assert not missing, f"Covered({item.checkpoint}) is ahead of {missing}"

    def due(self, checkpoint: int) -> list[ChainEvent]:
        """The events that must have come when this checkpoint is covered."""
        return [
            e
            for e in self._endpoint.events
            if self._watermark < (e.checkpoint or 0) <= checkpoint and e.type_tag == WANTED
        ]

    @property
    def events(self) -> list[SourcedEvent]:
        return [item for item in self.items if isinstance(item, SourcedEvent)]

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(item.event.contents, "big") for item in self.events]

    @property
    def covered(self) -> int:
        return self._covered

    def check_all(self) -> None:
        """Everything there is has come, and is covered."""
        # `check` of the last Covered has seen that nothing is missing.
        assert self.covered == self._endpoint.tip
        replayed = [e.event.position for e in self.events if e.replayed]
        listed = [e.position for e in self._endpoint.events if e.position in set(replayed)]
        assert replayed == listed, "replayed events are out of order"


def observed(
    kind: str, endpoint: Endpoint, watermark: int = WATERMARK, interval_s: float = 5.0
) -> AbstractAsyncContextManager[Observed]:
    """`observed_from` for the source of one endpoint."""
    return observed_from(make(kind, endpoint, interval_s=interval_s), endpoint, watermark)


@asynccontextmanager
async def observed_from(
    source: EventSource, endpoint: Endpoint, watermark: int
) -> AsyncGenerator[Observed, None]:
    """The source runs while the block runs; whatever it raises fails the test."""
    seen = Observed(endpoint, watermark)

    async def collect() -> None:
        items = source.items(watermark)
        try:
            async for item in items:
                seen.take(item)
        finally:
            await items.aclose()

    task = asyncio.create_task(collect())
    try:
        yield seen
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def scene(endpoint: Endpoint) -> None:
    """Events before and after the connection, alone and together, with quiet checkpoints in between."""
    numbers = itertools.count(10)
    await asyncio.sleep(0.5)
    for size in (1, 0, 2, 4, 0, 1):
        endpoint.publish(*[next(numbers) for _ in range(size)])
        await asyncio.sleep(0.7)


async def quiet(endpoint: Endpoint, seconds: float = QUIET_S) -> None:
    """Time passes; the chain goes on without events."""
    for _ in range(int(seconds / 2)):
        endpoint.publish()
        await asyncio.sleep(2)


def with_history() -> Endpoint:
    endpoint = Endpoint()
    for number in range(7):
        endpoint.publish(number)
    return endpoint


async def play(
    kind: str, act: Callable[[Endpoint], Awaitable[None]] | None = None
) -> tuple[Endpoint, Observed]:
    """The scene, with something done to the endpoint before; then quiet, so that everything can come."""
    endpoint = with_history()
    if act is not None:
        await act(endpoint)
    async with observed(kind, endpoint) as seen:
        await scene(endpoint)
        await quiet(endpoint)
        # The tip stands still, so that it can be covered.
        await asyncio.sleep(25)
        seen.check_all()
    return endpoint, seen
