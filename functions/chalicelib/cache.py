"""A small cache on the event loop: each value lives for a while and is loaded once, however many wait."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from chalicelib.sizes import Reading, deep_size

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class _Entry(Generic[V]):
    task: asyncio.Task[V]
    started_s: float


class SingleFlightCache(Generic[K, V]):
    """`get` on one event loop only. A failed load is not kept: the next caller loads again."""

    def __init__(
        self,
        load: Callable[[K], Awaitable[V]],
        *,
        ttl_s: float,
        capacity: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._monotonic = monotonic
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    async def get(self, key: K) -> tuple[V, float]:
        """The value and when its load began, at most `ttl_s` ago. Raises what the load raises."""
        entry = self._entries.get(key)
        if entry is not None and not self._is_over(entry):
            self._hits += 1
        else:
            self._misses += 1
            # The age counts from the start of the load: what it returns may be as old as that.
            entry = _Entry(asyncio.ensure_future(self._loaded(key)), self._monotonic())
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
                self._evictions += 1
        # A caller that is cancelled does not take the load away from the others.
        return await asyncio.shield(entry.task), entry.started_s

    def last(self, key: K) -> V | None:
        """What was loaded last, however old; None if nothing was, or it is being loaded again."""
        entry = self._entries.get(key)
        return entry.task.result() if entry is not None and _has_loaded(entry.task) else None

    def forget(self, key: K) -> None:
        """Load again at the next `get`."""
        self._entries.pop(key, None)

    def reading(self) -> Reading:
        """What it holds and did; on the event loop too."""
        held = [(key, entry.task.result()) for key, entry in self._entries.items() if _has_loaded(entry.task)]
        return Reading(self._hits, self._misses, self._evictions, len(self._entries), deep_size(held))

    async def _loaded(self, key: K) -> V:
        return await self._load(key)

    def _is_over(self, entry: _Entry[V]) -> bool:
        if not entry.task.done():
            return False
        return not _has_loaded(entry.task) or self._monotonic() - entry.started_s >= self._ttl_s


def _has_loaded(task: asyncio.Task[V]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
