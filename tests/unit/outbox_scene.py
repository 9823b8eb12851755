"""An outbox before a chain that executes, holds back or refuses what a test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from k3s_daas.aborts import CODES
from k3s_daas.contract.calls import Response
from k3s_daas.payload import split
from k3s_daas.sui.ledger import Abort, ExecutionOutcome
from k3s_daas.sui.transactions import (
    decode_transaction,
    transaction_digest,
)
from listener_service.answer_transactions import AnswerTransactions
from listener_service.counts import Tally
from listener_service.outbox import Outbox
from tests.unit.contract_world import SEAL_REF
from tests.unit.listener_world import NOW_MS, FrozenClock, ScriptedLedger, World

ANSWER_BY_MS = NOW_MS + 600_000
LONG_AFTER_MS = NOW_MS + 24 * 3_600_000
BAD = 7
CONGESTION = "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION"
Effect = Callable[[bytes], ExecutionOutcome]


class PassingClock(FrozenClock):
    """Sleeping takes no time of ours, and as much of the clock's as it should."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ms += round(seconds * 1000)
        await asyncio.sleep(0)


@dataclass
class SlowLedger(ScriptedLedger):
    """Executes when `gate` is open, and remembers what it was sent."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[bytes] = field(default_factory=list)

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        self.sent.append(transaction)
        await self.gate.wait()
        return await ScriptedLedger.execute(self, transaction, signature)


class Outcomes(Tally):
    """Counts what became of transactions as well."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: Counter[str] = Counter()

    def transaction(self, outcome: str) -> None:
        self.transactions[outcome] += 1


class Scene:
    """An outbox before a scripted ledger; `ids` are the requests that answers have arrived for."""

    def __init__(self) -> None:
        self.ledger = SlowLedger()
        self.ledger.gate.set()
        self.world = World(ledger=self.ledger)
        self.clock = PassingClock()
        self.transactions = AnswerTransactions(
            self.ledger, self.world.roots, self.world.executor, gas_budget=50_000_000
        )
        self.counts = Outcomes()
        self.outbox = Outbox(self.ledger, self.transactions, self.clock, counts=self.counts)

    def deliver(
        self, *numbers: int, answer_by_ms: int = ANSWER_BY_MS
    ) -> list[asyncio.Task[ExecutionOutcome | None]]:
        return [
            asyncio.create_task(self.outbox.deliver(response(number), SEAL_REF, answer_by_ms))
            for number in numbers
        ]

    @property
    def ids(self) -> list[int]:
        return [int.from_bytes(request_id, "big") for request_id, _, _ in self.world.stored()]


def response(number: int, size: int = 100) -> Response:
    return Response(number.to_bytes(16, "big"), 200, split(b"s" * size))


def numbers_in(transaction: bytes) -> list[int]:
    decoded = decode_transaction(transaction)
    return [int.from_bytes(decoded.resolve_pure(call.arguments[2])[1:], "big") for call in decoded.move_calls]


def aborting(number: int, code: int = 410) -> Effect:
    """The contract aborts what has this answer in it."""

    def effect(transaction: bytes) -> ExecutionOutcome:
        digest = transaction_digest(transaction)
        if number in numbers_in(transaction):
            abort = Abort("k8s_gateway", "store_k8s_response", code, 1)
            return ExecutionOutcome(digest, success=False, abort=abort, failure="aborted")
        return ExecutionOutcome(digest, success=True)

    return effect


def failed(digest: str, name: str) -> ExecutionOutcome:
    """Executed, and failed for the contract's or Sui's reason of this name."""
    if name not in CODES:
        return ExecutionOutcome(digest, success=False, failure=name, failure_kind=name)
    module, code = CODES[name]
    abort = Abort(module, "f", code, 0)
    return ExecutionOutcome(digest, success=False, abort=abort, failure=name, failure_kind="MOVE_ABORT")


def failing(name: str, until: Callable[[], bool] = lambda: False) -> Effect:
    """What everything fails for. As Sui does: bytes that were executed are not executed again."""
    outcomes: dict[str, ExecutionOutcome] = {}

    def effect(transaction: bytes) -> ExecutionOutcome:
        digest = transaction_digest(transaction)
        executed = ExecutionOutcome(digest, success=True) if until() else failed(digest, name)
        return outcomes.setdefault(digest, executed)

    return effect


def good(outcomes: Sequence[ExecutionOutcome | None]) -> bool:
    return all(outcome is not None and outcome.success for outcome in outcomes)
