"""Order among transactions in flight: those that share a mutable object run one after the other.

Order is the order of arrival, for all objects of a transaction at once, so nobody waits in a circle. Reads of
one shared object may overlap; a change waits for the reads before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Ticket:
    """A transaction's place in the order. ``executed`` and ``final`` are its two milestones."""

    def __init__(self, exclusive: Iterable[bytes], shared: Iterable[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.exclusive = tuple(exclusive)
        self.shared = tuple(shared)
        self.predecessors: tuple[Ticket, ...] = ()
        self.executed: asyncio.Future[None] = loop.create_future()
        self.final: asyncio.Future[None] = loop.create_future()


class Schedule:
    """The last ticket that changes each object, and the reads since."""

    def __init__(self) -> None:
        self._writers: dict[bytes, Ticket] = {}
        self._readers: dict[bytes, list[Ticket]] = {}

    def enter(self, exclusive: Iterable[bytes], shared: Iterable[bytes]) -> Ticket:
        """Queue up behind everything in flight that touches the same objects."""
        ticket = Ticket(exclusive, shared)
        before: dict[Ticket, None] = {}
        for object_id in (*ticket.exclusive, *ticket.shared):
            if object_id in self._writers:
                before[self._writers[object_id]] = None
        for object_id in ticket.exclusive:
            before.update(dict.fromkeys(self._readers.pop(object_id, ())))
            self._writers[object_id] = ticket
        for object_id in ticket.shared:
            self._readers.setdefault(object_id, []).append(ticket)
        ticket.predecessors = tuple(before)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Forget a final ticket."""
        for object_id in ticket.exclusive:
            if self._writers.get(object_id) is ticket:
                del self._writers[object_id]
        for object_id in ticket.shared:
            readers = self._readers.get(object_id, [])
            if ticket in readers:
                readers.remove(ticket)
            if not readers:
                self._readers.pop(object_id, None)
        ticket.predecessors = ()
