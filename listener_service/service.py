"""The listener in one term of leading: events in, commands run, answers out, and nothing forgotten.

What comes waits in the queue, which decides what is in work and in which order; when it is full the stream
is not read on. There is one task for each command in work. Every mutation is claimed before its first byte
goes out, so a successor knows what may have run.

When the term is over nothing is started, and nothing is answered but what was claimed: the rest is the
successor's. What was claimed is waited for, without the lead, and answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from functools import partial

from k3s_daas.contract.events import ApiRequested
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import request_id_text, to_hex
from k3s_daas.sui.ledger import ChainEvent
from listener_service import answers, passthrough
from listener_service.answered import answered
from listener_service.chores import Chore, kept_up
from listener_service.claim_removal import ClaimRemoval
from listener_service.claims import Claim, Claimed, ClaimRefusedError, Claims
from listener_service.clock import BoundedClock
from listener_service.confirmation import Confirmation, OvertakingError
from listener_service.counts import CLAIMED_BEFORE, TOO_LATE, Counts, Tally
from listener_service.event_source import Covered, EventSource, SourcedEvent
from listener_service.executor import Executor
from listener_service.frontier import Frontier
from listener_service.leadership import NotLeadingError, Term
from listener_service.logs import request_id_var
from listener_service.queue.core import Queue
from listener_service.queue.dispatcher import Dispatcher
from listener_service.queue.memory import MemoryBound
from listener_service.queue.replies import Reply
from listener_service.queue.ticket import Kind, Ticket, ticket_of
from listener_service.refusal import (
    NotForUsError,
    RefusedCommandError,
    UnbelievableError,
    UnconfirmedError,
)
from listener_service.responder import Responder
from listener_service.stopwatch import Stopwatch
from listener_service.succession import Succession
from listener_service.verification import VerifiedCommand, Verifier

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
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _successors: set[asyncio.Task[None]] = field(default_factory=set)
    """Commands that nobody has claimed (reads among them): once the term is over they are the successor's."""

    def __post_init__(self) -> None:
        self.queue = Queue(self.places, self.memory.now_bytes)
        self._dispatcher = Dispatcher(self.queue, self.memory, self.clock, self._begin)
        self._confirmation = Confirmation(self.verifier, self._dispatcher, self.clock, self._do_not_believe)

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
            asyncio.create_task(self._work(watermark)),
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
        return len(self._tasks)

    async def finish(self) -> None:
        """Waits for what was claimed, at most `finish_s`: it may have run, and nobody else knows how it
        ended. The lead may be somebody else's by now; what is cut off he finds among the claims.
        """
        if not self._tasks:
            return
        _log.info("finishing what was claimed", extra={"commands": len(self._tasks)})
        try:
            await asyncio.wait(set(self._tasks), timeout=self.finish_s)
        finally:
            if late := set(self._tasks):
                _log.warning("stopped with commands in work", extra={"commands": len(late)})
                await _ended(late)

    async def _work(self, watermark: int | None) -> None:
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

    @property
    def _succession(self) -> Succession:
        return Succession(self.term, self.reader, self.responder, self.clock, self.counts)

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
            _log.debug("event skipped", extra=_where(sourced.event) | {"error": str(error)})
            return None
        except UnbelievableError as error:
            self._do_not_believe(sourced.event, error)
            return None
        return ticket_of(sourced, requested, self.verifier.priority_of)

    def _begin(self, ticket: Ticket) -> None:
        """The queue says that it may start."""
        task = asyncio.create_task(self._handle(ticket))
        self._tasks.add(task)
        self._successors.add(task)
        task.add_done_callback(lambda _: self._ended(ticket, task))

    def _ended(self, ticket: Ticket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._successors.discard(task)
        self._dispatcher.done(ticket)

    async def _handle(self, ticket: Ticket) -> None:
        """One command from its start to its answer. Never raises: one must not stop the others."""
        event = ticket.sourced.event
        try:
            requested = self.verifier.decode(event)
            request_id_var.set(request_id_text(requested.request_id))
            with self.queue.replies.reply(ticket.holder) as reply:
                await self._command(ticket, requested, reply)
        except UnbelievableError as error:
            self._do_not_believe(event, error)
        except UnconfirmedError:
            self._confirmation.wait_for(ticket.again())
            return
        except OvertakingError:
            self._dispatcher.put_again(ticket.again())
            return
        except NotLeadingError:
            _log.info("left to whoever leads now", extra=_where(event))
            return
        except Exception:  # noqa: BLE001  the last line of defence of a task
            # A defect of ours must not stop the others; what may have run is claimed.
            _log.exception("event failed", extra=_where(event))
        # Not if it was cancelled: then a successor sees the event again.
        self._frontier.settled(event.identity)

    def _do_not_believe(self, event: ChainEvent, error: UnbelievableError) -> None:
        _log.error(
            "event not believed, nothing was run",
            extra=_where(event) | {"reason": error.reason, "error": str(error)},
        )
        self.counts.not_run(error.reason)
        self._frontier.settled(event.identity)

    async def _command(self, ticket: Ticket, requested: ApiRequested, reply: Reply) -> None:
        event = ticket.sourced.event
        if ticket.sourced.replayed and await self._is_dealt_with(requested):
            return
        if self.clock.now_ms() > requested.answer_by_ms:
            _log.warning("answer_by has passed, nothing was run", extra=_where(event))
            self.counts.not_run(TOO_LATE)
            return
        times = Stopwatch(self.counts, ticket)
        try:
            command = await self.verifier.verify(event, requested)
            await self._confirmation.earlier_first(ticket)
            times.lap("verify")
            self._dispatcher.hold(ticket, ticket.bytes_with(command.envelope.body))
            response = await self._run(ticket, command, reply)
            times.lap("run")
        except RefusedCommandError as refused:
            _log.warning(
                "command refused, nothing was run",
                extra=_where(event) | {"reason": refused.reason, "error": str(refused)},
            )
            self.counts.not_run(refused.reason)
            self._dispatcher.leave(ticket)
            self.term.confirm()
            response = passthrough.status_response(refused.status, requested.request_id)
            await self.responder.answer(refused.reply_to, response, is_read=True)
            return
        if response is None:
            return
        if not reply.held_bytes:
            self._dispatcher.hold(ticket, ticket.bytes_with(command.envelope.body, response.body))
        # It needs nothing more that others wait for: answers go out however full the queue is.
        self._dispatcher.leave(ticket)
        await self.responder.answer(command.reply_to, response, is_read=command.attributes.is_read)
        times.lap("answer")
        times.end()
        _log.info("command answered", extra=_what(command) | {"status": response.status} | times.laps)

    async def _run(self, ticket: Ticket, command: VerifiedCommand, reply: Reply) -> ResponseEnvelope | None:
        """Runs a verified command, a mutation only once it is claimed. None: it is answered otherwise.

        Raises `NotLeadingError` for what the successor may run.
        """
        requested, event = command.requested, ticket.sourced.event
        self.term.confirm()
        if ticket.is_late or self.clock.now_ms() > requested.start_by_ms:
            self.counts.not_run(TOO_LATE)
            return passthrough.status_response(answers.not_started(), requested.request_id)
        if self.executor.stays_open(command):
            # It takes a place among its like, who are bounded there, and keeps none from others.
            self._dispatcher.leave(ticket)
        if command.attributes.is_read:
            # Only reads wait for memory: what a mutation did must be known.
            return await self.executor.run(command, self.term, reply.grow)
        match await self._claim(command, event):
            case Claimed.KNOWN:
                _log.warning("already claimed here, not run again", extra=_where(event))
                self.counts.not_run(CLAIMED_BEFORE)
                return None
            case Claimed.TAKEN:
                _log.warning("claimed by somebody else, not run", extra=_where(event))
                self.counts.not_run(CLAIMED_BEFORE)
                self._dispatcher.leave(ticket)
                self.term.confirm()
                await self._succession.settle(command.reply_to, requested.start_by_ms)
                return None
            case Claimed.TOO_LATE:
                self.term.confirm()
                self.counts.not_run(TOO_LATE)
                return passthrough.status_response(answers.not_started(), requested.request_id)
            case Claimed.OURS:
                return await self._run_claimed(command, event)

    async def _claim(self, command: VerifiedCommand, event: ChainEvent) -> Claimed:
        claim, began = Claim.of(command.requested, command.envelope.reply_key, event), time.perf_counter()
        task, outcome = asyncio.current_task(), None
        assert task is not None
        # Not cut off: whether the claim is ours must be known, or its caller hears less than the truth.
        self._successors.discard(task)
        try:
            outcome = await self.claims.claim(claim)
            return outcome
        except ClaimRefusedError as error:
            _log.error("a command cannot be claimed", extra={"error": str(error)})
            raise RefusedCommandError("claim", answers.not_claimed(), command.reply_to) from error
        finally:
            if outcome is not Claimed.OURS:
                self._successors.add(task)
            self.counts.took("claim", Kind.MUTATION.value, time.perf_counter() - began)

    async def _run_claimed(self, command: VerifiedCommand, event: ChainEvent) -> ResponseEnvelope:
        """From here on nobody else runs it, so whatever we know about it is the truth."""
        self._frontier.settled(event.identity)
        try:
            return await self.executor.run(command, self.term)
        except NotLeadingError:
            return passthrough.status_response(answers.not_leading(), command.requested.request_id)

    async def _is_dealt_with(self, requested: ApiRequested) -> bool:
        """A replayed event: whether it is claimed, or the chain shows its answer.

        Not answered, if the chain cannot be asked: it ignores a second answer.
        """
        key = (requested.seal, requested.request_id)
        if self.claims.knows(key):
            return True
        try:
            return bool(await answered(self.reader, [key]))
        except LedgerUnavailableError:
            return False

    async def _drain(self) -> None:
        """Waits for what is in work, at most `drain_s` and as long as the term lasts. Then what nobody
        claimed is the successor's, who finds it in the replay, as what waits in the queue.
        """
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + self.drain_s
        while self._tasks and self.term.is_current() and (left_s := ends_s - now_s()) > 0:
            # Again and again: a watch may open that was being verified.
            self.executor.end_open_calls()
            await asyncio.wait(set(self._tasks), timeout=min(left_s, _LOOK_WHILE_DRAINING_S))
        if left := set(self._successors):
            _log.warning("commands are left to whoever leads next", extra={"commands": len(left)})
            await _ended(left)


async def _ended(tasks: Set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def _where(event: ChainEvent) -> dict[str, object]:
    """The event's position, for logs."""
    return {
        "transaction": event.transaction_digest,
        "event_index": event.event_index,
        "checkpoint": event.checkpoint,
    }


def _what(command: VerifiedCommand) -> dict[str, object]:
    """What is on chain for everybody to read; not the path of a non-resource request, which is not."""
    requested = command.requested
    return {
        "requester": to_hex(requested.requester),
        "role": requested.role,
        "request": {name: value for name, value in asdict(requested.attributes).items() if value},
    }
