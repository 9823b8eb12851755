"""Sends answers: a few transactions are in flight at most, and what becomes ready meanwhile is the next one.

So nobody waits for company: an answer alone leaves at once, and batches grow with the load by themselves.

1. The same signed bytes are sent again as long as nothing is known about their effect; new bytes are made
   only after a definite refusal or a failure on chain, or without an answer that was given up. A refusal that
   follows a sending of unknown effect may be wrong about that one: then the contract ignores the second
   answer, which costs gas and changes nothing.
2. A batch that fails is halved until the answer that fails is alone. What failed on chain then is final,
   unless it may pass (`listener_service.failures`); a refusal is tried again. An answer that failed is not
   put together with others again.
3. While the endpoint or the key service is away, or no transaction of this executor can succeed, what is in
   flight keeps its place, and the rest gathers for large batches.
4. What failed on chain is tried again with other bytes, after pauses that grow, and not without end: it costs
   gas.
5. Each answer is given up when its own `answer_by` passes, or when nobody waits for it any more: then bytes
   that have it in them are not sent again. Somebody else may say something else about that request by now.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass, field

from k3s_daas.contract.calls import Response, SharedRef
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.ledger import ExecutionOutcome, Ledger
from listener_service.answer_transactions import AnswerTransactions, SignedAnswers
from listener_service.backoff import Backoff
from listener_service.batches import Outgoing, halves, take_batch
from listener_service.clock import Clock
from listener_service.counts import Counts, Tally
from listener_service.failures import PassingFailure, failure_name, passing_failure
from listener_service.keys.errors import SignatureMissingError

_log = logging.getLogger(__name__)

# Enough that nobody waits for a whole finality; few enough that there are batches under load.
IN_FLIGHT = 4


def answer_backoff() -> Backoff:
    """Between two sendings of an answer."""
    return Backoff(base_s=0.1, cap_s=5.0)


def _failure_backoff() -> Backoff:
    """Between two executions for nothing."""
    return Backoff(base_s=0.1, cap_s=60.0)


@dataclass(slots=True, eq=False)
class _Batch:
    """Answers that go together, and the bytes that may be on the way already.

    `failures`: how often they were executed for nothing. The next bytes must differ from those.
    """

    answers: list[Outgoing]
    signed: SignedAnswers | None = None
    failures: int = 0
    backoff: Backoff = field(default_factory=answer_backoff)
    failure_backoff: Backoff = field(default_factory=_failure_backoff)

    @property
    def about(self) -> dict[str, object]:
        """For logs."""
        return {"requests": [answer.response.request_id.hex() for answer in self.answers]}


class Outbox:
    """The way of one executor's answers to one ledger, used from one event loop.

    `answers_per_transaction` counts the executed transactions by the number of answers in them.
    """

    def __init__(
        self,
        ledger: Ledger,
        transactions: AnswerTransactions,
        clock: Clock,
        *,
        in_flight: int = IN_FLIGHT,
        counts: Counts | None = None,
    ) -> None:
        self._ledger = ledger
        self._transactions = transactions
        self._clock = clock
        self._in_flight = in_flight
        self._counts = counts or Tally()
        self._waiting: list[Outgoing] = []
        self._parts: deque[_Batch] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._pausing: set[asyncio.Task[None]] = set()
        self.answers_per_transaction: Counter[int] = Counter()

    async def deliver(
        self, response: Response, seal: SharedRef, answer_by_ms: int
    ) -> ExecutionOutcome | None:
        """What the transaction with this answer did, once it is final; None if `answer_by` passed first."""
        loop = asyncio.get_running_loop()
        outgoing = Outgoing(response, seal, answer_by_ms, loop.create_future())
        self._waiting.append(outgoing)
        # Not at once: what becomes ready in the same turn of the loop goes along.
        loop.call_soon(self._fill)
        return await outgoing.outcome

    def _fill(self) -> None:
        """Starts transactions while there are answers and places."""
        while len(self._sending) < self._in_flight:
            batch = self._next()
            if batch is None:
                return
            self._start(self._send(batch), self._sending).add_done_callback(self._sent)

    def _next(self) -> _Batch | None:
        if self._parts:
            return self._parts.popleft()
        answers = take_batch(self._waiting)
        return _Batch(answers) if answers else None

    def _start(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        # In an empty context: what is logged belongs to several requests.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _sent(self, task: asyncio.Task[None]) -> None:
        # A cancelled task means that the loop ends: nothing new begins then.
        if not task.cancelled():
            self._fill()

    async def _send(self, batch: _Batch) -> None:
        """Sends a batch until something is known about it; hands it on in parts if it fails."""
        try:
            await self._send_until_known(batch)
        except Exception as error:  # noqa: BLE001  whoever waits must hear of a defect, and the others go on
            self._fail(batch, error)

    async def _send_until_known(self, batch: _Batch) -> None:
        while self._drop_settled(batch):
            try:
                if batch.signed is None:
                    batch.signed = await self._transactions.sign(batch.answers, batch.failures)
                    # Signing takes a while (a key store may be asked): somebody may have given up meanwhile.
                    continue
                outcome = await self._ledger.execute(batch.signed.transaction, batch.signed.signature)
            except SignatureMissingError as error:
                await self._pause(batch, "unsigned", error)
            except LedgerUnavailableError as error:
                await self._pause(batch, "unavailable", error)
            except TransactionRefusedError as error:
                self._counts.transaction("refused")
                _log.warning("answers refused", extra=batch.about | {"kind": error.kind, "error": str(error)})
                if not await self._can_be_renewed(batch):
                    self._hand_on(batch, batch.backoff)
                    return
            else:
                if not await self._stays(batch, batch.signed.count, outcome):
                    return

    async def _pause(self, batch: _Batch, counted: str, error: LedgerUnavailableError) -> None:
        self._counts.transaction(counted)
        _log.warning("answers not submitted, trying again", extra=batch.about | {"error": str(error)})
        await self._clock.sleep(batch.backoff.next_delay_s())

    def _drop_settled(self, batch: _Batch) -> bool:
        """Leaves out what is too late or not waited for; whether anything is left."""
        now_ms = self._clock.now_ms()
        for answer in batch.answers:
            if not answer.outcome.done() and now_ms > answer.answer_by_ms:
                answer.outcome.set_result(None)
        if any(answer.outcome.cancelled() for answer in batch.answers):
            batch.signed = None
        batch.answers = [answer for answer in batch.answers if not answer.outcome.done()]
        return bool(batch.answers)

    async def _can_be_renewed(self, batch: _Batch) -> bool:
        """After a refusal: whether new bytes may fare better than the old ones."""
        assert batch.signed is not None, "only what is signed can be refused"
        terms, batch.signed = batch.signed.terms, None
        try:
            return await self._transactions.have_changed(terms)
        except LedgerUnavailableError as error:
            _log.warning("the chain's terms cannot be read, trying again", extra={"error": str(error)})
            await self._clock.sleep(batch.backoff.next_delay_s())
            return True

    async def _stays(self, batch: _Batch, count: int, outcome: ExecutionOutcome) -> bool:
        """After an execution with `count` answers: whether the batch keeps its place for another one."""
        self.answers_per_transaction[count] += 1
        passing = passing_failure(outcome)
        self._counts.transaction(_counted(outcome, passing))
        if outcome.success:
            _settle(batch, outcome)
            return False
        batch.signed = None
        batch.failures += 1
        _log.warning("answers failed on chain", extra=batch.about | _why(outcome, passing))
        if _is_final(batch, count, passing):
            _settle(batch, outcome)
            return False
        if passing is not None and passing.concerns_all:
            await self._clock.sleep(batch.failure_backoff.next_delay_s())
            return True
        self._hand_on(batch, batch.failure_backoff)
        return False

    def _fail(self, batch: _Batch, error: Exception) -> None:
        """A defect of ours: told to whom it concerns alone."""
        if len(batch.answers) > 1:
            _log.error("answers failed inside, sending them in halves", exc_info=error, extra=batch.about)
            self._hand_on(batch, batch.backoff)
        elif not batch.answers[0].outcome.done():
            batch.answers[0].outcome.set_exception(error)

    def _hand_on(self, batch: _Batch, backoff: Backoff) -> None:
        """Halves are sent as soon as there is a place; one that is alone already, after a pause."""
        if len(batch.answers) == 1:
            # Nothing definite is known of bytes that had another answer in them: they are made anew.
            batch.signed = None
            self._start(self._put_back(batch, backoff.next_delay_s()), self._pausing)
            return
        self._parts.extend(_Batch(half) for half in halves(batch.answers))

    async def _put_back(self, batch: _Batch, pause_s: float) -> None:
        await self._clock.sleep(pause_s)
        self._parts.append(batch)
        self._fill()


def _settle(batch: _Batch, outcome: ExecutionOutcome) -> None:
    for answer in batch.answers:
        if not answer.outcome.done():
            answer.outcome.set_result(outcome)


def _is_final(batch: _Batch, count: int, passing: PassingFailure | None) -> bool:
    """After a failure of `count` answers together."""
    return count == 1 if passing is None else batch.failures >= passing.at_most


def _counted(outcome: ExecutionOutcome, passing: PassingFailure | None) -> str:
    if outcome.success:
        return "executed"
    return "aborted" if passing is None else "failed"


def _why(outcome: ExecutionOutcome, passing: PassingFailure | None) -> dict[str, object]:
    """For logs."""
    why: dict[str, object] = {
        "transaction": outcome.digest,
        "failure": failure_name(outcome),
        "error": outcome.failure,
    }
    return why if passing is None else why | {"do": passing.do}
