"""The time of the chain, in milliseconds since 1970: the system's, or one that tests set."""

from __future__ import annotations

import time
from typing import Protocol


class LedgerClock(Protocol):
    """Guarantee: never goes back."""

    def now_ms(self) -> int: ...


class SystemClock:
    """The machine's time; a step backwards of the machine is held back until it is caught up."""

    def __init__(self) -> None:
        self._last = 0

    def now_ms(self) -> int:
        self._last = max(self._last, time.time_ns() // 1_000_000)
        return self._last


class ManualClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, start_ms: int) -> None:
        self._now = start_ms

    def now_ms(self) -> int:
        return self._now

    def set(self, now_ms: int) -> None:
        """Jump forward.

        Raises:
            ValueError: the time lies before the present one.
        """
        if now_ms < self._now:
            raise ValueError(f"the chain's clock cannot go back from {self._now} to {now_ms}")
        self._now = now_ms

    def advance(self, by_ms: int) -> None:
        self.set(self._now + by_ms)
