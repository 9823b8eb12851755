"""Limits on callers: how often something may happen for one of them.

`SharedLimit` holds across all functions, and asks nobody about a caller who did nothing wrong: only what is
to be counted is written, and what the answer said is remembered until the window ends. `Buckets` is the first
line, in this process alone. Both hold a bounded number of callers.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from chalicelib.errors import GatewayUnavailableError
from chalicelib.journey import Log
from chalicelib.sizes import Reading, deep_size
from chalicelib.windows import WindowId, Windows, window_end_s

# Callers that one limit remembers; whoever did nothing for longest is forgotten first.
CAPACITY = 4096
# While the table does not answer, it is asked again only so often: a refusal shall not wait for it each time.
PAUSE_S = 5.0


class Limit(NamedTuple):
    """So many events of one kind in so many seconds, for each caller."""

    kind: str
    most: int
    window_s: int


@dataclass
class _Seen:
    end_s: int
    count: int = 0


class SharedLimit:
    """Counts in the shared windows, and here; used by many request threads at once.

    While the table cannot be asked, what this process counted itself decides.
    """

    def __init__(
        self,
        limit: Limit,
        windows: Windows,
        *,
        now_ms: Callable[[], int],
        log: Log,
        capacity: int = CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._windows = windows
        self._now_ms = now_ms
        self._log = log
        self._capacity = capacity
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._evictions = 0
        self._asks_again_s = float("-inf")

    def reached(self, who: str) -> int | None:
        """Whole seconds until the window ends, if `who` is known here to have used it up; asks nobody."""
        now_ms = self._now_ms()
        with self._lock:
            seen = self._seen.get(who)
            if seen is None or seen.count < self.limit.most or seen.end_s * 1000 <= now_ms:
                return None
            return max(1, seen.end_s - now_ms // 1000)

    def count(self, who: str) -> None:
        """One event of `who`. Never raises: what cannot be counted for all is counted here."""
        if self._add(who):
            return
        if self._monotonic() < self._asks_again_s:
            return
        try:
            counted = self._windows.count(self._key(who), window_s=self.limit.window_s, limit=self.limit.most)
        except GatewayUnavailableError as error:
            self._asks_again_s = self._monotonic() + PAUSE_S
            line = {"event": "limit-not-shared", "limit": self.limit.kind, "reason": type(error).__name__}
            self._log(json.dumps(line))
            return
        self.learn(who, self.limit.most - counted.left)

    def window(self, who: str) -> WindowId:
        """The present window of `who`, for whoever reads it along with something else; see `learn`."""
        return WindowId(self._key(who), window_end_s(self._now_ms(), self.limit.window_s))

    def learn(self, who: str, count: int) -> None:
        """All functions together counted this many events of `who` in the present window."""
        if count:
            with self._lock:
                seen = self._present(who)
                seen.count = max(seen.count, count)

    def reading(self) -> Reading:
        """Callers remembered now."""
        with self._lock:
            return Reading(0, 0, self._evictions, len(self._seen), deep_size(self._seen))

    def _key(self, who: str) -> str:
        return f"{self.limit.kind}/{who}"

    def _add(self, who: str) -> bool:
        """Count here; whether the limit was reached before, so that nobody needs to be told."""
        with self._lock:
            seen = self._present(who)
            if seen.count >= self.limit.most:
                return True
            seen.count += 1
            return False

    def _present(self, who: str) -> _Seen:
        end_s = window_end_s(self._now_ms(), self.limit.window_s)
        seen = self._seen.get(who)
        if seen is None or seen.end_s != end_s:
            seen = self._seen[who] = _Seen(end_s)
        self._seen.move_to_end(who)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
            self._evictions += 1
        return seen


class Buckets:
    """A token bucket for each caller: `rate` per second, and `burst` at once. In this process only."""

    def __init__(
        self,
        *,
        rate: float,
        burst: float,
        capacity: int = CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._evictions = 0

    def take(self, who: str) -> bool:
        """Whether `who` may go on now."""
        now_s = self._monotonic()
        with self._lock:
            level, at_s = self._levels.get(who, (self._burst, now_s))
            level = min(self._burst, level + (now_s - at_s) * self._rate)
            allowed = level >= 1
            self._levels[who] = (level - 1 if allowed else level, now_s)
            self._levels.move_to_end(who)
            while len(self._levels) > self._capacity:
                self._levels.popitem(last=False)
                self._evictions += 1
        return allowed

    def reading(self) -> Reading:
        """Callers remembered now."""
        with self._lock:
            return Reading(0, 0, self._evictions, len(self._levels), deep_size(self._levels))
