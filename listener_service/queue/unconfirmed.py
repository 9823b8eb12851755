"""Commands whose transaction too few endpoints show yet: how many may wait for it, and who goes first."""

from __future__ import annotations

from collections.abc import Callable

from listener_service.queue.shares import Fit, Shares
from listener_service.queue.ticket import Ticket

# Measured: the task that looks for a transaction takes 1.8 KB besides the ticket, which a test repeats.
_LOOKING_BYTES = 2_048


class Unconfirmed:
    """Tickets outside of the lines, with neither a place nor a turn; `capacity` in bytes, as of now.

    Holders, as their events claim them, share it as `Shares` says. An endpoint can invent holders, too: then
    the one that has waited longest goes, which is the least likely to be true.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._shares = Shares(0)
        self._tickets: dict[Ticket, None] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def used_bytes(self) -> int:
        return self._shares.used

    def add(self, ticket: Ticket) -> list[Ticket]:
        """It waits from now on. Returns those that had to go for it."""
        gone = []
        self._shares.capacity = self._capacity()
        while (fit := self._shares.fit(ticket.holder, _bytes(ticket))) is not Fit.YES:
            oldest = next(one for one in self._tickets if fit is Fit.FULL or one.holder == ticket.holder)
            self.remove(oldest)
            gone.append(oldest)
        self._shares.take(ticket.holder, _bytes(ticket))
        self._tickets[ticket] = None
        return gone

    def remove(self, ticket: Ticket) -> bool:
        """Whether it was here. It is not any more."""
        if ticket not in self._tickets:
            return False
        del self._tickets[ticket]
        self._shares.give_back(ticket.holder, _bytes(ticket))
        return True

    def before(self, ticket: Ticket) -> list[Ticket]:
        """Those of the same object that the chain ordered before it; the newest come first."""
        if ticket.object_key is None:
            return []
        earlier = [
            one for one in self._tickets if one.object_key == ticket.object_key and one.order < ticket.order
        ]
        return sorted(earlier, key=lambda one: one.order, reverse=True)


def _bytes(ticket: Ticket) -> int:
    return ticket.waiting_bytes + _LOOKING_BYTES
