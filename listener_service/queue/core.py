"""What waits, what is in work, and what comes next: decisions only, no I/O, no clock, no tasks.

::

    put ──▶ waiting ──▶ in work ──▶ done
            its event    a place and its turn until it ran (leave);
            in bytes     what it holds in bytes until it is answered (done)

Whose transaction is not known yet leaves work for `unconfirmed`, which is in the waiting room but in no line,
and is put again once it is known.

Parts of one bound: the waiting room, what is in work, and large replies (`replies.py`). So what waits never
keeps what works from going on, and what works needs nothing more than it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from listener_service.queue.deadlines import Deadlines
from listener_service.queue.fair_line import FairLine
from listener_service.queue.order import ObjectLines
from listener_service.queue.replies import Replies
from listener_service.queue.shares import Fit, Shares
from listener_service.queue.ticket import Kind, Ticket
from listener_service.queue.unconfirmed import Unconfirmed

# The waiting room's part of the bound, and that of large replies.
_PART = 4
# Of the waiting room, for what is not confirmed.
_UNCONFIRMED_PART = 4


@dataclass(slots=True)
class _InWork:
    place: Kind | None
    held_bytes: int


class Queue:
    """`places` of each kind; `bound_bytes` for all together.

    Holders share places and the bytes of work as `Shares` says, and come in turn as `FairLine` says.
    """

    def __init__(self, places: Mapping[Kind, int], bound_bytes: int) -> None:
        self._places = {kind: Shares(places[kind]) for kind in Kind}
        self._lines = {kind: FairLine() for kind in Kind}
        self._objects = ObjectLines()
        self._deadlines = Deadlines()
        self._work = Shares(0)
        self._in_work: dict[Ticket, _InWork] = {}
        self._waiting = 0
        self._waiting_bytes = 0
        self._next_order = 0
        self._turns = list(Kind)
        self._closed = False
        self.replies = Replies(lambda: self.reply_bytes)
        self.unconfirmed = Unconfirmed(lambda: self._room_bytes // _UNCONFIRMED_PART)
        self.bound(bound_bytes)

    def bound(self, bound_bytes: int) -> None:
        """Changes the bound. What is there already stays; nothing more comes while it is over."""
        self._bound_bytes = bound_bytes
        self._room_bytes = bound_bytes // _PART
        self._work.capacity = bound_bytes - self._room_bytes - self.reply_bytes

    @property
    def bound_bytes(self) -> int:
        return self._bound_bytes

    @property
    def reply_bytes(self) -> int:
        """The part that large replies share."""
        return self._bound_bytes // _PART

    @property
    def waiting(self) -> int:
        """Commands that wait."""
        return self._waiting

    @property
    def in_work(self) -> int:
        """Commands that were started and are not answered yet."""
        return len(self._in_work)

    @property
    def used_bytes(self) -> int:
        """Of the bound, by what waits and what is in work."""
        return self._waiting_bytes + self.unconfirmed.used_bytes + self._work.used

    @property
    def places_taken(self) -> dict[Kind, int]:
        return {kind: shares.used for kind, shares in self._places.items()}

    @property
    def waiting_by_kind(self) -> dict[Kind, int]:
        """Those that wait for a place; those that wait for their object's turn are in none."""
        return {kind: len(line) for kind, line in self._lines.items()}

    @property
    def is_closed(self) -> bool:
        """Nothing starts any more."""
        return self._closed

    @property
    def is_empty(self) -> bool:
        """Nothing waits, nothing is in work, and nothing of what was is remembered."""
        left = (len(self._objects), self._work.holders, *(shares.holders for shares in self._places.values()))
        return not (self._waiting or self._in_work or len(self.unconfirmed) or any(left))

    def has_room(self, ticket: Ticket) -> bool:
        """Whether it may wait here; otherwise the stream is not read on."""
        used = self._waiting_bytes + self.unconfirmed.used_bytes
        return not self._waiting or used + ticket.waiting_bytes <= self._room_bytes

    def put(self, ticket: Ticket) -> None:
        """It waits from now on. The order of calls is the chain's order."""
        ticket.order, self._next_order = self._next_order, self._next_order + 1
        self._wait(ticket)
        self._deadlines.add(ticket)
        if self._objects.enter(ticket):
            self._lines[ticket.kind].add(ticket)

    def put_again(self, ticket: Ticket) -> None:
        """It was put before, and comes before what was put after that. Its order is kept (`Ticket.again`)."""
        self._wait(ticket)
        if ticket.is_late:
            self._lines[Kind.LATE].add(ticket)
            return
        self._deadlines.add(ticket)
        first = self._objects.first(ticket)
        if not self._objects.enter(ticket):
            self._objects.sort_in(ticket, behind=first if first in self._in_work else None)
            if first is None or not self._objects.has_turn(ticket):
                return
            self._lines[first.kind].remove(first)
        self._lines[ticket.kind].add(ticket)

    def overtakes(self, ticket: Ticket) -> bool:
        """Whether an earlier command on its object was put again while it was started."""
        return self._objects.overtakes(ticket)

    def take(self, now_ms: int) -> Ticket | None:
        """The next to start, now in work; None if nothing can start now.

        One whose `start_by` has passed is taken as `LATE`: it has places of its own, and keeps nobody from
        his turn.
        """
        for late in self._deadlines.passed(now_ms):
            self._be_late(late)
        if self._closed:
            return None
        for kind in self._turns:
            ticket = self._take_of(kind)
            if ticket is not None:
                # They share the bytes of work, so none of them may always come first.
                self._turns.remove(kind)
                self._turns.append(kind)
                return ticket
        return None

    def leave(self, ticket: Ticket) -> None:
        """It has run, or will not: its place and its object's turn are free. Twice is harmless."""
        work = self._in_work.get(ticket)
        if work is None or work.place is None:
            return
        self._places[work.place].give_back(ticket.holder, 1)
        work.place = None
        self._pass_on(ticket)

    def hold(self, ticket: Ticket, held_bytes: int) -> None:
        """What it takes in work turned out to be this much, which nobody is asked for."""
        work = self._in_work[ticket]
        self._work.give_back(ticket.holder, work.held_bytes)
        self._work.take(ticket.holder, held_bytes)
        work.held_bytes = held_bytes

    def done(self, ticket: Ticket) -> None:
        """It is answered, or left to a successor."""
        self.leave(ticket)
        self._work.give_back(ticket.holder, self._in_work.pop(ticket).held_bytes)

    def close(self) -> None:
        """Nothing starts any more."""
        self._closed = True

    def _wait(self, ticket: Ticket) -> None:
        self._waiting += 1
        self._waiting_bytes += ticket.waiting_bytes

    def _take_of(self, kind: Kind) -> Ticket | None:
        places = self._places[kind]
        if places.used >= places.capacity:
            return None

        def fit(ticket: Ticket) -> Fit:
            of_places = places.fit(ticket.holder, 1)
            return self._work.fit(ticket.holder, ticket.work_bytes) if of_places is Fit.YES else of_places

        ticket = self._lines[kind].take(fit)
        if ticket is None:
            return None
        if not ticket.is_late:
            self._deadlines.remove(ticket)
        self._waiting -= 1
        self._waiting_bytes -= ticket.waiting_bytes
        places.take(ticket.holder, 1)
        self._work.take(ticket.holder, ticket.work_bytes)
        self._in_work[ticket] = _InWork(kind, ticket.work_bytes)
        return ticket

    def _be_late(self, ticket: Ticket) -> None:
        if self._objects.has_turn(ticket):
            self._lines[ticket.kind].remove(ticket)
        ticket.kind = Kind.LATE
        self._lines[Kind.LATE].add(ticket)
        self._pass_on(ticket)

    def _pass_on(self, ticket: Ticket) -> None:
        following = self._objects.leave(ticket)
        if following is not None:
            self._lines[following.kind].add(following)
