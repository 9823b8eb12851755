"""One request through the gateway: read, decide, seal, reserve, submit, wait, reply.

This module holds the order of the steps; each step is a module of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

from chalicelib.admission import admit
from chalicelib.bodies import complete_response
from chalicelib.callers import FailedTransactions, Sources
from chalicelib.chain import SEAL_CAPACITY, ChainView, CommandState
from chalicelib.command import AdmittedCommand, command_transaction, seal_command
from chalicelib.discovery_cache import DiscoveryCache, Fetched
from chalicelib.discovery_replies import DiscoveryReplies
from chalicelib.discovery_shelf import DiscoveryShelf
from chalicelib.errors import GatewayUnavailableError
from chalicelib.fate import Fate, find_fate
from chalicelib.http_request import GatewayRequest
from chalicelib.journey import Journey, Log, log_to_stderr, where
from chalicelib.leftovers import Leftovers
from chalicelib.loop import EventLoopThread
from chalicelib.metrics import MIST_PER_SUI, Metrics, Sample
from chalicelib.open_requests import OpenRequests
from chalicelib.parking import Parking, PendingCommand
from chalicelib.parking_keys import ParkingKeys
from chalicelib.reclaim import Reclaimed, Reclaimer
from chalicelib.refusals import refusal_line
from chalicelib.replies import GatewayReply, status_of, status_reply
from chalicelib.reporting import Reporter
from chalicelib.request_store import RequestStore
from chalicelib.sealing_keys import SealingKeys
from chalicelib.settings import GatewaySettings
from chalicelib.shared_discovery import SharedDiscovery
from chalicelib.sizes import Reading
from chalicelib.submission import (
    StartByPassedError,
    SubmissionUnknownError,
    Submitter,
    TransactionFailedError,
)
from chalicelib.sweeper import RESEND_AFTER_MS, Sweep, Sweeper
from chalicelib.tally import CommandTally
from chalicelib.unsupported import refuse_unsupported
from chalicelib.waiting import Answer, AnswerWaiter, Waiting
from chalicelib.windows import Windows
from k3s_daas.attributes import RequestAttributes, parse_attributes
from k3s_daas.bearer import BearerToken, verify
from k3s_daas.blobs.store import BlobStore
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import MOST_PARKINGS, RETRY_AFTER_S
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import (
    ConfigurationError,
    DaasError,
    LedgerError,
    LedgerUnavailableError,
    MoveAbortError,
    TokenError,
    TransactionRefusedError,
    WireFormatError,
)
from k3s_daas.headers import admit_request_headers, filter_response_headers
from k3s_daas.ids import request_id_text
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPublicKey, response_info
from k3s_daas.status import Cause, StatusError, from_abort, from_failure
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.signers import TransactionSigner

T = TypeVar("T")

# The contract decides by the chain's clock, and a moment later. What begins or ends within this time could be
# refused there, and a refusal on chain costs gas.
CLOCK_MARGIN_MS = 5_000
BALANCE_TIMEOUT_S = 20.0
# After arrival. By `RESEND_AFTER_MS` the sweeper would send the bytes of a record that is only signed again.
NOTE_AFTER_MS = RESEND_AFTER_MS - 1_000
# For one more look at the chain after the wait: Lambda ends soon.
LOOK_S = 1.0
# The caller has his answer already, but Lambda gives it out only when this is done.
READINGS_S = 0.1


class Gateway:
    """Answers requests; safe to call from many threads. All collaborators are given, none is made here."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        roots: TrustRoots,
        ledger: Ledger,
        loop: EventLoopThread,
        store: RequestStore,
        signer: TransactionSigner,
        parking_keys: ParkingKeys,
        windows: Windows,
        leftovers: Leftovers,
        shelf: DiscoveryShelf,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        log: Log = log_to_stderr,
        refusal_log: Log = log_to_stderr,
        metric_log: Log = log_to_stderr,
        function: str = "gateway",
        blobs: BlobStore | None = None,
    ) -> None:
        self._settings = settings
        self._roots = roots
        self._loop = loop
        self._store = store
        self._open_requests = OpenRequests(
            windows, per_minute=settings.watches_per_minute, places=settings.open_requests
        )
        self._signer = signer
        self._now_ms = now_ms
        self._log = log
        self._refusal_log = refusal_log
        self._blobs = blobs
        self._sources = Sources(settings, windows, now_ms=now_ms, log=log)
        self._failed = FailedTransactions(settings, windows, now_ms=now_ms, log=log)
        self._metrics = Metrics(metric_log, now_ms, function)
        self._reporter = Reporter(self._metrics, self._readings)
        self._keys = SealingKeys(roots)
        reader = ContractReader(ledger, roots)
        state_ttl_s = settings.admission_ttl_ms / 1000
        self._chain = ChainView(ledger, reader, ttl_s=state_ttl_s)
        self._tally = CommandTally(keep_s=2 * state_ttl_s, capacity=SEAL_CAPACITY)
        self._discovery = DiscoveryReplies(
            DiscoveryCache(ttl_s=settings.discovery_ttl_ms / 1000, max_bytes=settings.discovery_max_bytes),
            SharedDiscovery(
                shelf,
                ttl_ms=settings.discovery_ttl_ms,
                exchange_ms=settings.deadlines.lambda_timeout_ms,
                now_ms=now_ms,
                log=log,
            ),
            roots.cluster,
        )
        self._submitter = Submitter(
            ledger=ledger, loop=loop, chain=self._chain, store=store, signer=signer, now_ms=now_ms, log=log
        )
        self._parking = Parking(store=store, keys=parking_keys, deadlines=settings.deadlines, now_ms=now_ms)
        self._ledger, self._reader = ledger, reader
        self._sweeper = Sweeper(
            store=store,
            ledger=ledger,
            reader=reader,
            loop=loop,
            submitter=self._submitter,
            deadlines=settings.deadlines,
            now_ms=now_ms,
            log=log,
        )
        self._reclaimer = Reclaimer(
            leftovers=leftovers,
            ledger=ledger,
            reader=reader,
            chain=self._chain,
            loop=loop,
            signer=signer,
            roots=roots,
            gas_budget=settings.gas_budget,
            log=log,
        )
        self._waiter = AnswerWaiter(
            ledger, reader, executor=settings.executor, executor_key=roots.executors[settings.executor]
        )

    def handle(self, request: GatewayRequest) -> GatewayReply:
        """Answer one request; every refusal and failure is a Status. Writes one log line."""
        journey = Journey(source=request.source, api_request_id=request.api_request_id)
        return self._answer(journey, lambda: self._serve(request, journey))

    def refuse(self, source: str, api_request_id: str | None, error: DaasError) -> GatewayReply:
        """Answer what came from `source` and cannot be read as a request, as `handle` does."""

        def fail() -> GatewayReply:
            raise error

        return self._answer(Journey(source=source, api_request_id=api_request_id), fail)

    def _answer(self, journey: Journey, serve: Callable[[], GatewayReply]) -> GatewayReply:
        refused = None
        try:
            if journey.source is not None:
                self._sources.check(journey.source)
            reply = serve()
        except Exception as error:  # noqa: BLE001 - the caller gets a Status and the log the place, whatever happened
            if not isinstance(error, DaasError):
                self._log(json.dumps({"event": "bug", "where": where(error)}))
            if isinstance(error, ConfigurationError):
                # The caller hears that a setting is wrong, and only the operator which one.
                self._log(json.dumps({"event": "misconfigured", "reason": str(error)}))
            status = _status(error, journey, self._now_ms())
            refused = _refusal_name(error, status)
            reply = status_reply(status)
            journey.parked = isinstance(error, ParkedError)
            journey.expired = isinstance(error, StartByPassedError)
            if not journey.parked:
                self._refused(journey, error, status, refused)
        self._log(journey.log_line(code=reply.status, reason=refused))
        self._reporter.request(journey, reply.status, None if journey.parked else refused)
        return GatewayReply(reply.status, (*reply.headers, *journey.headers()), reply.body)

    def _refused(self, journey: Journey, error: Exception, status: StatusError, reason: str) -> None:
        """Keep what was refused, and count it where it was the caller's doing and cost no gas."""
        self._refusal_log(refusal_line(journey, code=status.code, reason=reason))
        # Rates are counted where they are: a holder who is over his takes nothing from his neighbours.
        callers_doing = (status.code < 500 and status.code != 429) or status.code == 501
        if journey.source is not None and journey.request_digest is None and callers_doing:
            self._sources.refused(journey.source)

    def sweep(self) -> Sweep:
        """Go on with what functions that died have left; for a schedule. See `sweeper`."""
        swept = self._sweeper.sweep()
        self._metrics.emit([Sample({"SweptRecords": swept.moved, "SweepFailures": swept.failed})])
        return swept

    def reclaim(self) -> Reclaimed:
        """Take finished requests off the chain; for a schedule. See `reclaim`."""
        return self._reclaimer.reclaim()

    def report_balance(self, function_name: str) -> None:
        """Log what this gateway's address can still pay with; for a schedule. Raises LedgerError."""
        balance = self._loop.run(self._ledger.balance(self._signer.address), timeout_s=BALANCE_TIMEOUT_S)
        self._metrics.emit([Sample({"GasBalance": balance / MIST_PER_SUI})], function_name)

    def _serve(self, request: GatewayRequest, journey: Journey) -> GatewayReply:
        with journey.stage("admission"):
            admitted = self._admit(request, journey)
        left_ms = self._wait_until_ms(request) - self._now_ms()

        def run(command: AdmittedCommand) -> Fetched:
            with self._open_requests.place() if command.stays_open else nullcontext():
                return Fetched(self._command(command, journey), own=not journey.adopted)

        reply, journey.cache = self._discovery.answer(
            admitted,
            run,
            # Time must be left for an own command, if somebody else's brings nothing.
            patience_s=max(0, left_ms) / 2000,
        )
        if journey.cache == "shared":
            # He waited for somebody else: is he still one who may ask?
            self._admit(request, journey)
        elif journey.cache in ("miss", "revalidated", "stored"):
            self._log(json.dumps({"event": "discovery-cache", **self._discovery.counters()}))
        return reply

    def _command(self, admitted: AdmittedCommand, journey: Journey) -> GatewayReply:
        """One command through the chain, or the one that runs already for this very request."""
        place = self._parking.place(admitted)
        look = self._store.look(place, self._failed.window(admitted.seal))
        adopted = self._parking.adopt(place) if place is not None and look.parked else None
        journey.adopted = adopted is not None
        with journey.stage("submit"):
            try:
                if adopted is None:
                    self._failed.check(admitted.seal, look.counted)
                    pending = self._submit(admitted, place, journey)
                else:
                    pending = self._resume(adopted, journey)
            except (MoveAbortError, TransactionFailedError):
                journey.aborted = True
                self._failed.failed(admitted.seal)
                raise
        with journey.stage("wait"):
            answer = self._await_answer(admitted, pending, adopted)
            if answer is None:
                raise self._unanswered(admitted, pending)
            journey.response_digest = answer.digest
            response = self._open(admitted, pending, answer)
            self._note(
                lambda: self._store.record_answered(
                    pending.reservation, status_code=answer.status_code, response_digest=answer.digest
                )
            )
        return GatewayReply(response.status, tuple(filter_response_headers(response.headers)), response.body)

    def _admit(self, request: GatewayRequest, journey: Journey) -> AdmittedCommand:
        headers = tuple(admit_request_headers(request.headers))
        attributes = parse_attributes(request.method, request.path, request.query)
        journey.attributes = attributes
        now_ms = self._now_ms()
        token = _bearer_token(request)
        verify(
            token,
            cluster=self._roots.cluster,
            gateway=self._signer.address,
            now_ms=now_ms,
            margin_ms=CLOCK_MARGIN_MS,
        )
        journey.seal = token.claims.seal
        refuse_unsupported(request, attributes)

        def decide(state: CommandState, *, counted: bool = False) -> AdmittedCommand:
            on_chain, executor_key = self._admitted_by(state, token, attributes, counted=counted)
            return AdmittedCommand(request, headers, attributes, on_chain, token, state, executor_key)

        until_ms, began_s = self._wait_until_ms(request), time.monotonic()
        try:
            return decide(self._run(self._chain.state(token.claims.seal), until_ms))
        except DaasError:
            # Nobody is refused on what was true a second ago: a session may have been opened since.
            state = self._run(self._chain.state_since(token.claims.seal, began_s), until_ms)
        try:
            return decide(state)
        except StatusError as error:
            if error.code != 429:
                raise
            return replace(decide(state, counted=True), refusal=error)

    def _admitted_by(
        self, state: CommandState, token: BearerToken, attributes: RequestAttributes, *, counted: bool
    ) -> tuple[OnChainAttributes, SealingPublicKey]:
        policy = state.cluster.policy
        self._settings.deadlines.check_policy(
            max_start_ms=policy.max_start_ms,
            max_finish_ms=policy.max_finish_ms,
            max_answer_ms=policy.max_answer_ms,
            clock_margin_ms=CLOCK_MARGIN_MS,
        )
        on_chain = admit(
            state,
            token,
            attributes,
            gateway=self._signer.address,
            executor=self._settings.executor,
            sent=None if counted else self._tally.since(token.claims.seal, state.seal_read_s),
            now_ms=self._now_ms(),
            margin_ms=CLOCK_MARGIN_MS,
        )
        return on_chain, self._keys.current(state.cluster.executors[self._settings.executor])

    def _submit(self, admitted: AdmittedCommand, place: bytes | None, journey: Journey) -> PendingCommand:
        if admitted.refusal is not None:
            raise admitted.refusal
        if admitted.stays_open:
            self._open_requests.count(admitted.seal, admitted.state.cluster.policy.commands_per_minute)
        sealed = seal_command(admitted, self._settings, self._now_ms(), self._blobs)
        journey.request_id = sealed.request_id
        reservation = self._store.reserve(self._parking.new_request(admitted, sealed, place))
        self._tally.add(admitted.seal, admitted.deposit)

        def on_reading() -> None:
            journey.submission_rpcs += 1

        def on_sending(digest: str) -> None:
            journey.request_digest = digest
            on_reading()

        try:
            sent = self._submitter.submit(
                lambda terms: command_transaction(
                    admitted, sealed, self._settings, self._roots, sender=self._signer.address, terms=terms
                ),
                reservation,
                start_by_ms=sealed.deadlines.start_by_ms,
                on_sending=on_sending,
                on_reading=on_reading,
            )
        except SubmissionUnknownError as error:
            pending = self._parking.pending(admitted, sealed, place, error.sent, unsent=error.signed)
            if self._parking.park(pending, is_read=admitted.attributes.is_read):
                # The retry sends the same bytes again, if there is still time.
                raise _parked(pending) from error
            raise
        return self._parking.pending(admitted, sealed, place, sent)

    def _resume(self, adopted: PendingCommand, journey: Journey) -> PendingCommand:
        """Go on with what somebody else submitted; the same bytes are sent again if nobody knows better."""
        journey.request_id, journey.request_digest = adopted.request_id, adopted.digest
        if adopted.unsent is None:
            return adopted
        accepted = self._submitter.resend(
            adopted.unsent,
            adopted.reservation,
            start_by_ms=adopted.deadlines.start_by_ms,
            on_sending=lambda _digest: None,
        )
        return replace(adopted, accepted=True) if accepted else adopted

    def _await_answer(
        self, admitted: AdmittedCommand, pending: PendingCommand, adopted: PendingCommand | None
    ) -> Answer | None:
        """Waits as long as the exchange lasts. Most answers are there before anybody else would ask about
        the record, and spare it the write that says `submitted`.
        """
        until_ms = self._wait_until_ms(admitted.request)
        waiting = self._waiter.begin(admitted.seal, pending.request_id, stays_open=admitted.stays_open)
        if not pending.accepted or adopted is pending:
            return self._wait(waiting, until_ms)
        answer = self._wait(waiting, min(until_ms, admitted.request.arrival_ms + NOTE_AFTER_MS))
        if answer is None:
            self._note(lambda: self._store.record_submitted(pending.reservation))
            answer = self._wait(waiting, until_ms)
        return answer

    def _wait(self, waiting: Waiting, until_ms: int) -> Answer | None:
        return self._loop.run(waiting.until(time.monotonic() + (until_ms - self._now_ms()) / 1000))

    def _open(self, admitted: AdmittedCommand, pending: PendingCommand, answer: Answer) -> ResponseEnvelope:
        info = response_info(self._roots.cluster, admitted.seal, pending.request_id)
        response = ResponseEnvelope.decode(pending.reply_key.open(answer.sealed, info))
        if response.status != answer.status_code:
            raise WireFormatError("the sealed answer has another status than the one on chain")
        return complete_response(
            response,
            pending.reply_key,
            cluster=self._roots.cluster,
            seal=admitted.seal,
            request_id=pending.request_id,
            blobs=self._blobs,
        )

    def _unanswered(self, admitted: AdmittedCommand, pending: PendingCommand) -> DaasError:
        if not pending.accepted and self._never_ran(admitted, pending):
            self._note(lambda: self._store.record_expired(pending.reservation))
            return StartByPassedError("the command was not submitted in time")
        if self._parking.park(pending, is_read=admitted.attributes.is_read):
            return _parked(pending)
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

    def _readings(self) -> dict[str, Reading]:
        """What this process's tables hold, by name; those of the chain only if their loop is not busy."""
        readings = {
            "discovery": self._discovery.reading(),
            "sealing-keys": self._keys.reading(),
            "tally": self._tally.reading(),
            **self._sources.readings(),
            "seal-aborts": self._failed.reading(),
            "open-requests": self._open_requests.reading(),
        }
        try:
            return readings | self._loop.run(self._chain.readings(), timeout_s=READINGS_S)
        except TimeoutError:
            return readings

    def _wait_until_ms(self, request: GatewayRequest) -> int:
        return request.arrival_ms + self._settings.deadlines.gateway_wait_ms

    def _run(self, work: Coroutine[Any, Any, T], until_ms: int) -> T:
        try:
            return self._loop.run(work, timeout_s=max(0, until_ms - self._now_ms()) / 1000)
        except TimeoutError:
            raise LedgerUnavailableError("the Sui endpoint did not answer while the caller waited") from None

    def _note(self, write: Callable[[], None]) -> None:
        """Bring the record up to date; the caller's answer does not hang on it any more."""
        try:
            write()
        except GatewayUnavailableError as error:
            self._log(json.dumps({"event": "record-not-updated", "reason": type(error).__name__}))


