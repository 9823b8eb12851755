"""How long a command was in each stage."""

from __future__ import annotations

import time

from listener_service.counts import Counts
from listener_service.queue.ticket import Ticket


class Stopwatch:
    """A command's way through the stages, since it left the queue; `laps` is in milliseconds, for the log."""

    def __init__(self, counts: Counts, ticket: Ticket) -> None:
        self.laps: dict[str, float] = {}
        self._counts = counts
        self._kind = ticket.kind.value
        self._arrived = self._last = ticket.arrived_s
        self.lap("queue")

    def lap(self, stage: str) -> None:
        """This stage is over."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self.laps[f"{stage}_ms"] = round(seconds * 1000, 2)
        self._counts.took(stage, self._kind, seconds)

    def end(self) -> None:
        """It is answered."""
        self._counts.took("total", self._kind, self._last - self._arrived)
