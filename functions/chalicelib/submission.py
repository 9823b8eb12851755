"""From an admitted command to its transaction on chain.

Order of things, which is the whole point: build, sign, put bytes and digest on record, only then submit.

- A broken connection says nothing about the effect: the *same* bytes are sent again (same digest, executed
  once).
- New bytes are made only after a definite refusal that fresh chain terms can cure, once, under a raised
  fence.
- Nothing is sent once `start_by` has passed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.chain import ChainView
from chalicelib.errors import (
    GatewayUnavailableError,
    RecordUnknownError,
    RequestStoreUnavailableError,
    SigningUnavailableError,
)
from chalicelib.journey import Log
from chalicelib.loop import EventLoopThread
from chalicelib.request_store import RequestStore, Reservation, SignedTransaction
from k3s_daas.aborts import abort_name
from k3s_daas.errors import DaasError, LedgerUnavailableError, MoveAbortError, TransactionRefusedError
from k3s_daas.sui.kms_errors import refusal_of
from k3s_daas.sui.ledger import EpochInfo, ExecutionOutcome, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import transaction_digest

# Sendings of the same bytes, the first included, and the longest pause before the second, which doubles.
MAX_SENDINGS = 4
FIRST_PAUSE_S = 0.1

T = TypeVar("T")

BuildTransaction = Callable[[EpochInfo], bytes]


@dataclass(frozen=True)
class Submitted:
    """A command that was sent in the transaction `digest`."""

    digest: str
    reservation: Reservation


class StartByPassedError(DaasError):
    """`start_by` passed before anything was sent: the command never ran and never will."""


class SubmissionUnknownError(LedgerUnavailableError):
    """The bytes were sent and nobody said what became of them; the transaction's digest finds out.

    `sent` is what was sent, under the right to write its record.
    """

    def __init__(self, sent: Submitted, signed: SignedTransaction) -> None:
        super().__init__(f"transaction {sent.digest} was sent, and its effect is not known")
        self.sent = sent
        self.signed = signed


class TransactionFailedError(DaasError):
    """The transaction was executed and failed, without an abort of the contract; `kind` is Sui's name."""

    def __init__(self, kind: str | None, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Submitter:
    """Signs and submits; used by many request threads at once."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        loop: EventLoopThread,
        chain: ChainView,
        store: RequestStore,
        signer: TransactionSigner,
        now_ms: Callable[[], int],
        log: Log,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._loop = loop
        self._chain = chain
        self._store = store
        self._signer = signer
        self._now_ms = now_ms
        self._log = log
        self._sleep = sleep

    def submit(
        self,
        build: BuildTransaction,
        reservation: Reservation,
        *,
        start_by_ms: int,
        on_sending: Callable[[str], None],
        on_reading: Callable[[], None] = lambda: None,
    ) -> Submitted:
        """Submit the transaction that `build` makes of the chain's present terms.

        `on_sending` hears the digest of all bytes that are about to be sent, `on_reading` of each time the
        chain is asked for its terms. Before anything was sent:
        StartByPassedError, LedgerUnavailableError, and the store's and the signer's errors. After it:
        SubmissionUnknownError, TransactionRefusedError, MoveAbortError, TransactionFailedError. A definite
        refusal and a passed `start_by` are on record when this raises, if the store took them.
        """
        try:
            if not self._chain.has_terms:
                on_reading()
            terms = self._run(self._chain.terms(), start_by_ms)
            signed, reservation = self._sign(build(terms), reservation)
            try:
                outcome = self._send(signed, reservation, start_by_ms, on_sending)
            except TransactionRefusedError:
                on_reading()
                fresh = self._run(self._chain.fresh_terms(), start_by_ms)
                if fresh == terms:
                    # The chain would say the same again.
                    raise
                signed, reservation = self._sign(build(fresh), reservation)
                outcome = self._send(signed, reservation, start_by_ms, on_sending)
            _check(outcome)
        except StartByPassedError:
            self._note(self._store.record_expired, reservation)
            raise
        except (TransactionRefusedError, MoveAbortError, TransactionFailedError):
            self._note(self._store.record_refused, reservation)
            raise
        return Submitted(signed.digest, reservation)

    def resend(
        self,
        signed: SignedTransaction,
        reservation: Reservation,
        *,
        start_by_ms: int,
        on_sending: Callable[[str], None],
    ) -> bool:
        """Send bytes that somebody put on record, and may have sent; whether the contract accepted them.

        False: nobody knows, and nobody refused them for good. No new bytes are ever made here. Raises
        MoveAbortError and TransactionFailedError, which are on record then, if the store took them.
        """
        try:
            _check(self._send(signed, reservation, start_by_ms, on_sending))
        except (StartByPassedError, SubmissionUnknownError, TransactionRefusedError):
            return False
        except (MoveAbortError, TransactionFailedError):
            self._note(self._store.record_refused, reservation)
            raise
        return True

    def _sign(self, data: bytes, reservation: Reservation) -> tuple[SignedTransaction, Reservation]:
        """Sign and put on record; the returned reservation carries the raised fence."""
        try:
            signature = self._signer.sign(data)
        except (BotoCoreError, ClientError) as error:
            self._log(json.dumps({"event": "not-signed", "reason": _without_signature(error)}))
            raise SigningUnavailableError(
                "the gateway's key service did not sign, and nothing was submitted: try again, and tell the "
                "gateway's operator if it stays so"
            ) from error
        signed = SignedTransaction(data, signature, transaction_digest(data))
        try:
            return signed, self._store.record_signed(reservation, signed)
        except RequestStoreUnavailableError as error:
            raise RecordUnknownError from error

    def _note(self, write: Callable[[Reservation], None], reservation: Reservation) -> None:
        """Close the record; the caller hears what the chain said, even if the store does not answer."""
        try:
            write(reservation)
        except GatewayUnavailableError as error:
            self._log(json.dumps({"event": "record-not-closed", "reason": type(error).__name__}))

    def _send(
        self,
        signed: SignedTransaction,
        reservation: Reservation,
        start_by_ms: int,
        on_sending: Callable[[str], None],
    ) -> ExecutionOutcome:
        """Send these bytes until somebody says what became of them."""
        pause_s = FIRST_PAUSE_S
        for sending in range(MAX_SENDINGS):
            if self._now_ms() >= start_by_ms:
                if sending:
                    break
                raise StartByPassedError("the command was not submitted in time")
            on_sending(signed.digest)
            try:
                return self._run(self._ledger.execute(signed.data, signed.signature), start_by_ms)
            except TransactionRefusedError:
                if sending:
                    # An earlier sending of the same bytes may still be on its way: this refusal is not
                    # definite.
                    break
                raise
            except LedgerUnavailableError:
                if sending + 1 < MAX_SENDINGS:
                    # Full jitter: gateways that lost the same endpoint do not come back in step.
                    self._sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads load, guards nothing
                    pause_s *= 2
        raise SubmissionUnknownError(Submitted(signed.digest, reservation), signed)

    def _run(self, work: Coroutine[Any, Any, T], until_ms: int) -> T:
        return self._loop.ask(
            work,
            timeout_s=max(0, until_ms - self._now_ms()) / 1000,
            late="the Sui endpoint did not answer before the command's time was up",
        )


def _without_signature(error: BotoCoreError | ClientError) -> str:
    """For the operator: botocore's own text quotes the request."""
    if isinstance(error, ClientError):
        return str(refusal_of(error.response))
    return f"KMS cannot be reached ({type(error).__name__})"


def _check(outcome: ExecutionOutcome) -> None:
    if outcome.success:
        return
    abort = outcome.abort
    if abort is None:
        raise TransactionFailedError(outcome.failure_kind, outcome.failure or "the endpoint gave no reason")
    if abort_name(abort.module, abort.code) == "ERequestExists":
        # Only this gateway knows the id: an earlier transaction for the same command went through.
        return
    raise MoveAbortError(abort.module, abort.code, digest=outcome.digest)
