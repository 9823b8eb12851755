"""The listener in one term of leading: events in, commands run, answers out, and nothing forgotten.

What comes waits in the queue, which decides what is in work and in which order; when it is full the stream
is not read on. There is one task for each command in work (`command_work.py`).

When the term is over nothing is started, and nothing is answered but what was claimed: the rest is the
successor's. What was claimed is waited for, without the lead, and answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from k3s_daas.contract.reader import ContractReader
from k3s_daas.ids import request_id_text
from k3s_daas.sui.ledger import ChainEvent
from listener_service.chores import Chore, kept_up
from listener_service.claim_removal import ClaimRemoval
from listener_service.claims import Claim, Claims
from listener_service.clock import BoundedClock
from listener_service.command_work import CommandWork, event_position
from listener_service.confirmation import Confirmation, OvertakingError
from listener_service.counts import Counts, Tally
from listener_service.event_source import Covered, EventSource, SourcedEvent
from listener_service.executor import Executor
from listener_service.frontier import Frontier
from listener_service.in_work import InWork
from listener_service.leadership import NotLeadingError, Term
from listener_service.logs import request_id_var
from listener_service.queue.core import Queue
from listener_service.queue.dispatcher import Dispatcher
from listener_service.queue.memory import MemoryBound
from listener_service.queue.ticket import Kind, Ticket, ticket_of
from listener_service.refusal import NotForUsError, UnbelievableError, UnconfirmedError
from listener_service.responder import Responder
from listener_service.succession import Succession
from listener_service.verification import Verifier

_log = logging.getLogger(__name__)

_LOOK_WHILE_DRAINING_S = 0.1


@dataclass(slots=True)
class ListenerService:
    """Wires source, verifier, claims, executor and responder, for one term."""

    term: Term
    source: EventSource
    verifier: Verifier
    claims: Claims
    executor: Executor
    responder: Responder
    reader: ContractReader
    places: Mapping[Kind, int]
    memory: MemoryBound
    drain_s: float
    finish_s: float
    clock: BoundedClock
    counts: Counts = field(default_factory=Tally)
    chores: Mapping[str, Chore[None]] = field(default_factory=dict)
    """What else goes on during the term, by name for the log; one that returns ends the term's work."""

    queue: Queue = field(init=False)
    _dispatcher: Dispatcher = field(init=False)
    _confirmation: Confirmation = field(init=False)
    _frontier: Frontier = field(default_factory=Frontier)
    _in_work: InWork = field(default_factory=InWork)
    _succession: Succession = field(init=False)
    _work: CommandWork = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(self.places, self.memory.now_bytes)
        self._dispatcher = Dispatcher(self.queue, self.memory, self.clock, self._begin)
        self._confirmation = Confirmation(self.verifier, self._dispatcher, self.clock, self._do_not_believe)
        self._succession = Succession(self.term, self.reader, self.responder, self.clock, self.counts)
        self._work = CommandWork(
            term=self.term,
            verifier=self.verifier,
            claims=self.claims,
            executor=self.executor,
            responder=self.responder,
            reader=self.reader,
            succession=self._succession,
            confirmation=self._confirmation,
            dispatcher=self._dispatcher,
            frontier=self._frontier,
            in_work=self._in_work,
            clock=self.clock,
            counts=self.counts,
        )

    @property
    def watermark(self) -> int | None:
        """The checkpoint to resume after: what came before is answered, or among the claims."""
        return self._frontier.watermark

    @property
    def covered(self) -> int | None:
        """Every event up to and including this checkpoint was delivered."""
        return self._frontier.covered

    async def run(self, stop: asyncio.Event, *, watermark: int | None) -> None:
        """Works until `stop`, then drains; what it claimed may be unfinished then, and is left to `finish`.
        Raises what the source raises: only what needs a person.

        The term may be over by then, or not: see the module docstring.
        """
        self._frontier.covered = watermark
        chores = {
            # Once the term is over the removal ends, and with it the rest.
            "remove claims": ClaimRemoval(self.claims, self.reader, self.clock).run,
            "look after deadlines and memory": self._dispatcher.run,
            **self.chores,
        }
        running = [
            asyncio.create_task(self._lead(watermark)),
            *(asyncio.create_task(kept_up(name, chore, self.clock)) for name, chore in chores.items()),
            asyncio.create_task(_until(stop)),
        ]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
        finally:
            self._dispatcher.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._confirmation.close()
            await self._drain()

    @property
    def unfinished(self) -> int:
        """How many commands are in work; after `run` they are claimed."""
        return len(self._in_work)

    async def finish(self) -> None:
        """Waits for what was claimed, at most `finish_s`: it may have run, and nobody else knows how it
        ended. The lead may be somebody else's by now; what is cut off he finds among the claims.
        """
        if not self._in_work:
            return
        _log.info("finishing what was claimed", extra={"commands": len(self._in_work)})
        try:
            await self._in_work.wait(self.finish_s)
        finally:
            if late := await self._in_work.cut_all():
                _log.warning("stopped with commands in work", extra={"commands": late})

    async def _lead(self, watermark: int | None) -> None:
        try:
            # Not kept: there may be ten thousands, and this goes on as long as the term.
            settling = asyncio.create_task(self._settling(await self.claims.inherit()))
        except NotLeadingError:
            return
        try:
            await self._read(watermark)
        finally:
            # What is not settled by now is the successor's, who finds the same claims.
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)

    async def _settling(self, inherited: Sequence[Claim]) -> None:
        await kept_up("settle claims", partial(self._settle, inherited), self.clock)

    async def _settle(self, inherited: Sequence[Claim]) -> None:
        try:
            await self._succession.settle_all(inherited)
        except NotLeadingError:
            _log.info("the term ended before all claims were settled")

    async def _read(self, watermark: int | None) -> None:
        async with aclosing(self.source.items(watermark)) as items:
            async for item in items:
                if isinstance(item, Covered):
                    self._frontier.cover(item.checkpoint)
                    continue
                self.counts.delivered(replayed=item.replayed)
                self._frontier.delivered(item.event.identity, item.event.checkpoint)
                ticket = self._ticket(item)
                if ticket is None:
                    self._frontier.settled(item.event.identity)
                else:
                    await self._dispatcher.put(ticket)

    def _ticket(self, sourced: SourcedEvent) -> Ticket | None:
        """None for what need not wait: it is not for us, or is no request."""
        try:
            requested = self.verifier.decode(sourced.event)
        except NotForUsError as error:
            _log.debug("event skipped", extra=event_position(sourced.event) | {"error": str(error)})
            return None
        except UnbelievableError as error:
            self._do_not_believe(sourced.event, error)
            return None
        return ticket_of(sourced, requested, self.verifier.priority_of)

    def _begin(self, ticket: Ticket) -> None:
        """The queue says that it may start."""
        self._in_work.begin(self._handle(ticket), partial(self._dispatcher.done, ticket))

    async def _handle(self, ticket: Ticket) -> None:
        """One command from its start to its answer. Never raises: one must not stop the others."""
        event = ticket.sourced.event
        try:
            requested = self.verifier.decode(event)
            request_id_var.set(request_id_text(requested.request_id))
            with self.queue.replies.reply(ticket.holder) as reply:
                await self._work.do(ticket, requested, reply)
        except UnbelievableError as error:
            self._do_not_believe(event, error)
        except UnconfirmedError:
            self._confirmation.wait_for(ticket.again())
            return
        except OvertakingError:
            self._dispatcher.put_again(ticket.again())
            return
        except NotLeadingError:
            _log.info("left to whoever leads now", extra=event_position(event))
            return
        except Exception:  # noqa: BLE001  the last line of defence of a task
            # A defect of ours must not stop the others; what may have run is claimed.
            _log.exception("event failed", extra=event_position(event))
        # Not if it was cancelled: then a successor sees the event again.
        self._frontier.settled(event.identity)

    def _do_not_believe(self, event: ChainEvent, error: UnbelievableError) -> None:
        _log.error(
            "event not believed, nothing was run",
            extra=event_position(event) | {"reason": error.reason, "error": str(error)},
        )
        self.counts.not_run(error.reason)
        self._frontier.settled(event.identity)

    async def _drain(self) -> None:
        """Waits for what is in work, at most `drain_s` and as long as the term lasts. Then what nobody
        claimed is the successor's, who finds it in the replay, as what waits in the queue.
        """
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + self.drain_s
        while self._in_work and self.term.is_current() and (left_s := ends_s - now_s()) > 0:
            # Again and again: a watch may open that was being verified.
            self.executor.end_open_calls()
            await self._in_work.wait(min(left_s, _LOOK_WHILE_DRAINING_S))
        if left := await self._in_work.cut_unclaimed():
            _log.warning("commands are left to whoever leads next", extra={"commands": left})


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
