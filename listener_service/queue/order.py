"""Order among mutations: those of one named object run one after the other, as the chain ordered them."""

from __future__ import annotations

import itertools
from collections import OrderedDict

from listener_service.queue.ticket import ObjectKey, Ticket


class ObjectLines:
    """The lines of objects, whoever their holders are; an object without commands takes no memory."""

    def __init__(self) -> None:
        self._lines: dict[ObjectKey, OrderedDict[Ticket, None]] = {}

    def __len__(self) -> int:
        """Objects with commands."""
        return len(self._lines)

    def enter(self, ticket: Ticket) -> bool:
        """Whether it is its turn at once."""
        if ticket.object_key is None:
            return True
        line = self._lines.setdefault(ticket.object_key, OrderedDict())
        line[ticket] = None
        return len(line) == 1

    def sort_in(self, ticket: Ticket, behind: Ticket | None) -> None:
        """It entered a second time: it comes before those that the chain ordered later, but for this one."""
        line = self._line(ticket)
        for other in [one for one in line if one.order > ticket.order and one is not behind]:
            line.move_to_end(other)

    def first(self, ticket: Ticket) -> Ticket | None:
        """Who has the turn of this ticket's object."""
        return next(iter(self._line(ticket)), None)

    def overtakes(self, ticket: Ticket) -> bool:
        """Whether it has its turn although an earlier command waits for it."""
        first, second = (*itertools.islice(self._line(ticket), 2), None, None)[:2]
        return first is ticket and second is not None and second.order < ticket.order

    def has_turn(self, ticket: Ticket) -> bool:
        """Whether every earlier command on its object has left."""
        return ticket.object_key is None or next(iter(self._lines[ticket.object_key])) is ticket

    def leave(self, ticket: Ticket) -> Ticket | None:
        """Whose turn it is now because of that, if anybody's. Leaving twice is harmless."""
        key = ticket.object_key
        line = None if key is None else self._lines.get(key)
        if key is None or line is None or ticket not in line:
            return None
        had_turn = next(iter(line)) is ticket
        del line[ticket]
        if not line:
            del self._lines[key]
            return None
        return next(iter(line)) if had_turn else None

    def _line(self, ticket: Ticket) -> OrderedDict[Ticket, None]:
        line = None if ticket.object_key is None else self._lines.get(ticket.object_key)
        return OrderedDict() if line is None else line
