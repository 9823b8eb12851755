"""One command between its start and its answer: verified, claimed if it changes anything, run, answered.

Every mutation is claimed before its first byte goes out, so a successor knows what may have run.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass

from k3s_daas.contract.events import ApiRequested
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import ChainEvent
from listener_service import answers, passthrough
from listener_service.answered import answered
from listener_service.claims import Claim, Claimed, ClaimRefusedError, Claims
from listener_service.clock import BoundedClock
from listener_service.confirmation import Confirmation
from listener_service.counts import CLAIMED_BEFORE, TOO_LATE, Counts
from listener_service.executor import Executor
from listener_service.frontier import Frontier
from listener_service.in_work import InWork
from listener_service.leadership import NotLeadingError, Term
from listener_service.queue.dispatcher import Dispatcher
from listener_service.queue.replies import Reply
from listener_service.queue.ticket import Kind, Ticket
from listener_service.refusal import RefusedCommandError
from listener_service.responder import Responder
from listener_service.stopwatch import Stopwatch
from listener_service.succession import Succession
from listener_service.verification import VerifiedCommand, Verifier

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWork:
    """The work of one term on its commands, many at once."""

    term: Term
    verifier: Verifier
    claims: Claims
    executor: Executor
    responder: Responder
    reader: ContractReader
    succession: Succession
    confirmation: Confirmation
    dispatcher: Dispatcher
    frontier: Frontier
    in_work: InWork
    clock: BoundedClock
    counts: Counts

    async def do(self, ticket: Ticket, requested: ApiRequested, reply: Reply) -> None:
        """Works on a command in its own task. Raises `UnbelievableError`, `UnconfirmedError`,
        `OvertakingError`, and `NotLeadingError` for what is the successor's; a refusal is answered.
        """
        event = ticket.sourced.event
        if ticket.sourced.replayed and await self._is_dealt_with(requested):
            return
        if self.clock.now_ms() > requested.answer_by_ms:
            _log.warning("answer_by has passed, nothing was run", extra=event_position(event))
            self.counts.not_run(TOO_LATE)
            return
        times = Stopwatch(self.counts, ticket)
        try:
            command = await self.verifier.verify(event, requested)
            await self.confirmation.earlier_first(ticket)
            times.lap("verify")
            self.dispatcher.hold(ticket, ticket.bytes_with(command.envelope.body))
            response = await self._run(ticket, command, reply)
            times.lap("run")
        except RefusedCommandError as refused:
            _log.warning(
                "command refused, nothing was run",
                extra=event_position(event) | {"reason": refused.reason, "error": str(refused)},
            )
            self.counts.not_run(refused.reason)
            self.dispatcher.leave(ticket)
            self.term.confirm()
            response = passthrough.status_response(refused.status, requested.request_id)
            await self.responder.answer(refused.reply_to, response, is_read=True)
            return
        if response is None:
            return
        if not reply.held_bytes:
            self.dispatcher.hold(ticket, ticket.bytes_with(command.envelope.body, response.body))
        # It needs nothing more that others wait for: answers go out however full the queue is.
        self.dispatcher.leave(ticket)
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
            self.dispatcher.leave(ticket)
        if command.attributes.is_read:
            # Only reads wait for memory: what a mutation did must be known.
            return await self.executor.run(command, self.term, reply.grow)
        match await self._claim(command, event):
            case Claimed.KNOWN:
                _log.warning("already claimed here, not run again", extra=event_position(event))
                self.counts.not_run(CLAIMED_BEFORE)
                return None
            case Claimed.TAKEN:
                _log.warning("claimed by somebody else, not run", extra=event_position(event))
                self.counts.not_run(CLAIMED_BEFORE)
                self.dispatcher.leave(ticket)
                self.term.confirm()
                await self.succession.settle(command.reply_to, requested.start_by_ms)
                return None
            case Claimed.TOO_LATE:
                self.term.confirm()
                self.counts.not_run(TOO_LATE)
                return passthrough.status_response(answers.not_started(), requested.request_id)
            case Claimed.OURS:
                return await self._run_claimed(command, event)

    async def _claim(self, command: VerifiedCommand, event: ChainEvent) -> Claimed:
        claim, began = Claim.of(command.requested, command.envelope.reply_key, event), time.perf_counter()
        outcome = None
        # Not cut off: whether the claim is ours must be known, or its caller hears less than the truth.
        self.in_work.claiming()
        try:
            outcome = await self.claims.claim(claim)
            return outcome
        except ClaimRefusedError as error:
            _log.error("a command cannot be claimed", extra={"error": str(error)})
            raise RefusedCommandError("claim", answers.not_claimed(), command.reply_to) from error
        finally:
            if outcome is not Claimed.OURS:
                self.in_work.not_claimed()
            self.counts.took("claim", Kind.MUTATION.value, time.perf_counter() - began)

    async def _run_claimed(self, command: VerifiedCommand, event: ChainEvent) -> ResponseEnvelope:
        """From here on nobody else runs it, so whatever we know about it is the truth."""
        self.frontier.settled(event.identity)
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


def event_position(event: ChainEvent) -> dict[str, object]:
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
