"""From an admitted command to its transaction on chain.

Order of things, which is the whole point: build, sign, put bytes and digest on record, only then submit.

- A broken connection says nothing about the effect: the *same* bytes are sent again (same digest, executed once).
- New bytes are made only after a definite refusal that fresh chain terms can cure, once, under a raised fence.
- Nothing is sent once `start_by` has passed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.chain import ChainView
from chalicelib.errors import SigningUnavailableError
from chalicelib.loop import EventLoopThread
from chalicelib.request_store import RequestStore, Reservation, SignedTransaction
from k3s_daas.contract import aborts
from k3s_daas.errors import (
    DaasError,
    LedgerUnavailableError,
    MoveAbortError,
    TransactionRefusedError,
)
from k3s_daas.sui.ledger import EpochInfo, ExecutionOutcome, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import transaction_digest

# Sendings of the same bytes, the first included, and the longest pause before the second; it doubles each time.
MAX_SENDINGS = 4
FIRST_PAUSE_S = 0.1

BuildTransaction = Callable[[EpochInfo], bytes]


class StartByPassedError(DaasError):
    """The command could not be submitted before `start_by`: it never ran and never will."""


class SubmissionUnknownError(DaasError):
    """The bytes were sent and nobody said what became of them; `digest` finds out."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"transaction {digest} was sent, and the chain did not say what became of it")
        self.digest = digest


class TransactionFailedError(DaasError):
    """The transaction was executed and failed outside the contract's own refusals (for example out of gas)."""

    def __init__(self, digest: str, failure: str) -> None:
        super().__init__(f"transaction {digest} failed on chain: {failure}")
        self.digest = digest


@dataclass(frozen=True)
class Submitted:
    """The contract accepted the command in the transaction `digest`."""

    digest: str
    reservation: Reservation


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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._loop = loop
        self._chain = chain
        self._store = store
        self._signer = signer
        self._now_ms = now_ms
        self._sleep = sleep

    def submit(
        self,
        build: BuildTransaction,
        reservation: Reservation,
        *,
        start_by_ms: int,
        on_digest: Callable[[str], None],
    ) -> Submitted:
        """Submit the transaction that `build` makes of the chain's present terms.

        `on_digest` hears each digest that is about to be sent. Raises StartByPassedError, SubmissionUnknownError,
        TransactionFailedError, MoveAbortError, TransactionRefusedError, LedgerUnavailableError (before anything was
        sent), and the store's and the signer's errors (before anything was sent).
        """
        terms = self._loop.run(self._chain.terms())
        signed, reservation = self._sign(build(terms), reservation)
        on_digest(signed.digest)
        try:
            outcome = self._send(signed, start_by_ms)
        except TransactionRefusedError:
            fresh = self._loop.run(self._chain.fresh_terms())
            if fresh == terms:
                # The chain would say the same again.
                raise
            signed, reservation = self._sign(build(fresh), reservation)
            on_digest(signed.digest)
            outcome = self._send(signed, start_by_ms)
        _check(outcome)
        return Submitted(signed.digest, reservation)

    def _sign(self, data: bytes, reservation: Reservation) -> tuple[SignedTransaction, Reservation]:
        """Sign and put on record; the returned reservation carries the raised fence."""
        try:
            signature = self._signer.sign(data)
        except (BotoCoreError, ClientError) as error:
            raise SigningUnavailableError(
                f"The signing service does not answer ({type(error).__name__}): nothing was submitted, try again."
            ) from error
        signed = SignedTransaction(data, signature, transaction_digest(data))
        return signed, self._store.record_signed(reservation, signed)

    def _send(self, signed: SignedTransaction, start_by_ms: int) -> ExecutionOutcome:
        """Send these bytes until somebody says what became of them."""
        pause_s = FIRST_PAUSE_S
        for sending in range(MAX_SENDINGS):
            if self._now_ms() >= start_by_ms:
                if sending:
                    break
                raise StartByPassedError("The command was not submitted in time: run it again.")
            try:
                return self._loop.run(self._ledger.execute(signed.data, signed.signature))
            except TransactionRefusedError:
                if sending:
                    # An earlier sending of the same bytes may be on its way: this refusal is not definite.
                    break
                raise
            except LedgerUnavailableError:
                if sending + 1 < MAX_SENDINGS:
                    # Full jitter: gateways that lost the same endpoint do not come back in step.
                    self._sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads load, guards nothing
                    pause_s *= 2
        raise SubmissionUnknownError(signed.digest)


def _check(outcome: ExecutionOutcome) -> None:
    if outcome.success:
        return
    if outcome.abort is None:
        raise TransactionFailedError(outcome.digest, outcome.failure or "no reason given")
    abort = outcome.abort
    if (abort.module, abort.code) == aborts.REQUEST_EXISTS:
        # Only this gateway can have made it: an earlier transaction with the same request id went through.
        return
    raise MoveAbortError(abort.module, abort.code, digest=outcome.digest)
