"""The EventSource over several endpoints: what any of them delivers is delivered, once.

Each endpoint has a source of its own, with its own cursor, backoff and progress. Nobody is asked whether an
event is true, since the verifier proves that; what the quorum is for is *silence*. `Covered(c)` comes when a
quorum of sources have delivered all that they have up to c. One of them is honest, so a minority that
withholds, lags or is away loses nothing.

An event is dropped as a duplicate only if everything about it is the same: a forged one does not take the
place of the true one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from k3s_daas.errors import ConfigurationError
from listener_service.event_source.interface import (
    Covered,
    EventSource,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
)
from listener_service.event_source.recent import Recent

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A source that raised."""

    error: Exception


_Queue = asyncio.Queue[tuple[int, SourceItem | _Ended]]


@dataclass(slots=True)
class MergedEventSource:
    """See the module docstring. Raises what a source raises once fewer than `quorum` of them are left."""

    sources: Sequence[EventSource]
    quorum: int
    _seen: Recent = field(default_factory=Recent)

    async def items(self, watermark: int | None) -> AsyncGenerator[SourceItem, None]:
        """See `EventSource`."""
        queue: _Queue = asyncio.Queue()
        # One place for each source: whoever does not read on stops them all. An end needs no place.
        places = [asyncio.Semaphore(1) for _ in self.sources]
        pumps = [
            asyncio.create_task(_pump(number, source, watermark, queue, places[number]))
            for number, source in enumerate(self.sources)
        ]
        covered: dict[int, int] = {}
        announced, left = watermark, len(self.sources)
        try:
            while True:
                number, item = await queue.get()
                places[number].release()
                if isinstance(item, _Ended):
                    left -= 1
                    covered.pop(number, None)
                    self._lose(number, item.error, left)
                elif isinstance(item, SourcedEvent):
                    if self._seen.is_new(item.event.identity):
                        yield item
                else:
                    covered[number] = item.checkpoint
                    agreed = self._agreed(covered)
                    if agreed is not None and (announced is None or agreed > announced):
                        announced = agreed
                        yield Covered(agreed)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def _agreed(self, covered: dict[int, int]) -> int | None:
        if len(covered) < self.quorum:
            return None
        return sorted(covered.values(), reverse=True)[self.quorum - 1]

    def _lose(self, number: int, error: Exception, left: int) -> None:
        if not isinstance(error, WatermarkGapError | ConfigurationError):
            raise error
        _log.error(
            "an endpoint delivers no events until the listener is restarted",
            extra={"endpoint_number": number + 1, "endpoints_left": left, "error": str(error)},
        )
        if left < self.quorum:
            raise error


async def _pump(
    number: int,
    source: EventSource,
    watermark: int | None,
    queue: _Queue,
    place: asyncio.Semaphore,
) -> None:
    try:
        async with aclosing(source.items(watermark)) as items:
            async for item in items:
                await place.acquire()
                queue.put_nowait((number, item))
    except Exception as error:  # noqa: BLE001  raised again where the items are read
        # Without waiting: nobody may be reading any more.
        queue.put_nowait((number, _Ended(error)))
