"""Goes on with what functions that died have left, and closes records whose time is over.

A Lambda can die between any two steps, and nothing tells its record so. On a schedule, the records of the
last minutes are read by key (a record's partition is the minute of its request id: no scan, no index), and
those without a final state go on, the newest first: what may still be sent has the least time (a minute that
is long over and without any is not read again: no record can join it, and a final state is never left):

    reserved    `start_by` over                  expired: nothing was ever sent
    signed      a while old, before `start_by`   the same bytes are sent once more
                after it                         what the chain says: submitted, refused or expired
    submitted,  no retry can come any more       answered, if the chain has the answer
    parked      `answer_by` over                 expired

No new bytes are made and nothing is sent after `start_by`. A live function loses nothing: every write
carries the fence that was read, and bytes sent twice are executed once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from chalicelib.errors import FenceLostError, GatewayUnavailableError
from chalicelib.fate import LAG_MS, Fate, Verdict, find_fate
from chalicelib.journey import Log
from chalicelib.loop import EventLoopThread
from chalicelib.request_store import RequestRecord, RequestState, RequestStore
from chalicelib.submission import Submitter, TransactionFailedError
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.errors import LedgerError, MoveAbortError
from k3s_daas.sui.ledger import Ledger

MINUTE_MS = 60_000
# A function that lives has sent its bytes by then.
RESEND_AFTER_MS = 5_000
LOOK_S = 5.0
# Lambda ends a function after 28 s; what is under way by then still ends.
RUN_S = 15.0
# No function puts a record into a minute that is over by this: Lambda ended it long ago.
SETTLED_AFTER_MS = 2 * MINUTE_MS


@dataclass(frozen=True)
class Sweep:
    """What one run found: records without a final state, how many of them moved on, and how many could not
    be looked up. With `broken_off` it did not come to all: time was over."""

    found: int = 0
    moved: int = 0
    failed: int = 0
    broken_off: bool = False


class Sweeper:
    """One run reads each minute in which a record may still be open."""

    def __init__(
        self,
        *,
        store: RequestStore,
        ledger: Ledger,
        reader: ContractReader,
        loop: EventLoopThread,
        submitter: Submitter,
        deadlines: DeadlineSettings,
        now_ms: Callable[[], int],
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._reader = reader
        self._loop = loop
        self._submitter = submitter
        self._deadlines = deadlines
        self._now_ms = now_ms
        self._log = log
        self._monotonic = monotonic
        self._closed_minutes: set[int] = set()

    def sweep(self) -> Sweep:
        """Look at every open record once; writes one log line if there was one.

        Raises RequestStoreUnavailableError if the records cannot be read: the next run finds them.
        """
        end_s = self._monotonic() + RUN_S
        now_ms = self._now_ms()
        open_ms = self._deadlines.finish_within_ms + self._deadlines.answer_after_finish_ms + 2 * MINUTE_MS
        minutes = range((now_ms - open_ms) // MINUTE_MS, now_ms // MINUTE_MS + 1)
        self._closed_minutes.intersection_update(minutes)
        swept = Sweep()
        for minute in reversed(minutes):
            if minute in self._closed_minutes:
                continue
            records = list(self._store.unfinished(minute))
            if not records and (minute + 1) * MINUTE_MS + SETTLED_AFTER_MS <= now_ms:
                self._closed_minutes.add(minute)
            for record in records:
                if self._monotonic() > end_s:
                    return self._told(replace(swept, broken_off=True))
                swept = self._counted(swept, record)
        return self._told(swept)

    def _told(self, swept: Sweep) -> Sweep:
        if swept.found or swept.broken_off:
            self._log(json.dumps({"event": "sweep", **asdict(swept)}))
        return swept

    def _counted(self, swept: Sweep, record: RequestRecord) -> Sweep:
        found = swept.found + 1
        try:
            return replace(swept, found=found, moved=swept.moved + self._go_on(record))
        except FenceLostError:
            # Its function lives, or another run was quicker.
            return replace(swept, found=found)
        except (LedgerError, GatewayUnavailableError):
            return replace(swept, found=found, failed=swept.failed + 1)

    def _go_on(self, record: RequestRecord) -> bool:
        now_ms, request = self._now_ms(), record.request
        if record.state is RequestState.RESERVED:
            if now_ms < request.start_by_ms:
                return False
            self._store.record_expired(record.reservation)
            return True
        if record.state is RequestState.SIGNED:
            if now_ms < request.start_by_ms:
                return now_ms >= request.arrived_at_ms + RESEND_AFTER_MS and self._resend(record)
            return self._settle(record)
        adoptable_ms = self._deadlines.parked_life_ms + self._deadlines.api_gateway_timeout_ms
        return now_ms >= request.arrived_at_ms + adoptable_ms and self._settle(record)

    def _resend(self, record: RequestRecord) -> bool:
        assert record.transaction is not None, "a signed record has its bytes"
        try:
            accepted = self._submitter.resend(
                record.transaction,
                record.reservation,
                start_by_ms=record.request.start_by_ms,
                on_sending=lambda _digest: None,
            )
        except (MoveAbortError, TransactionFailedError):
            # Refused for good, which is on record now.
            return True
        if accepted:
            self._store.record_submitted(record.reservation)
        return accepted

    def _settle(self, record: RequestRecord) -> bool:
        verdict = self._look(record)
        if verdict.fate is Fate.ANSWERED:
            if record.state is RequestState.SIGNED:
                # Its function may be about to read that answer; a later run closes the record.
                self._store.record_submitted(record.reservation)
            else:
                self._store.record_answered(
                    record.reservation,
                    status_code=verdict.status_code,
                    response_digest=verdict.response_digest,
                )
        elif verdict.fate is Fate.REFUSED:
            self._store.record_refused(record.reservation)
        elif verdict.fate is Fate.NEVER_RAN or self._now_ms() > record.request.answer_by_ms + LAG_MS:
            self._store.record_expired(record.reservation)
        elif verdict.fate is Fate.ACCEPTED and record.state is RequestState.SIGNED:
            self._store.record_submitted(record.reservation)
        else:
            return False
        return True

    def _look(self, record: RequestRecord) -> Verdict:
        transaction, request = record.transaction, record.request
        looking = find_fate(
            self._ledger,
            self._reader,
            seal=request.seal,
            request_id=request.request_id,
            start_by_ms=request.start_by_ms,
            digest=None if transaction is None else transaction.digest,
        )
        return self._loop.ask(
            looking, timeout_s=LOOK_S, late="the Sui endpoint did not answer the sweeper in time"
        )
