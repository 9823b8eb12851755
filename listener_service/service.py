"""The listener in one term of leading: events in, commands run, answers out, and nothing forgotten.

One task per command, bounded in number: when all places are taken the stream is not read on. Watches and
followed logs have places of their own. Reads run in parallel; mutations of one named object run in the
chain's order. Every mutation is claimed before its first byte goes out, so a successor knows what may have
run.

When the term is over nothing is started, and nothing is answered but what was started or claimed: the rest
is the successor's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field

from k3s_daas.contract.events import ApiRequested
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import request_id_text, to_hex
from k3s_daas.sui.ledger import ChainEvent
from listener_service import answers, passthrough
from listener_service.answered import answered
from listener_service.claim_removal import ClaimRemoval
from listener_service.claims import Claim, Claimed, ClaimRefusedError, Claims
from listener_service.clock import BoundedClock
from listener_service.counts import CLAIMED_BEFORE, TOO_LATE, Counts, Tally
from listener_service.event_source import Covered, EventSource, SourcedEvent
from listener_service.executor import Executor
from listener_service.frontier import Frontier
from listener_service.leadership import NotLeadingError, Term
from listener_service.logs import request_id_var
from listener_service.refusal import NotForUsError, RefusedCommandError, UnbelievableError
from listener_service.responder import Responder
from listener_service.succession import Succession
from listener_service.turns import Turns, object_key
from listener_service.verification import VerifiedCommand, Verifier

_log = logging.getLogger(__name__)


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
    concurrency: int
    drain_s: float
    clock: BoundedClock
    counts: Counts = field(default_factory=Tally)
    chores: Sequence[Callable[[], Coroutine[None, None, None]]] = ()
    """What else goes on during the term; one that ends, ends the term's work."""

    _turns: Turns = field(default_factory=Turns)
    _frontier: Frontier = field(default_factory=Frontier)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _successors: set[asyncio.Task[None]] = field(default_factory=set)
    """Commands that nobody has claimed (reads among them): once the term is over they are the successor's."""

    @property
    def watermark(self) -> int | None:
        """The checkpoint to resume after: what came before is answered, or among the claims."""
        return self._frontier.watermark

    async def run(self, stop: asyncio.Event, *, watermark: int | None) -> None:
        """Works until `stop`, then drains. Raises what the source raises: only what needs a person.

        The term may be over by then, or not: see the module docstring.
        """
        self._frontier.covered = watermark
        removal = ClaimRemoval(self.claims, self.reader, self.clock)
        # Once the term is over the removal ends, and with it the rest.
        running = [
            asyncio.create_task(self._work(watermark)),
            asyncio.create_task(removal.run()),
            *(asyncio.create_task(chore()) for chore in self.chores),
            asyncio.create_task(_until(stop)),
        ]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._drain()

    async def _work(self, watermark: int | None) -> None:
        try:
            inherited = await self.claims.inherit()
        except NotLeadingError:
            return
        settling = asyncio.create_task(self._settle(inherited))
        try:
            await self._read(watermark)
        finally:
            # What is not settled by now is the successor's, who finds the same claims.
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)

    async def _settle(self, inherited: Sequence[Claim]) -> None:
        try:
            await self._succession.settle_all(inherited)
        except NotLeadingError:
            _log.info("the term ended before all claims were settled")

    @property
    def _succession(self) -> Succession:
        return Succession(self.term, self.reader, self.responder, self.clock)

    async def _read(self, watermark: int | None) -> None:
        places = asyncio.Semaphore(self.concurrency)
        async with aclosing(self.source.items(watermark)) as items:
            async for item in items:
                if isinstance(item, Covered):
                    self._frontier.cover(item.checkpoint)
                    continue
                self._frontier.delivered(item.event.identity, item.event.checkpoint)
                await places.acquire()
                place = _Place(places)
                self._start(self._handle(item, place)).add_done_callback(place.leave)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _handle(self, sourced: SourcedEvent, place: _Place) -> None:
        """One event from delivery to answer. Never raises: one event must not stop the others."""
        event, task = sourced.event, asyncio.current_task()
        assert task is not None
        self._successors.add(task)
        try:
            requested = self.verifier.decode(event)
            request_id_var.set(request_id_text(requested.request_id))
            await self._command(sourced, requested, place)
        except NotForUsError as error:
            _log.debug("event skipped", extra=_where(event) | {"error": str(error)})
        except UnbelievableError as error:
            _log.error(
                "event not believed, nothing was run",
                extra=_where(event) | {"reason": error.reason, "error": str(error)},
            )
            self.counts.not_run(error.reason)
        except NotLeadingError:
            _log.info("left to whoever leads now", extra=_where(event))
            return
        except Exception:  # noqa: BLE001  the last line of defence of a task
            # A defect of ours must not stop the others; what may have run is claimed.
            _log.exception("event failed", extra=_where(event))
        finally:
            self._successors.discard(task)
        # Not if it was cancelled: then a successor sees the event again.
        self._frontier.settled(event.identity)

    async def _command(self, sourced: SourcedEvent, requested: ApiRequested, place: _Place) -> None:
        if sourced.replayed and await self._is_dealt_with(requested):
            return
        if self.clock.now_ms() > requested.answer_by_ms:
            _log.warning("answer_by has passed, nothing was run", extra=_where(sourced.event))
            self.counts.not_run(TOO_LATE)
            return
        times = _Stopwatch()
        async with self._turns.take(object_key(requested.attributes)) as turn:
            try:
                command = await self.verifier.verify(sourced.event, requested)
                times.lap("verify_ms")
                if turn is not None and await turn.wait():
                    # Nobody shall be revoked in vain because his command stood in a queue.
                    await self.verifier.verify_again(command)
                times.lap("wait_ms")
                if self.executor.stays_open(command):
                    # It takes a place among its like, who are bounded there, and keeps none from a read.
                    place.leave()
                response = await self._run(command, sourced.event)
                times.lap("run_ms")
            except RefusedCommandError as refused:
                _log.warning(
                    "command refused, nothing was run",
                    extra=_where(sourced.event) | {"reason": refused.reason, "error": str(refused)},
                )
                self.counts.not_run(refused.reason)
                if turn is not None:
                    turn.leave()
                self.term.confirm()
                response = passthrough.status_response(refused.status, requested.request_id)
                await self.responder.answer(refused.reply_to, response, is_read=True)
                return
        if response is None:
            return
        await self.responder.answer(command.reply_to, response, is_read=command.attributes.is_read)
        times.lap("answer_ms")
        _log.info("command answered", extra=_what(command) | {"status": response.status} | times.laps)

    async def _run(self, command: VerifiedCommand, event: ChainEvent) -> ResponseEnvelope | None:
        """Runs a verified command, a mutation only once it is claimed. None: it is answered otherwise.

        Raises `NotLeadingError` for what the successor may run.
        """
        requested = command.requested
        self.term.confirm()
        if self.clock.now_ms() > requested.start_by_ms:
            self.counts.not_run(TOO_LATE)
            return passthrough.status_response(answers.not_started(), requested.request_id)
        if command.attributes.is_read:
            return await self.executor.run(command, self.term)
        match await self._claim(command, event):
            case Claimed.KNOWN:
                _log.warning("already claimed here, not run again", extra=_where(event))
                self.counts.not_run(CLAIMED_BEFORE)
                return None
            case Claimed.TAKEN:
                _log.warning("claimed by somebody else, not run", extra=_where(event))
                self.counts.not_run(CLAIMED_BEFORE)
                await self._succession.settle(command.reply_to, requested.start_by_ms)
                return None
            case Claimed.TOO_LATE:
                self.term.confirm()
                self.counts.not_run(TOO_LATE)
                return passthrough.status_response(answers.not_started(), requested.request_id)
            case Claimed.OURS:
                return await self._run_claimed(command, event)

    async def _claim(self, command: VerifiedCommand, event: ChainEvent) -> Claimed:
        claim = Claim.of(command.requested, command.envelope.reply_key, event)
        try:
            return await self.claims.claim(claim)
        except ClaimRefusedError as error:
            _log.error("a command cannot be claimed", extra={"error": str(error)})
            raise RefusedCommandError("claim", answers.not_claimed(), command.reply_to) from error

    async def _run_claimed(self, command: VerifiedCommand, event: ChainEvent) -> ResponseEnvelope:
        """From here on nobody else runs it, so whatever we know about it is the truth."""
        task = asyncio.current_task()
        assert task is not None
        self._successors.discard(task)
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
        """Waits for what is in work, at most `drain_s`; what is cut off a successor finds among the claims,
        or in the replay.
        """
        if not self.term.is_current():
            for task in self._successors:
                task.cancel()
        self.executor.end_open_calls()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=self.drain_s)
            for task in late:
                task.cancel()
            if late:
                _log.warning("stopped with commands in work", extra={"commands": len(late)})
                await asyncio.gather(*late, return_exceptions=True)


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


class _Place:
    """One of the places for commands in work, to be left once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def leave(self, _task: object = None) -> None:
        """Lets the next command in. A second time does nothing."""
        if self._places is not None:
            self._places.release()
            self._places = None


class _Stopwatch:
    """Milliseconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round((now - self._last) * 1000, 2)
        self._last = now


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
