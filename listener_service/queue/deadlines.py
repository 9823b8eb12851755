"""Which waiting commands can no longer start in time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from listener_service.queue.ticket import Ticket

# Tickets are found in steps of this size; who starts a command looks at the exact time.
_STEP_MS = 100


class Deadlines:
    """Waiting tickets by `start_by`."""

    def __init__(self) -> None:
        self._steps: dict[int, set[Ticket]] = {}
        self._heap: list[int] = []

    def add(self, ticket: Ticket) -> None:
        """It waits from now on."""
        step = ticket.start_by_ms // _STEP_MS
        if step not in self._steps:
            self._steps[step] = set()
            heapq.heappush(self._heap, step)
        self._steps[step].add(ticket)

    def remove(self, ticket: Ticket) -> None:
        """It is here, and does not wait any more."""
        step = ticket.start_by_ms // _STEP_MS
        self._steps[step].discard(ticket)
        while self._heap and not self._steps[self._heap[0]]:
            del self._steps[heapq.heappop(self._heap)]

    def passed(self, now_ms: int) -> Iterator[Ticket]:
        """Takes them out, in the order of their deadlines."""
        while self._heap and (self._heap[0] + 1) * _STEP_MS <= now_ms:
            yield from sorted(self._steps.pop(heapq.heappop(self._heap)), key=lambda ticket: ticket.order)
