"""One request through the gateway: read, decide, seal, reserve, submit, wait, reply.

This module holds the order of the steps; each step is a module of its own.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib.admission import admit, check_payload_size
from chalicelib.chain import ChainView, CommandState
from chalicelib.errors import GatewayUnavailableError
from chalicelib.http_request import GatewayRequest
from chalicelib.journey import Journey, Log, log_to_stderr, where
from chalicelib.loop import EventLoopThread
from chalicelib.replies import GatewayReply, status_of, status_reply
from chalicelib.request_store import NewRequest, RequestStore, Reservation
from chalicelib.settings import GatewaySettings
from chalicelib.submission import StartByPassedError, Submitted, Submitter, TransactionFailedError
from chalicelib.unsupported import bounded_watch_query, refuse_unsupported
from chalicelib.waiting import Answer, AnswerWaiter
from k3s_daas.attributes import RequestAttributes, parse_attributes
from k3s_daas.bearer import BearerToken, verify
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import Command, execute_command
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import Deadlines
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
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
from k3s_daas.ids import new_request_id, request_id_text
from k3s_daas.payload import split
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info, response_info
from k3s_daas.status import Cause, StatusError, from_abort
from k3s_daas.sui.ledger import EpochInfo, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder

T = TypeVar("T")

# The contract decides by the chain's clock, and a moment later. What begins or ends within this time could be
# refused there, and a refusal on chain costs gas.
CLOCK_MARGIN_MS = 5_000


@dataclass(frozen=True, repr=False)
class _Admitted:
    """A command that the contract would accept as far as the gateway knows."""

    request: GatewayRequest
    headers: tuple[tuple[str, str], ...]
    attributes: RequestAttributes
    on_chain: OnChainAttributes
    token: BearerToken
    state: CommandState


@dataclass(frozen=True)
class _Sealed:
    """A command ready for the chain, and the only key that opens its answer."""

    request_id: bytes
    deadlines: Deadlines
    payload: list[bytes]
    reply_key: SealingPrivateKey


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
        executor = roots.executors[settings.executor]
        self._executor_key = SealingPublicKey.from_bytes(executor.hpke_public_key)
        reader = ContractReader(ledger, roots)
        self._chain = ChainView(ledger, reader, ttl_s=settings.admission_ttl_ms / 1000)
        self._submitter = Submitter(
            ledger=ledger, loop=loop, chain=self._chain, store=store, signer=signer, now_ms=now_ms, log=log
        )
        self._waiter = AnswerWaiter(
            ledger, reader, executor=settings.executor, executor_key=executor.public_key
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
            status = _status(error, journey)
            refused = _refusal_name(error, status)
            reply = status_reply(status)
        self._log(journey.log_line(code=reply.status, reason=refused))
        return GatewayReply(reply.status, (*reply.headers, *journey.headers()), reply.body)

    def _serve(self, request: GatewayRequest, journey: Journey) -> GatewayReply:
        with journey.stage("admission"):
            admitted = self._admit(request, journey)
        with journey.stage("submit"):
            sealed = self._seal(admitted)
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

    def _admit(self, request: GatewayRequest, journey: Journey) -> _Admitted:
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
        state, on_chain = self._decide(token, attributes, self._wait_until_ms(request))
        return _Admitted(request, headers, attributes, on_chain, token, state)

    def _decide(
        self, token: BearerToken, attributes: RequestAttributes, until_ms: int
    ) -> tuple[CommandState, OnChainAttributes]:
        began_s = time.monotonic()
        state = self._run(self._chain.state(token.claims.seal), until_ms)
        try:
            return state, self._admitted_by(state, token, attributes)
        except DaasError:
            # Nobody is refused on what was true a second ago: a session may have been opened since.
            state = self._run(self._chain.state_since(token.claims.seal, began_s), until_ms)
            return state, self._admitted_by(state, token, attributes)

    def _admitted_by(
        self, state: CommandState, token: BearerToken, attributes: RequestAttributes
    ) -> OnChainAttributes:
        policy = state.cluster.policy
        self._settings.deadlines.check_policy(
            max_start_ms=policy.max_start_ms,
            max_finish_ms=policy.max_finish_ms,
            max_answer_ms=policy.max_answer_ms,
        )
        return admit(
            state,
            token,
            attributes,
            gateway=self._signer.address,
            executor=self._settings.executor,
            now_ms=self._now_ms() + CLOCK_MARGIN_MS,
        )

    def _seal(self, admitted: _Admitted) -> _Sealed:
        request, seal = admitted.request, admitted.token.claims.seal
        query = request.query
        if admitted.attributes.is_long_running:
            query = bounded_watch_query(query, self._settings.watch_seconds)
        reply_key = SealingPrivateKey.generate()
        envelope = RequestEnvelope(
            method=request.method,
            path=admitted.attributes.path,
            query=query,
            headers=admitted.headers,
            body=request.body,
            reply_key=reply_key.public_bytes(),
        )
        request_id = new_request_id(self._now_ms())
        info = request_info(self._roots.cluster, seal, request_id)
        payload = split(self._executor_key.seal(envelope.encode(), info))
        check_payload_size(admitted.state.cluster, payload)
        deadlines = Deadlines.at(request.arrival_ms, self._settings.deadlines)
        return _Sealed(request_id, deadlines, payload, reply_key)

    def _submit(self, admitted: _Admitted, sealed: _Sealed, journey: Journey) -> Submitted:
        reservation = self._reserve(admitted, sealed)

        def on_sending(digest: str) -> None:
            journey.request_digest = digest

        return self._submitter.submit(
            lambda terms: self._transaction(admitted, sealed, terms),
            reservation,
            start_by_ms=sealed.deadlines.start_by_ms,
            on_sending=on_sending,
        )

    def _reserve(self, admitted: _Admitted, sealed: _Sealed) -> Reservation:
        deadlines = sealed.deadlines
        return self._store.reserve(
            NewRequest(
                request_id=sealed.request_id,
                seal=admitted.token.claims.seal,
                arrived_at_ms=admitted.request.arrival_ms,
                start_by_ms=deadlines.start_by_ms,
                finish_by_ms=deadlines.finish_by_ms,
                answer_by_ms=deadlines.answer_by_ms,
            )
        )

    def _transaction(self, admitted: _Admitted, sealed: _Sealed, terms: EpochInfo) -> bytes:
        token, deadlines, state = admitted.token, sealed.deadlines, admitted.state
        assert state.seal is not None, "admission refuses a token without a seal"
        command = Command(
            request_id=sealed.request_id,
            session_key=token.session_key,
            secret_hash=token.claims.secret_hash,
            not_before_ms=token.claims.not_before_ms,
            token_expires_at_ms=token.claims.expires_at_ms,
            claims_signature=token.signature,
            attributes=admitted.on_chain,
            executor=self._settings.executor,
            start_by_ms=deadlines.start_by_ms,
            finish_by_ms=deadlines.finish_by_ms,
            answer_by_ms=deadlines.answer_by_ms,
            payload=sealed.payload,
        )
        builder = PtbBuilder()
        execute_command(builder, self._roots.package_latest, state.cluster.ref, state.seal.ref, command)
        gas = AddressBalanceGas(
            budget=self._settings.gas_budget,
            price=terms.reference_gas_price,
            epoch=terms.epoch,
            chain_id=self._roots.chain_id,
            nonce=_nonce(sealed.request_id),
        )
        return builder.build(self._signer.address, gas=gas)

    def _wait(self, admitted: _Admitted, sealed: _Sealed) -> Answer | None:
        left_ms = self._wait_until_ms(admitted.request) - self._now_ms()
        return self._loop.run(
            self._waiter.wait(
                admitted.token.claims.seal,
                sealed.request_id,
                kind="watch" if admitted.attributes.is_long_running else "command",
                until_s=time.monotonic() + left_ms / 1000,
            )
        )

    def _open(self, admitted: _Admitted, sealed: _Sealed, answer: Answer) -> ResponseEnvelope:
        info = response_info(self._roots.cluster, admitted.token.claims.seal, sealed.request_id)
        response = ResponseEnvelope.decode(sealed.reply_key.open(answer.sealed, info))
        if response.status != answer.status_code:
            raise WireFormatError("the sealed answer has another status than the one on chain")
        return response

    def _unanswered(self, submitted: Submitted, sealed: _Sealed) -> StatusError:
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


def _nonce(request_id: bytes) -> int:
    """Tells transactions of one sender apart; the same request gives the same one again."""
    return int.from_bytes(hashlib.sha256(request_id).digest()[:4], "big")


def _status(error: Exception, journey: Journey) -> StatusError:
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
    status = status_of(error, submitted=submitted, request_id=request_id)
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
