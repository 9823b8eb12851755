"""Replies to discovery, kept for a while in this process: within a bound of bytes, each fetched once.

Guarantees, in this order of weight:

1. Only a complete 200 to exactly this question is kept; every other reply reaches the caller who caused it
   and nobody else.
2. What was asked before definitions changed is neither kept nor given to who asks afterwards.
3. However many ask for the same at once, one command fetches it; where it brings nothing to keep, each of the
   others asks for himself.
4. Bodies, headers and keys together take no more than `max_bytes`; the least recently used leave first.

The cache decides about nobody's rights: who asks it was admitted before.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

from chalicelib.replies import GatewayReply
from chalicelib.sizes import Reading

# How long after a write of definitions the API server may still answer with the old ones.
SUSPENSION_S = 30.0
# What an entry takes beside its texts and bytes, roughly: objects, tuples and their places in dictionaries.
ENTRY_OVERHEAD_BYTES = 1024

OK, NOT_MODIFIED = 200, 304
# Aggregated discovery marks a group that it only remembers so, in every encoding.
STALE_MARK = b"Stale"
# About one exchange, not about the document.
_ONCE = frozenset({"audit-id", "retry-after"})

Outcome = Literal["hit", "shared", "stored", "revalidated", "miss", "suspended"]
"""How a reply came about: kept; fetched by somebody who asked at the same time; fetched by another process;
kept, and confirmed by the API server; fetched; fetched although kept replies exist, because definitions
changed a moment ago."""


class Fetched(NamedTuple):
    """What a fetch brought. `own` says that exactly this was asked, just now; else the reply is the answer
    that an earlier request of the same caller left behind, and good for him only. `stored_s` is how old it is
    in seconds if another process fetched it, `revalidated` that the API server confirmed what one had."""

    reply: GatewayReply
    own: bool
    stored_s: float | None = None
    revalidated: bool = False


Fetch = Callable[[str | None], Fetched]
"""Asks the API server, with the ETag that is known already, if any."""


class Definitions(NamedTuple):
    """What all processes know of the definitions: their generation (another one after each change), and
    whether they may be changing now."""

    generation: int
    changing: bool


class DiscoveryKey(NamedTuple):
    """What tells replies apart. `query` as sent, `accept` normalised."""

    cluster: str
    path: str
    query: str
    accept: str


@dataclass
class CacheCounters:
    """Since the process began; `bytes` and `entries` as of now."""

    hit: int = 0
    shared: int = 0
    stored: int = 0
    revalidated: int = 0
    miss: int = 0
    suspended: int = 0
    kept: int = 0
    evicted: int = 0
    dropped_by_writes: int = 0
    bytes: int = 0
    entries: int = 0


@dataclass(frozen=True)
class _Entry:
    reply: GatewayReply
    fetched_s: float
    size: int


class _Flight:
    """One fetch under way: what it may confirm, and what it brings for the others who wait."""

    def __init__(self, generation: int, began_s: float, expired: _Entry | None) -> None:
        self.generation = generation
        self.began_s = began_s
        self.expired = expired
        self.done = threading.Event()
        self.reply: GatewayReply | None = None


class DiscoveryCache:
    """Used by many request threads at once. `ttl_s` counts from the moment the fetch began."""

    def __init__(
        self,
        *,
        ttl_s: float,
        max_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._entries: OrderedDict[DiscoveryKey, _Entry] = OrderedDict()
        self._flights: dict[DiscoveryKey, _Flight] = {}
        self._generation = 0
        self._followed: int | None = None
        self._suspended_until_s = float("-inf")
        self._counters = CacheCounters()

    def serve(
        self, key: DiscoveryKey, fetch: Fetch, *, patience_s: float, definitions: Definitions
    ) -> tuple[GatewayReply, Outcome]:
        """The reply, and how it came about. `patience_s` bounds the wait for somebody else's fetch;
        `definitions` were read after the question came.

        Raises what `fetch` raises.
        """
        with self._lock:
            kept, flight, leads = self._plan(key, definitions)
        if kept is not None:
            return self._counted(kept.reply, "hit")
        if flight is None:
            return self._counted(fetch(None).reply, "suspended")
        if leads:
            return self._lead(key, flight, fetch)
        flight.done.wait(patience_s)
        if flight.reply is not None:
            return self._counted(flight.reply, "shared")
        return self._counted(fetch(None).reply, "miss")

    @contextmanager
    def definitions_change(self) -> Iterator[None]:
        """Around a command that may change what is discovered: from before it starts until `SUSPENSION_S`
        after it ended, whatever became of it, nothing is kept and nothing kept is given."""
        self._suspend()
        try:
            yield
        finally:
            self._suspend()

    def counters(self) -> dict[str, int]:
        """For the log: see `CacheCounters`."""
        with self._lock:
            return asdict(self._counters)

    def reading(self) -> Reading:
        """For the metrics: a hit is what cost no command."""
        with self._lock:
            counts = self._counters
            asked = counts.miss + counts.revalidated + counts.suspended
            hits = counts.hit + counts.shared + counts.stored
            return Reading(hits, asked, counts.evicted, counts.entries, counts.bytes)

    def _plan(
        self, key: DiscoveryKey, definitions: Definitions
    ) -> tuple[_Entry | None, _Flight | None, bool]:
        """What to give, else whose fetch to wait for, and whether that one is the caller's own to make."""
        if definitions.generation != self._followed:
            self._drop_all()
            self._followed = definitions.generation
        now_s = self._monotonic()
        if definitions.changing or now_s < self._suspended_until_s:
            return None, None, False
        entry = self._entries.get(key)
        if entry is not None and now_s - entry.fetched_s < self._ttl_s:
            self._entries.move_to_end(key)
            return entry, None, False
        flight = self._flights.get(key)
        if flight is not None:
            return None, flight, False
        own = self._flights[key] = _Flight(self._generation, now_s, entry)
        return None, own, True

    def _lead(self, key: DiscoveryKey, flight: _Flight, fetch: Fetch) -> tuple[GatewayReply, Outcome]:
        expired = flight.expired
        etag = None if expired is None else expired.reply.header("ETag")
        try:
            reply, own, stored_s, revalidated = fetch(etag)
            outcome: Outcome = "miss" if stored_s is None else "stored"
            if expired is not None and etag is not None and reply.status == NOT_MODIFIED:
                reply, revalidated = expired.reply, True
            if revalidated:
                outcome = "revalidated"
            if own and is_complete(reply):
                flight.reply = for_all(reply)
                flight.began_s -= stored_s or 0.0
        finally:
            with self._lock:
                if flight.reply is not None and flight.generation == self._generation:
                    self._keep(key, _Entry(flight.reply, flight.began_s, _size(key, flight.reply)))
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.done.set()
        return self._counted(reply, outcome)

    def _keep(self, key: DiscoveryKey, entry: _Entry) -> None:
        self._drop(key)
        # One reply shall not push out all others.
        if entry.size > self._max_bytes // 2:
            return
        self._entries[key] = entry
        self._counters.kept += 1
        self._counters.bytes += entry.size
        self._counters.entries += 1
        while self._counters.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
            self._counters.evicted += 1

    def _drop(self, key: DiscoveryKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._counters.bytes -= entry.size
            self._counters.entries -= 1

    def _suspend(self) -> None:
        with self._lock:
            self._drop_all()
            self._suspended_until_s = max(self._suspended_until_s, self._monotonic() + SUSPENSION_S)

    def _drop_all(self) -> None:
        self._generation += 1
        self._counters.dropped_by_writes += len(self._entries)
        self._counters.bytes = self._counters.entries = 0
        self._entries.clear()
        # Who asks from now on must not get what was asked before.
        self._flights.clear()

    def _counted(self, reply: GatewayReply, outcome: Outcome) -> tuple[GatewayReply, Outcome]:
        with self._lock:
            setattr(self._counters, outcome, getattr(self._counters, outcome) + 1)
        return reply, outcome


def is_complete(reply: GatewayReply) -> bool:
    """Whether this is the whole answer, good for everybody: a 200 without parts that the API server calls
    stale (an aggregated API that is away), and that nobody forbids to keep."""
    if reply.status != OK or "no-store" in (reply.header("Cache-Control") or "").lower():
        return False
    aggregated = "APIGroupDiscoveryList" in (reply.header("Content-Type") or "")
    return not (aggregated and STALE_MARK in reply.body)


def for_all(reply: GatewayReply) -> GatewayReply:
    """Without what is about one exchange only."""
    kept = tuple((name, value) for name, value in reply.headers if name.lower() not in _ONCE)
    return replace(reply, headers=kept)


def _size(key: DiscoveryKey, reply: GatewayReply) -> int:
    texts = sum(map(len, key)) + sum(len(name) + len(value) for name, value in reply.headers)
    return len(reply.body) + texts + ENTRY_OVERHEAD_BYTES