class ParkedError(StatusError):
    """Makes kubectl send the same request again, unasked; no refusal."""


def _parked(pending: PendingCommand) -> ParkedError:
    text = request_id_text(pending.request_id)
    return ParkedError(
        503,
        "ServiceUnavailable",
        f"request {text} is still under way: send the same request again, and it gets this one's answer",
        causes=(Cause("Parked", f"{pending.parkings + 1} of at most {MOST_PARKINGS} times"),),
        retry_after_s=RETRY_AFTER_S,
        request_id=text,
    )


def _bearer_token(request: GatewayRequest) -> BearerToken:
    scheme, _, credentials = (request.header("Authorization") or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise TokenError("no bearer token came: use a kubeconfig whose user runs kubectl-daas")
    return BearerToken.decode(credentials.strip())


def _status(error: Exception, journey: Journey, now_ms: int) -> StatusError:
    """The Status of an error, with what this request knows about itself."""
    request_id = None if journey.request_id is None else request_id_text(journey.request_id)
    submitted = journey.request_digest is not None
    if isinstance(error, StartByPassedError):
        return from_abort("k8s_gateway", 404, request_id=request_id)
    if isinstance(error, TransactionFailedError):
        return from_failure(error.kind, transaction=journey.request_digest, request_id=request_id)
    # A refusal for this minute must be over by the chain's clock, too, when the caller comes again.
    status = status_of(error, submitted=submitted, request_id=request_id, now_ms=now_ms - CLOCK_MARGIN_MS)
    if submitted and journey.request_digest is not None:
        status.causes = (*status.causes, Cause("RequestDigest", journey.request_digest))
    return status


def _refusal_name(error: Exception, status: StatusError) -> str:
    """One word for the log: the abort's or the refusal's name where there is one."""
    if isinstance(error, TransactionRefusedError):
        return f"TransactionRefused:{error.kind}"
    if isinstance(error, TransactionFailedError):
        return f"TransactionFailed:{error.kind}"
    if isinstance(error, StatusError | MoveAbortError) and status.causes:
        return status.causes[0].reason
    return type(error).__name__ if not isinstance(error, StatusError) else status.reason
