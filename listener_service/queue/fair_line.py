"""Whose turn it is: start-time fair queueing among holders, weighted by the roles of their commands.

Each holder has a line of his own, in the chain's order. The one whose next command has the earliest *start
tag* comes first; a command of weight w moves its holder's next tag by 1/w. Who comes new is tagged with the
present, so he waits for none of what the others have piled up, whatever their weight.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from listener_service.queue.shares import Fit
from listener_service.queue.ticket import Ticket


@dataclass(slots=True, eq=False)
class _Holder:
    name: bytes
    tag: float
    waiting: list[Ticket] = field(default_factory=list)


_Entry = tuple[float, int, int, int, _Holder]


class FairLine:
    """Tickets of one kind that may start as far as order is concerned. Holders without any take no memory."""

    def __init__(self) -> None:
        self._holders: dict[bytes, _Holder] = {}
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()
        self._present = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, ticket: Ticket) -> None:
        """A place in its holder's line, by the chain's order."""
        holder = self._holders.get(ticket.holder)
        if holder is None:
            holder = self._holders[ticket.holder] = _Holder(ticket.holder, self._present)
        bisect.insort(holder.waiting, ticket, key=_order)
        self._length += 1
        if len(holder.waiting) == 1:
            self._enter(holder)

    def remove(self, ticket: Ticket) -> None:
        """It is here, and is not to be taken."""
        holder = self._holders[ticket.holder]
        del holder.waiting[bisect.bisect_left(holder.waiting, ticket.order, key=_order)]
        self._length -= 1
        if not holder.waiting:
            del self._holders[ticket.holder]
        if len(self._heap) > 2 * len(self._holders) + 16:
            self._heap = [entry for entry in self._heap if entry[-1].waiting]
            heapq.heapify(self._heap)

    def take(self, fit: Callable[[Ticket], Fit]) -> Ticket | None:
        """The next that fits. None: no more now.

        Who is over his share is passed over. Who does not fit although he has nothing is waited for, or
        smaller ones would always come before him.
        """
        passed: list[_Entry] = []
        try:
            while self._heap:
                entry = heapq.heappop(self._heap)
                holder = entry[-1]
                if not holder.waiting:
                    continue
                match fit(holder.waiting[0]):
                    case Fit.YES:
                        return self._take(holder)
                    case Fit.OVER_SHARE:
                        passed.append(entry)
                    case Fit.FULL:
                        passed.append(entry)
                        return None
            return None
        finally:
            for entry in passed:
                heapq.heappush(self._heap, entry)

    def _take(self, holder: _Holder) -> Ticket:
        ticket = holder.waiting.pop(0)
        self._length -= 1
        self._present = max(self._present, holder.tag)
        holder.tag += 1 / (1 + ticket.priority)
        if holder.waiting:
            self._enter(holder)
        else:
            del self._holders[holder.name]
        return ticket

    def _enter(self, holder: _Holder) -> None:
        head = holder.waiting[0]
        # A number, since who is put again has the order of an entry that may still be there.
        entry = (holder.tag, -head.priority, head.order, next(self._numbers), holder)
        heapq.heappush(self._heap, entry)


def _order(ticket: Ticket) -> int:
    return ticket.order
