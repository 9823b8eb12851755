"""The EventSource over the Ledger port (Sui's gRPC: SubscribeEvents and ListEvents).

`SubscribeEvents` starts at the tip and cannot resume, and `ListEvents` reads an index that may lag behind
the tip. So every connection, the first one as well as each reconnection, is: subscribe first; list what
came after the resume point, again and again until the index has reached the subscription's first frame;
then go live. What both deliver is dropped once by its position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.ledger import EventFilter, EventFrame, Ledger, ServiceInfo
from listener_service.backoff import Backoff
from listener_service.clock import Clock, SystemClock
from listener_service.event_source.interface import Covered, SourcedEvent, SourceItem, WatermarkGapError
from listener_service.event_source.recent import Recent
from listener_service.event_source.reconnecting import reconnecting
from listener_service.event_source.replay import ReplayPlan, is_far_beyond

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LedgerEventSource:
    """See the module docstring. `on_live` is called each time that a connection is subscribed and caught up
    once.
    """

    ledger: Ledger
    event_filter: EventFilter
    chain_id: str
    replay: ReplayPlan
    clock: Clock = field(default_factory=SystemClock)
    backoff: Backoff = field(default_factory=Backoff)
    idle_timeout_s: float = 30.0
    index_poll_s: float = 0.2
    on_live: Callable[[], None] = lambda: None
    _covered: int | None = None
    _seen: Recent = field(default_factory=Recent)

    async def items(self, watermark: int | None) -> AsyncGenerator[SourceItem, None]:
        """See `EventSource`. Raises `WatermarkGapError` and `ConfigurationError`."""
        self._covered = watermark
        async with aclosing(reconnecting(self._connection, self.clock, self.backoff)) as items:
            async for item in items:
                yield item

    async def _connection(self) -> AsyncGenerator[SourceItem, None]:
        """One connection's life: ends only by an exception."""
        info = await self.ledger.service_info()
        start = self._start(info)
        frames = self.ledger.subscribe_events(self.event_filter, idle_timeout_s=self.idle_timeout_s)
        async with aclosing(frames):
            first = asyncio.ensure_future(anext(frames))
            try:
                async with aclosing(self._catch_up(start, info.checkpoint, first)) as past:
                    async for item in past:
                        yield item
                frame: EventFrame = await first
            finally:
                if not first.done():
                    first.cancel()
                    # The generator cannot be closed while it runs.
                    await asyncio.wait({first})
            while True:
                for item in self._from_frame(frame):
                    yield item
                frame = await anext(frames)

    def _start(self, info: ServiceInfo) -> int:
        if info.chain_id != self.chain_id:
            raise ConfigurationError(
                f"the endpoint serves chain {info.chain_id}, but the trust roots pin chain {self.chain_id}: "
                "correct DAAS_SUI_ENDPOINT or DAAS_TRUST_ROOTS_FILE"
            )
        if self._covered is None:
            return self.replay.first_checkpoint(info)
        if self._covered + 1 < info.lowest_available_checkpoint:
            raise WatermarkGapError(self._covered, info.lowest_available_checkpoint)
        if is_far_beyond(self._covered, info.checkpoint):
            # This endpoint is far behind, or another one lied about the tip. Going back costs a longer list:
            # claims and chain tell what was run.
            start = self.replay.first_checkpoint(info)
            _log.error(
                "the watermark lies far beyond the chain's tip, replaying what may still want an answer",
                extra={"watermark": self._covered, "tip": info.checkpoint, "replay_from": start},
            )
            return start
        return self._covered + 1

    async def _catch_up(
        self, start: int, tip: int, first: asyncio.Future[EventFrame]
    ) -> AsyncGenerator[SourceItem, None]:
        """Lists from checkpoint `start` until the index covers the first live frame."""
        cursor: bytes | None = None
        covered = start - 1
        announced = False
        while True:
            # Whether this pass already knows how far it must reach: then only the index can be behind.
            informed = first.done()
            # A range that begins beyond the tip is an error at some endpoints, and empty anyway.
            if start <= tip or announced:
                pages = self.ledger.list_events(self.event_filter, start, after=cursor)
                async with aclosing(pages):
                    async for page in pages:
                        for event in page.events:
                            if self._seen.is_new(event.position):
                                yield SourcedEvent(event, replayed=True)
                        cursor = page.cursor
                        if page.checkpoint is not None and page.checkpoint > covered:
                            covered = page.checkpoint
                            if self._advance(covered):
                                yield Covered(covered)
            if not announced:
                announced = True
                self.on_live()
            await asyncio.wait({first})
            if covered >= _reach(first.result()):
                return
            if informed:
                await self.clock.sleep(self.index_poll_s)

    def _from_frame(self, frame: EventFrame) -> list[SourceItem]:
        items: list[SourceItem] = []
        if frame.event is not None and self._seen.is_new(frame.event.position):
            items.append(SourcedEvent(frame.event, replayed=False))
        if frame.checkpoint is not None and self._advance(frame.checkpoint):
            items.append(Covered(frame.checkpoint))
        return items

    def _advance(self, checkpoint: int) -> bool:
        if self._covered is not None and checkpoint <= self._covered:
            return False
        self._covered = checkpoint
        return True


def _reach(first: EventFrame) -> int:
    """The checkpoint that the list must have covered before the live stream alone is complete."""
    event_checkpoint = first.event.checkpoint if first.event is not None else None
    return max(event_checkpoint or 0, first.checkpoint or 0)
