"""The listener: events in, commands run, answers out, and nothing forgotten.

One task per command, bounded in number: when all places are taken the stream is not read on. Watches and
followed logs have places of their own. Reads run in parallel; mutations of one named object run in the
chain's order. Every mutation is recorded on disk before its first byte goes out, so a restart knows what may
have run.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import time
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import asdict, dataclass, field

from k3s_daas.contract.events import ApiRequested
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import request_id_text, to_hex
from k3s_daas.sui.ledger import ChainEvent
from listener_service import answers, passthrough
from listener_service.clock import Clock, SystemClock
from listener_service.event_source import Covered, EventSource, SourcedEvent
from listener_service.executor import Executor
from listener_service.frontier import Frontier
from listener_service.journal import JournalEntry
from listener_service.journal_writer import JournalWriter
from listener_service.logs import request_id_var
from listener_service.refusal import NotForUsError, RefusedCommandError, ReplyTo, UnbelievableError
from listener_service.responder import Responder
from listener_service.turns import Turns, object_key
from listener_service.verification import VerifiedCommand, Verifier

_log = logging.getLogger(__name__)

_WATERMARK_PERIOD_S = 1.0
# Every so many watermark periods the journal drops what nobody can ask about any more.
_FORGET_EVERY = 60


@dataclass(slots=True)
class ListenerService:
    """Wires source, verifier, journal, executor and responder. `birth_ms` is the journal's, in chain time."""

    source: EventSource
    verifier: Verifier
    journal: JournalWriter
    executor: Executor
    responder: Responder
    reader: ContractReader
    concurrency: int
    drain_s: float
    birth_ms: int
    clock: Clock = field(default_factory=SystemClock)
    _turns: Turns = field(default_factory=Turns)
    _frontier: Frontier = field(default_factory=Frontier)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event, *, watermark: int | None) -> None:
        """Works until `stop`, then drains. Raises what the source raises: only what needs a person."""
        self._frontier.covered = watermark
        for entry in await self.journal.unanswered():
            self._start(self._answer_unknown(entry))
        running = [
            asyncio.create_task(self._read(watermark)),
            asyncio.create_task(self._keep_watermark()),
            asyncio.create_task(stop.wait()),
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
        event = sourced.event
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
        except asyncio.CancelledError:
            # Shutting down: the event stays unsettled, and a restart sees it again.
            raise
        except Exception:  # noqa: BLE001  the last line of defence of a task
            # A defect of ours must not stop the others; what may have run is in the journal.
            _log.exception("event failed", extra=_where(event))
        self._frontier.settled(event.identity)

    async def _command(self, sourced: SourcedEvent, requested: ApiRequested, place: _Place) -> None:
        if sourced.replayed and await self._is_dealt_with(requested):
            return
        if self.clock.now_ms() > requested.answer_by_ms:
            _log.warning("answer_by has passed, nothing was run", extra=_where(sourced.event))
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
                if turn is not None:
                    turn.leave()
                response = passthrough.status_response(refused.status, requested.request_id)
                await self.responder.answer(refused.reply_to, response, is_read=True)
                return
        if response is None:
            return
        is_read = command.attributes.is_read
        await self._answer(command.reply_to, response, is_read=is_read)
        times.lap("answer_ms")
        _log.info("command answered", extra=_what(command) | {"status": response.status} | times.laps)

    async def _run(self, command: VerifiedCommand, event: ChainEvent) -> ResponseEnvelope | None:
        """Runs a verified command, a mutation only once it is on disk. None: it is somebody else's to
        answer.
        """
        requested = command.requested
        if self.clock.now_ms() > requested.start_by_ms:
            return passthrough.status_response(answers.not_started(), requested.request_id)
        if command.attributes.is_read:
            return await self.executor.run(command)
        if requested.accepted_at_ms < self.birth_ms:
            # A listener whose journal is lost may have run it.
            status = answers.outcome_unknown("the listener's journal does not reach back to the command")
            return passthrough.status_response(status, requested.request_id)
        if not await self._record(command, event):
            _log.warning("already recorded, not run again", extra=_where(event))
            return None
        self._frontier.settled(event.identity)
        return await self.executor.run(command)

    async def _record(self, command: VerifiedCommand, event: ChainEvent) -> bool:
        reply_to = command.reply_to
        entry = JournalEntry(
            seal=reply_to.seal,
            request_id=reply_to.request_id,
            reply_key=command.envelope.reply_key,
            transaction_digest=event.transaction_digest,
            event_index=event.event_index,
            recorded_at_ms=self.clock.now_ms(),
            answer_by_ms=reply_to.answer_by_ms,
        )
        try:
            return await self.journal.record(entry)
        except sqlite3.Error as error:
            _log.exception("the journal cannot be written")
            raise RefusedCommandError("journal", answers.not_recorded(), reply_to) from error

    async def _answer(self, reply_to: ReplyTo, response: ResponseEnvelope, *, is_read: bool) -> None:
        await self.responder.answer(reply_to, response, is_read=is_read)
        if not is_read:
            await self.journal.mark_answered(reply_to.seal, reply_to.request_id)

    async def _answer_unknown(self, entry: JournalEntry) -> None:
        """A predecessor recorded this mutation, and its answer is not known to be final."""
        request_id_var.set(request_id_text(entry.request_id))
        try:
            if await self._is_answered(entry.seal, entry.request_id):
                await self.journal.mark_answered(entry.seal, entry.request_id)
                return
            _log.warning(
                "recorded but not answered before the restart: outcome unknown",
                extra={"transaction": entry.transaction_digest, "event_index": entry.event_index},
            )
            reply_to = ReplyTo(entry.seal, entry.request_id, entry.reply_key, entry.answer_by_ms)
            status = answers.outcome_unknown("the listener was restarted while the command was in work")
            response = passthrough.status_response(status, entry.request_id)
            await self._answer(reply_to, response, is_read=False)
        except Exception:  # noqa: BLE001  the last line of defence of a task
            _log.exception("a command from before the restart could not be answered")

    async def _is_dealt_with(self, requested: ApiRequested) -> bool:
        """A replayed event: whether the journal or the chain says that it was answered, or may have run."""
        if await self.journal.is_recorded(requested.seal, requested.request_id):
            return True
        return await self._is_answered(requested.seal, requested.request_id)

    async def _is_answered(self, seal: bytes, request_id: bytes) -> bool:
        """Whether the chain shows an answer. No, if it cannot be asked: it ignores a second answer."""
        try:
            request = await self.reader.request(seal, request_id)
        except LedgerUnavailableError:
            return False
        return request is not None and request.response is not None

    async def _keep_watermark(self) -> None:
        written = self._frontier.covered
        for period in itertools.count(1):
            await self.clock.sleep(_WATERMARK_PERIOD_S)
            written = await self._write_watermark(written)
            if period % _FORGET_EVERY == 0:
                await self.journal.forget(self.clock.now_ms())

    async def _write_watermark(self, written: int | None) -> int | None:
        watermark = self._frontier.watermark
        if watermark is not None and (written is None or watermark > written):
            await self.journal.set_watermark(watermark)
            return watermark
        return written

    async def _drain(self) -> None:
        """Waits for what is in work, at most `drain_s`; what is cut off a restart finds in journal or
        replay.
        """
        self.executor.end_open_calls()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=self.drain_s)
            for task in late:
                task.cancel()
            if late:
                _log.warning("stopped with commands in work", extra={"commands": len(late)})
                await asyncio.gather(*late, return_exceptions=True)
        await self._write_watermark(None)


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
