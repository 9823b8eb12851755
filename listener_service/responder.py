"""Puts answers on chain: the one way out for whoever has run, or refused, a command.

Sealing, packing and sending are modules of their own. The contract takes one answer per request and ignores
further ones, so answering twice costs gas and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from k3s_daas.contract.calls import Response, SharedRef
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import ExecutionOutcome, Ledger
from k3s_daas.sui.signers import TransactionSigner
from listener_service import answers
from listener_service.answer_transactions import AnswerTransactions
from listener_service.blobs import BlobClient
from listener_service.clock import Clock, SystemClock
from listener_service.counts import Counts, Tally
from listener_service.failures import failure_name
from listener_service.outbox import Outbox, answer_backoff
from listener_service.refusal import ReplyTo
from listener_service.reply_node import ReplyNode
from listener_service.sealed_responses import ResponseSealer

_log = logging.getLogger(__name__)


class Responder:
    """One executor's way back. `gas_budget` in MIST for one transaction, from the executor's address
    balance."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        roots: TrustRoots,
        signer: TransactionSigner,
        gas_budget: int,
        clock: Clock | None = None,
        blobs: BlobClient | None = None,
        reply_node: ReplyNode | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._counts = counts = counts or Tally()
        self._sealer = ResponseSealer(roots.cluster, blobs, reply_node)
        self._transactions = AnswerTransactions(ledger, roots, signer, gas_budget=gas_budget)
        self._outbox = Outbox(ledger, self._transactions, self._clock, counts=counts)

    @property
    def answers_per_transaction(self) -> Mapping[int, int]:
        """How many transactions were executed, by the number of answers in them."""
        return self._outbox.answers_per_transaction

    async def answer(self, reply_to: ReplyTo, envelope: ResponseEnvelope, *, is_read: bool) -> None:
        """Stores the answer, together with others that are ready: its body elsewhere if the chain does not
        take it, a Status in its place if nobody does. Returns when it is final; gives up when `answer_by`
        passes.
        """
        response = await self._sealer.fitting(reply_to, envelope, is_read=is_read)
        outcome = await self._store(reply_to, response)
        if outcome is not None and _is_too_large(outcome):
            # The cluster's own limit was lowered since the command was read.
            too_large = answers.reply_too_large(is_read=is_read)
            outcome = await self._store(reply_to, self._sealer.status(reply_to, too_large))
        self._counts.answered(None if outcome is None or not outcome.success else response.status_code)
        if outcome is None:
            _log.error("the request was not answered before answer_by", extra={"status": envelope.status})
        else:
            _log_outcome(outcome)

    async def _store(self, reply_to: ReplyTo, response: Response) -> ExecutionOutcome | None:
        """What became of the answer's transaction; None if `answer_by` passed first."""
        seal = await self._seal_ref(reply_to)
        return None if seal is None else await self._outbox.deliver(response, seal, reply_to.answer_by_ms)

    async def _seal_ref(self, reply_to: ReplyTo) -> SharedRef | None:
        """Looked up before the answer joins others, so that a seal nobody finds holds up no one else."""
        backoff = answer_backoff()
        while self._clock.now_ms() <= reply_to.answer_by_ms:
            try:
                return await self._transactions.ref(reply_to.seal)
            except LedgerUnavailableError as error:
                _log.warning("answer not submitted, trying again", extra={"error": str(error)})
            await self._clock.sleep(backoff.next_delay_s())
        return None


def _is_too_large(outcome: ExecutionOutcome) -> bool:
    return failure_name(outcome) == "EPayloadTooLarge"


def _log_outcome(outcome: ExecutionOutcome) -> None:
    if outcome.success:
        _log.debug("answer stored", extra={"transaction": outcome.digest})
        return
    _log.error(
        "the answer failed on chain and is given up",
        extra={
            "transaction": outcome.digest,
            "failure": failure_name(outcome),
            "error": outcome.failure,
        },
    )
