"""The queue as the service uses it: whoever comes waits for room, whoever may start is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from listener_service.clock import Clock
from listener_service.queue.core import Queue
from listener_service.queue.memory import MemoryBound
from listener_service.queue.ticket import Ticket

_log = logging.getLogger(__name__)

# How late it may be noticed that a deadline has passed, or that memory is short.
_LOOK_EVERY_S = 0.2


@dataclass(slots=True)
class Dispatcher:
    """Used on one event loop. `start` is called for each command that may start; it must not wait, and the
    command is in work until `done`.
    """

    queue: Queue
    memory: MemoryBound
    clock: Clock
    start: Callable[[Ticket], None]
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def put(self, ticket: Ticket) -> None:
        """Waits until there is room: what comes behind it is not read meanwhile."""
        while not self.queue.has_room(ticket):
            self._room.clear()
            await self._room.wait()
        self.queue.put(ticket)
        self._go_on()

    def put_again(self, ticket: Ticket) -> None:
        """See `Queue.put_again`. There is room: it was here before."""
        self.queue.put_again(ticket)
        self._go_on()

    def aside(self, ticket: Ticket) -> list[Ticket]:
        """It waits among the unconfirmed. Returns those that had to go for it."""
        return self.queue.unconfirmed.add(ticket)

    def forget(self, ticket: Ticket) -> bool:
        """It does not wait among the unconfirmed any more. Whether it did."""
        waited = self.queue.unconfirmed.remove(ticket)
        self._go_on()
        return waited

    def leave(self, ticket: Ticket) -> None:
        """Its place and its turn are free, though it is not answered yet."""
        self.queue.leave(ticket)
        self._go_on()

    def hold(self, ticket: Ticket, held_bytes: int) -> None:
        """So much memory does it take from now on."""
        self.queue.hold(ticket, held_bytes)
        self._go_on()

    def done(self, ticket: Ticket) -> None:
        """It is answered, or left to a successor."""
        self.queue.done(ticket)
        self._go_on()

    async def run(self) -> None:
        """Looks after deadlines and memory, until cancelled."""
        while True:
            before, now = self.queue.bound_bytes, self.memory.look()
            if now < before:
                _log.warning("memory is short, the queue is smaller now", extra={"bytes": now})
            self.queue.bound(now)
            self._go_on()
            await self.clock.sleep(_LOOK_EVERY_S)

    def close(self) -> None:
        """Starts nothing more: what waits is left to a successor."""
        self.queue.close()

    def _go_on(self) -> None:
        while (ticket := self.queue.take(self.clock.now_ms())) is not None:
            self.start(ticket)
        self._room.set()
