"""The answer to a command on the chain: awaited for as long as the exchange lasts, opened, and noted.

A command without one is left for its retry; where there will be none, the caller hears what is known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from chalicelib.bodies import complete_response
from chalicelib.command import AdmittedCommand
from chalicelib.errors import GatewayUnavailableError
from chalicelib.fate import Fate, find_fate
from chalicelib.journey import Journey, Log
from chalicelib.loop import EventLoopThread
from chalicelib.parking import Parking, PendingCommand, parked
from chalicelib.request_store import RequestStore
from chalicelib.submission import StartByPassedError
from chalicelib.sweeper import RESEND_AFTER_MS
from chalicelib.waiting import Answer, AnswerWaiter, Waiting
from k3s_daas.blobs.store import BlobStore
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import DaasError, LedgerError, WireFormatError
from k3s_daas.ids import request_id_text
from k3s_daas.sealing import response_info
from k3s_daas.status import Cause, StatusError
from k3s_daas.sui.ledger import Ledger

# After arrival. By `RESEND_AFTER_MS` the sweeper would send the bytes of a record that is only signed again.
NOTE_AFTER_MS = RESEND_AFTER_MS - 1_000
# For one more look at the chain after the wait: Lambda ends soon.
LOOK_S = 1.0


class CommandAnswers:
    """Used by many request threads at once. `cluster` is the id of the cluster's object."""

    def __init__(
        self,
        *,
        cluster: bytes,
        deadlines: DeadlineSettings,
        loop: EventLoopThread,
        ledger: Ledger,
        reader: ContractReader,
        store: RequestStore,
        parking: Parking,
        waiter: AnswerWaiter,
        blobs: BlobStore | None,
        now_ms: Callable[[], int],
        log: Log,
    ) -> None:
        self._cluster = cluster
        self._deadlines = deadlines
        self._loop = loop
        self._ledger = ledger
        self._reader = reader
        self._store = store
        self._parking = parking
        self._waiter = waiter
        self._blobs = blobs
        self._now_ms = now_ms
        self._log = log

    def collect(
        self, admitted: AdmittedCommand, pending: PendingCommand, journey: Journey
    ) -> ResponseEnvelope:
        """The API server's reply.

        Raises ParkedError if there is none yet and the caller shall ask again, StartByPassedError if the
        command never ran, a 504 StatusError if he shall look for himself; WireFormatError, SealedDataError
        and the blob store's errors if the answer cannot be had.
        """
        answer = self._await(admitted, pending, adopted=journey.adopted)
        if answer is None:
            raise self._unanswered(admitted, pending)
        journey.response_digest = answer.digest
        response = self._open(admitted, pending, answer)
        self._note(
            lambda: self._store.record_answered(
                pending.reservation, status_code=answer.status_code, response_digest=answer.digest
            )
        )
        return response

    def _await(self, admitted: AdmittedCommand, pending: PendingCommand, *, adopted: bool) -> Answer | None:
        """Waits as long as the exchange lasts. Most answers are there before anybody else would ask about
        the record, and spare it the write that says `submitted`.
        """
        until_ms = self._deadlines.wait_until_ms(admitted.request.arrival_ms)
        waiting = self._waiter.begin(admitted.seal, pending.request_id, stays_open=admitted.stays_open)
        noted = adopted and pending.unsent is None
        if not pending.accepted or noted:
            return self._wait(waiting, until_ms)
        answer = self._wait(waiting, min(until_ms, admitted.request.arrival_ms + NOTE_AFTER_MS))
        if answer is None:
            self._note(lambda: self._store.record_submitted(pending.reservation))
            answer = self._wait(waiting, until_ms)
        return answer

    def _wait(self, waiting: Waiting, until_ms: int) -> Answer | None:
        return self._loop.run(waiting.until(time.monotonic() + (until_ms - self._now_ms()) / 1000))

    def _open(self, admitted: AdmittedCommand, pending: PendingCommand, answer: Answer) -> ResponseEnvelope:
        info = response_info(self._cluster, admitted.seal, pending.request_id)
        response = ResponseEnvelope.decode(pending.reply_key.open(answer.sealed, info))
        if response.status != answer.status_code:
            raise WireFormatError("the sealed answer has another status than the one on chain")
        return complete_response(
            response,
            pending.reply_key,
            cluster=self._cluster,
            seal=admitted.seal,
            request_id=pending.request_id,
            blobs=self._blobs,
        )

    def _unanswered(self, admitted: AdmittedCommand, pending: PendingCommand) -> DaasError:
        if not pending.accepted and self._never_ran(admitted, pending):
            self._note(lambda: self._store.record_expired(pending.reservation))
            return StartByPassedError("the command was not submitted in time")
        if self._parking.park(pending, is_read=admitted.attributes.is_read):
            return parked(pending)
        left_s = max(0, pending.deadlines.finish_by_ms - self._now_ms()) // 1000
        text = request_id_text(pending.request_id)
        taken = "the chain accepted the command" if pending.accepted else "the command was sent"
        return StatusError(
            504,
            "Timeout",
            f"{taken} in transaction {pending.digest} as request {text}, and there "
            f"is no answer yet: it may still run for {left_s} s, and its answer will be on chain. "
            "Look at the cluster before you repeat it",
            causes=(Cause("RequestDigest", pending.digest),),
            request_id=text,
        )

    def _never_ran(self, admitted: AdmittedCommand, pending: PendingCommand) -> bool:
        """Whether the chain's time for the command is over, and it does not have it."""
        looking = find_fate(
            self._ledger,
            self._reader,
            seal=admitted.seal,
            request_id=pending.request_id,
            start_by_ms=pending.deadlines.start_by_ms,
            digest=pending.digest,
        )
        try:
            return self._loop.run(looking, timeout_s=LOOK_S).fate in (Fate.NEVER_RAN, Fate.REFUSED)
        except (LedgerError, TimeoutError):
            return False

    def _note(self, write: Callable[[], None]) -> None:
        """Bring the record up to date; the caller's answer does not hang on it any more."""
        try:
            write()
        except GatewayUnavailableError as error:
            self._log(json.dumps({"event": "record-not-updated", "reason": type(error).__name__}))
