"""One request through the gateway: read, decide, seal, reserve, submit, wait, reply.

This module holds the order of the steps; each step is a module of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from chalicelib.admission import admit
from chalicelib.chain import SEAL_CAPACITY, ChainView, CommandState
from chalicelib.command import AdmittedCommand, SealedCommand, command_transaction, seal_command
from chalicelib.errors import GatewayUnavailableError
from chalicelib.http_request import GatewayRequest
from chalicelib.journey import Journey, Log, log_to_stderr, where
from chalicelib.loop import EventLoopThread
from chalicelib.replies import GatewayReply, status_of, status_reply
from chalicelib.request_store import NewRequest, RequestStore, Reservation
from chalicelib.sealing_keys import SealingKeys
from chalicelib.settings import GatewaySettings
from chalicelib.submission import StartByPassedError, Submitted, Submitter, TransactionFailedError
from chalicelib.tally import CommandTally
from chalicelib.unsupported import refuse_unsupported
from chalicelib.waiting import Answer, AnswerWaiter
from k3s_daas.attributes import RequestAttributes, parse_attributes
from k3s_daas.bearer import BearerToken, verify
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import (
    DaasError,
    LedgerUnavailableError,
    MoveAbortError,
    PayloadTooLargeError,
    TokenError,
    TransactionRefusedError,
    WireFormatError,
)
from k3s_daas.headers import admit_request_headers, filter_response_headers
from k3s_daas.ids import request_id_text
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPublicKey, response_info
from k3s_daas.status import Cause, StatusError, from_abort
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.signers import TransactionSigner

T = TypeVar("T")

# The contract decides by the chain's clock, and a moment later. What begins or ends within this time could be
# refused there, and a refusal on chain costs gas.
CLOCK_MARGIN_MS = 5_000


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
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        log: Log = log_to_stderr,
    ) -> None:
        self._settings = settings
        self._roots = roots
        self._loop = loop
        self._store = store
        self._signer = signer
        self._now_ms = now_ms
        self._log = log
        self._keys = SealingKeys(roots)
        reader = ContractReader(ledger, roots)
        state_ttl_s = settings.admission_ttl_ms / 1000
        self._chain = ChainView(ledger, reader, ttl_s=state_ttl_s)
        self._tally = CommandTally(keep_s=2 * state_ttl_s, capacity=SEAL_CAPACITY)
        self._submitter = Submitter(
            ledger=ledger, loop=loop, chain=self._chain, store=store, signer=signer, now_ms=now_ms, log=log
        )
        self._waiter = AnswerWaiter(
            ledger, reader, executor=settings.executor, executor_key=roots.executors[settings.executor]
        )

    def handle(self, request: GatewayRequest) -> GatewayReply:
        """Answer one request; every refusal and failure is a Status. Writes one log line."""
        journey = Journey()
        refused = None
        try:
            reply = self._serve(request, journey)
        except Exception as error:  # noqa: BLE001 - the caller gets a Status and the log the place, whatever happened
            if not isinstance(error, DaasError):
                self._log(json.dumps({"event": "bug", "where": where(error)}))
            status = _status(error, journey, self._now_ms())
            refused = _refusal_name(error, status)
            reply = status_reply(status)
        self._log(journey.log_line(code=reply.status, reason=refused))
        return GatewayReply(reply.status, (*reply.headers, *journey.headers()), reply.body)

    def _serve(self, request: GatewayRequest, journey: Journey) -> GatewayReply:
        with journey.stage("admission"):
            admitted = self._admit(request, journey)
        with journey.stage("submit"):
            sealed = seal_command(admitted, self._settings, self._roots.cluster, self._now_ms())
            journey.request_id = sealed.request_id
            submitted = self._submit(admitted, sealed, journey)
        with journey.stage("wait"):
            self._note(lambda: self._store.record_submitted(submitted.reservation))
            answer = self._wait(admitted, sealed)
            if answer is None:
                raise self._unanswered(submitted, sealed)
            journey.response_digest = answer.digest
            response = self._open(admitted, sealed, answer)
            self._note(
                lambda: self._store.record_answered(
                    submitted.reservation, status_code=answer.status_code, response_digest=answer.digest
                )
            )
        return GatewayReply(response.status, tuple(filter_response_headers(response.headers)), response.body)

    def _admit(self, request: GatewayRequest, journey: Journey) -> AdmittedCommand:
        if len(request.body) > self._settings.max_body_bytes:
            raise PayloadTooLargeError(
                f"the request body is larger than {self._settings.max_body_bytes} bytes: send less at once",
                size=len(request.body),
                limit=self._settings.max_body_bytes,
            )
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

        def decide(state: CommandState) -> AdmittedCommand:
            on_chain, executor_key = self._admitted_by(state, token, attributes)
            return AdmittedCommand(request, headers, attributes, on_chain, token, state, executor_key)

        until_ms, began_s = self._wait_until_ms(request), time.monotonic()
        try:
            return decide(self._run(self._chain.state(token.claims.seal), until_ms))
        except DaasError:
            # Nobody is refused on what was true a second ago: a session may have been opened since.
            return decide(self._run(self._chain.state_since(token.claims.seal, began_s), until_ms))

    def _admitted_by(
        self, state: CommandState, token: BearerToken, attributes: RequestAttributes
    ) -> tuple[OnChainAttributes, SealingPublicKey]:
        policy = state.cluster.policy
        self._settings.deadlines.check_policy(
            max_start_ms=policy.max_start_ms,
            max_finish_ms=policy.max_finish_ms,
            max_answer_ms=policy.max_answer_ms,
        )
        on_chain = admit(
            state,
            token,
            attributes,
            gateway=self._signer.address,
            executor=self._settings.executor,
            sent=self._tally.since(token.claims.seal, state.seal_read_s),
            now_ms=self._now_ms(),
            margin_ms=CLOCK_MARGIN_MS,
        )
        return on_chain, self._keys.current(state.cluster.executors[self._settings.executor])

    def _submit(self, admitted: AdmittedCommand, sealed: SealedCommand, journey: Journey) -> Submitted:
        reservation = self._reserve(admitted, sealed)
        self._tally.add(admitted.seal, admitted.deposit)

        def on_sending(digest: str) -> None:
            journey.request_digest = digest

        return self._submitter.submit(
            lambda terms: command_transaction(
                admitted, sealed, self._settings, self._roots, sender=self._signer.address, terms=terms
            ),
            reservation,
            start_by_ms=sealed.deadlines.start_by_ms,
            on_sending=on_sending,
        )

    def _reserve(self, admitted: AdmittedCommand, sealed: SealedCommand) -> Reservation:
        deadlines = sealed.deadlines
        return self._store.reserve(
            NewRequest(
                request_id=sealed.request_id,
                seal=admitted.seal,
                arrived_at_ms=admitted.request.arrival_ms,
                start_by_ms=deadlines.start_by_ms,
                finish_by_ms=deadlines.finish_by_ms,
                answer_by_ms=deadlines.answer_by_ms,
            )
        )

    def _wait(self, admitted: AdmittedCommand, sealed: SealedCommand) -> Answer | None:
        left_ms = self._wait_until_ms(admitted.request) - self._now_ms()
        return self._loop.run(
            self._waiter.wait(
                admitted.seal,
                sealed.request_id,
                kind="watch" if admitted.attributes.is_long_running else "command",
                until_s=time.monotonic() + left_ms / 1000,
            )
        )

    def _open(self, admitted: AdmittedCommand, sealed: SealedCommand, answer: Answer) -> ResponseEnvelope:
        info = response_info(self._roots.cluster, admitted.seal, sealed.request_id)
        response = ResponseEnvelope.decode(sealed.reply_key.open(answer.sealed, info))
        if response.status != answer.status_code:
            raise WireFormatError("the sealed answer has another status than the one on chain")
        return response

    def _unanswered(self, submitted: Submitted, sealed: SealedCommand) -> StatusError:
        left_s = max(0, sealed.deadlines.finish_by_ms - self._now_ms()) // 1000
        text = request_id_text(sealed.request_id)
        return StatusError(
            504,
            "Timeout",
            f"the chain accepted the command in transaction {submitted.digest} as request {text}, and there "
            f"is no answer yet: it may still run for {left_s} s, and its answer will be on chain. "
            "Look at the cluster before you repeat it",
            causes=(Cause("RequestDigest", submitted.digest),),
            request_id=text,
        )

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
        return StatusError(
            502,
            "BadGateway",
            f"transaction {journey.request_digest} failed on chain, and nothing was run: {error}",
            request_id=request_id,
        )
    status = status_of(error, submitted=submitted, request_id=request_id, now_ms=now_ms)
    if submitted and journey.request_digest is not None:
        status.causes = (*status.causes, Cause("RequestDigest", journey.request_digest))
    return status


def _refusal_name(error: Exception, status: StatusError) -> str:
    """One word for the log: the abort's or the refusal's name where there is one."""
    if isinstance(error, TransactionRefusedError):
        return f"TransactionRefused:{error.kind}"
    if isinstance(error, StatusError | MoveAbortError) and status.causes:
        return status.causes[0].reason
    return type(error).__name__ if not isinstance(error, StatusError) else status.reason
