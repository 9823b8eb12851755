"""Time as the listener sees it, behind a seam so that tests need not wait."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock and waiting.

    1. `now_ms` is Unix time in milliseconds and runs on while the machine is suspended: the three times of a
       command are compared with it.
    2. `sleep` waits for at least that long, and can be cancelled.
    """

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
