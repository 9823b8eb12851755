"""Events whose transaction too few endpoints show yet wait here, without a place that others need.

One endpoint of several may be ahead of the others, and one may invent events. In both cases the others do not
know the transaction. So a command that is not known at the first look leaves its place and its object's turn,
and comes into the queue again, with its order, once it is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from k3s_daas.errors import DaasError
from k3s_daas.sui.ledger import ChainEvent
from listener_service.backoff import Backoff
from listener_service.clock import Clock
from listener_service.queue.dispatcher import Dispatcher
from listener_service.queue.ticket import Ticket
from listener_service.refusal import UnbelievableError
from listener_service.verification import Verifier

_log = logging.getLogger(__name__)

# How long the endpoints may need to know a transaction whose event one of them has delivered.
_PATIENCE_MS = 30_000
# Looks at a time, however many wait.
_LOOKS = 8


class OvertakingError(DaasError):
    """An earlier command on the same object, known only now, comes first."""


@dataclass(slots=True)
class Confirmation:
    """`give_up` is told what is not waited for any longer, and why."""

    verifier: Verifier
    dispatcher: Dispatcher
    clock: Clock
    give_up: Callable[[ChainEvent, UnbelievableError], None]
    _tasks: dict[Ticket, asyncio.Task[None]] = field(default_factory=dict)
    _looks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LOOKS))
    _closed: bool = False

    def wait_for(self, ticket: Ticket) -> None:
        """It comes into the queue again once its transaction is known."""
        if self._closed:
            return
        if ticket.unconfirmed_since_ms is None:
            ticket.unconfirmed_since_ms = self.clock.now_ms()
        for gone in self.dispatcher.aside(ticket):
            self._tasks.pop(gone).cancel()
            self.give_up(
                gone.sourced.event,
                UnbelievableError(
                    "crowded-out",
                    "the endpoint does not know the transaction, and too many such events came after it",
                ),
            )
        self._tasks[ticket] = asyncio.create_task(self._look_on(ticket, ticket.unconfirmed_since_ms))

    async def earlier_first(self, ticket: Ticket) -> None:
        """For a command in work, before it does anything: raises `OvertakingError` if an earlier one on its
        object is known by now, and waits for its turn.
        """
        # The newest: who is true lags for seconds, and many others can be invented.
        earlier = self.dispatcher.queue.unconfirmed.before(ticket)[:_LOOKS]
        shown = await asyncio.gather(*(self.verifier.is_shown(one.sourced.event) for one in earlier))
        for one, is_shown in zip(earlier, shown, strict=True):
            if is_shown:
                self._confirmed(one)
        if self.dispatcher.queue.overtakes(ticket):
            raise OvertakingError("an earlier command on the same object comes first")

    async def close(self) -> None:
        """What waits is left to a successor."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_on(self, ticket: Ticket, since_ms: int) -> None:
        event, backoff = ticket.sourced.event, Backoff(base_s=0.05, cap_s=2.0)
        try:
            while True:
                await self.clock.sleep(backoff.next_delay_s())
                async with self._looks:
                    is_shown = await self.verifier.is_shown(event)
                if is_shown:
                    break
                if self.clock.now_ms() >= since_ms + _PATIENCE_MS:
                    raise UnbelievableError(
                        "unknown-transaction", "the endpoint does not know the transaction"
                    )
        except UnbelievableError as error:
            self._tasks.pop(ticket, None)
            if self.dispatcher.forget(ticket):
                self.give_up(event, error)
            return
        except Exception:  # noqa: BLE001  the last line of defence of a task
            _log.exception("looking for a transaction failed, its command is verified again")
        self._confirmed(ticket)

    def _confirmed(self, ticket: Ticket) -> None:
        task = self._tasks.pop(ticket, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if self.dispatcher.forget(ticket):
            self.dispatcher.put_again(ticket)
