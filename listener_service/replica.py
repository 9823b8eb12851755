"""One process among several: it stands by, leads for a term, and stands by again if it loses the lead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from listener_service.leadership import Leadership, NotLeadingError, Term
from listener_service.service import ListenerService

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Replica:
    """`begin` makes what works in a term; `skip_to` is a checkpoint that the operator resumes after."""

    leadership: Leadership
    begin: Callable[[Term], Coroutine[Any, Any, ListenerService]]
    skip_to: int | None = None
    _finishing: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and until what was claimed is finished. Raises what needs a person:
        `ConfigurationError`, or what a source raises."""
        try:
            while not stop.is_set():
                term = await unless(stop, self.leadership.acquire())
                if term is not None:
                    await self._lead(term, stop)
        finally:
            await asyncio.gather(*self._finishing)

    async def _lead(self, term: Term, stop: asyncio.Event) -> None:
        """The Lease is renewed until the service has drained, then given back. What was claimed goes on."""
        service: ListenerService | None = None

        def progress() -> int | None:
            return None if service is None else service.watermark

        keeping = asyncio.create_task(self.leadership.keep(term, progress))
        stopped = asyncio.create_task(_until(stop))
        ended = asyncio.Event()
        for task in (keeping, stopped):
            task.add_done_callback(lambda _: ended.set())
        try:
            service = await self._begun(term, ended)
            if service is not None:
                await service.run(ended, watermark=self._watermark(term))
            if keeping.done():
                keeping.result()
        finally:
            for task in (keeping, stopped):
                task.cancel()
            await asyncio.gather(keeping, stopped, return_exceptions=True)
            if service is not None and service.unfinished:
                self.leadership.finishes(service.finish_s)
                finishing = asyncio.create_task(service.finish())
                self._finishing.add(finishing)
                finishing.add_done_callback(self._finishing.discard)
            await self.leadership.release(term, progress())

    async def _begun(self, term: Term, ended: asyncio.Event) -> ListenerService | None:
        """None if the term, or the process, ended first."""
        try:
            return await unless(ended, self.begin(term))
        except NotLeadingError:
            _log.warning("the term ended before the work could begin", extra={"term": term.number})
            return None

    def _watermark(self, term: Term) -> int | None:
        """The stored one, or a later one that the operator chose."""
        stored = term.watermark
        if self.skip_to is None or (stored is not None and stored >= self.skip_to):
            return stored
        _log.warning(
            "events are skipped on the operator's word", extra={"stored": stored, "until": self.skip_to}
        )
        return self.skip_to


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work returns; None if the event came first, and then the work is cancelled."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(_until(event))
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


async def _until(event: asyncio.Event) -> None:
    await event.wait()
