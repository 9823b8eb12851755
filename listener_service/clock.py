"""Time as the listener sees it, behind seams so that tests need not wait.

Three clocks, each for one purpose:

- `boot_s`, seconds since the machine started. It runs on while the machine sleeps and while the process is
  stopped, and nobody can set it. Leases and offsets are measured with it.
- `ClusterClock`, the API server's time: what commands, claims and answers are dated by. No time that counts
  is the machine's own.
- `sleep`, the event loop's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from k3s_daas.errors import DaasError

# Outside Linux the monotonic clock is the one that counts while the machine sleeps.
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# NTP slews a clock by no more than 500 ppm.
_DRIFT = 500e-6
# An HTTP `Date` says which second it is.
_RESOLUTION_MS = 1000


class Clock(Protocol):
    """The time and waiting.

    1. `now_ms` is Unix time in milliseconds, and runs on while the machine is suspended: the three times of a
       command are compared with it.
    2. `sleep` waits for at least that long, and can be cancelled.
    """

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


class BoundedClock(Clock, Protocol):
    """A clock that says how exactly it knows the time.

    It lies between `earliest_ms` and `now_ms`. What must not happen *after* a time is compared with `now_ms`,
    what must not happen *before* one with `earliest_ms`.
    """

    def earliest_ms(self) -> int:
        """The earliest that it can be, Unix time in milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def boot_s() -> float:
    """Seconds since the machine started, those of suspension included."""
    return time.clock_gettime(_BOOT_CLOCK)


class TimeUnknownError(DaasError):
    """No reply of the API server has told the time yet."""


@dataclass(frozen=True, slots=True)
class _Offset:
    """Bounds of (API server's Unix ms - boot ms), as known at boot ms `at`."""

    earliest: float
    latest: float
    at: float

    def aged(self, now: float) -> _Offset:
        drift = (now - self.at) * _DRIFT
        return _Offset(self.earliest - drift, self.latest + drift, now)


class ClusterClock:
    """The API server's time, from the `Date` of its replies and `boot_s`. See `BoundedClock`.

    Each reply narrows it down: its `Date` was true somewhere between sending and receiving. If a reply
    contradicts the earlier ones, the server's clock was set, and that reply alone counts.
    """

    def __init__(self, boot_s: Callable[[], float] = boot_s) -> None:
        self._boot_s = boot_s
        self._offset: _Offset | None = None

    def observe(self, date_ms: int, *, sent_s: float, received_s: float) -> None:
        """A reply said `date_ms` (whole seconds); `sent_s` and `received_s` are `boot_s` around it."""
        at = received_s * 1000
        seen = _Offset(date_ms - at, date_ms + _RESOLUTION_MS - sent_s * 1000, at)
        if self._offset is not None:
            known = self._offset.aged(at)
            both = _Offset(max(known.earliest, seen.earliest), min(known.latest, seen.latest), at)
            if both.earliest <= both.latest:
                seen = both
        self._offset = seen

    def now_ms(self) -> int:
        """The latest that it can be at the API server. Raises `TimeUnknownError` before the first reply."""
        now = self._boot_s() * 1000
        return math.ceil(now + self._known().aged(now).latest)

    def earliest_ms(self) -> int:
        """The earliest that it can be at the API server. Raises as `now_ms`."""
        now = self._boot_s() * 1000
        return math.floor(now + self._known().aged(now).earliest)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _known(self) -> _Offset:
        # One attribute, read once: commands ask from threads of their own.
        if (offset := self._offset) is None:
            raise TimeUnknownError(
                "no reply of the API server had a Date yet: look at what stands between it and the listener"
            )
        return offset
