"""The ledger: a state machine that takes signed transactions and keeps what became of them.

A transaction passes four points: *admitted* (checked, its objects locked), *executed* (the next transaction
on the same objects may run), *final* (after the finality delay: readers see it, its sender gets the effects)
and *checkpointed* (at the next interval: its events have positions). A digest is executed once, for ever.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..execution import MoveVm, PackageInterface
from .admission import Admission, Claims
from .checkpoints import CheckpointLog, ExecutedTransaction
from .clock import LedgerClock, SystemClock
from .coins import coin_balance
from .counting import Counters, count
from .datatypes import Datatypes
from .digests import base58, hex_address
from .effects import effects_digest
from .errors import ExecutionFailedError, congested, precondition
from .executor import Executor, Outcome
from .gas import MAX_BUDGET
from .genesis import allocation, initial_objects, rewritten
from .objects import History, ObjectStore, OwnerKind, StoredObject, WriteSet
from .scheduling import Schedule, Ticket
from .signatures import authorise
from .transactions import GasData, TransactionData, decode_transaction
from .type_tags import coin_type
from .workspace import Environment

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """How the chain behaves."""

    finality_ms: int = 400
    """Time from a transaction's arrival until it is final; the VM's time counts."""
    checkpoint_ms: int = 250
    """Interval of checkpoints; 0 closes one for every transaction."""
    reference_gas_price: int = 1_000
    """MIST per gas unit."""
    genesis_seed: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Makes the chain id; the same seed, the same chain id (with the same clock)."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """How an epoch began, and its reference gas price in MIST per unit."""

    first_checkpoint: int
    start_ms: int
    reference_gas_price: int


class Ledger:
    """One chain. Use from one event loop; ``start`` before, ``close`` after."""

    def __init__(
        self,
        vm: MoveVm,
        *,
        settings: LedgerSettings | None = None,
        clock: LedgerClock | None = None,
        packages: Sequence[PackageInterface] = (),
    ) -> None:
        self.settings = settings or LedgerSettings()
        self.clock = clock or SystemClock()
        self.datatypes = Datatypes()
        self.final = ObjectStore()
        self.history = History()
        self.transactions: dict[bytes, ExecutedTransaction] = {}
        self.counters = Counters()
        self.epochs = [Epoch(0, self.clock.now_ms(), self.settings.reference_gas_price)]
        self.checkpoints = CheckpointLog(self.settings.genesis_seed, self.epochs[0].start_ms)
        self._executed = ObjectStore()
        self._executor = Executor(self._executed, vm, self.datatypes)
        self._admission = Admission(self._executed, self.chain_id, self.available_balance)
        self._schedule = Schedule()
        self._locks: dict[bytes, bytes] = {}
        self._reserved: dict[tuple[bytes, str], int] = {}
        self._congested: dict[bytes, int] = {}
        self._in_flight: dict[bytes, asyncio.Task[ExecutedTransaction]] = {}
        self._pending: list[ExecutedTransaction] = []
        self._final_count = 0
        self._ticker: asyncio.Task[None] | None = None
        for package in packages:
            self.datatypes.register(package)
        self._write_beside(initial_objects(self.chain_id, packages))

    @property
    def chain_id(self) -> bytes:
        return self.checkpoints.genesis.digest

    @property
    def epoch(self) -> int:
        """The present one; its terms are the last of ``epochs``."""
        return len(self.epochs) - 1

    @property
    def reference_gas_price(self) -> int:
        return self.epochs[-1].reference_gas_price

    async def start(self) -> None:
        if self.settings.checkpoint_ms > 0:
            self._ticker = asyncio.create_task(self._close_checkpoints())

    async def close(self) -> None:
        tasks = [*self._in_flight.values(), *([self._ticker] if self._ticker else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Transactions

    async def execute(self, encoded: bytes, signatures: Sequence[bytes]) -> ExecutedTransaction:
        """Execute a signed transaction and wait until it is final.

        A digest that was executed before, or is being executed, is answered with the one result.

        Raises:
            TransactionRefusedError: it was not executed.
        """
        arrival = asyncio.get_running_loop().time()
        try:
            data = decode_transaction(encoded)
            authorise(data, signatures)
            known = self.transactions.get(data.digest)
            if known is not None:
                self.counters.resubmitted += 1
                return known
            task = self._in_flight.get(data.digest)
            if task is None:
                task = self._admit(data, tuple(signatures), arrival)
            else:
                self.counters.resubmitted += 1
        except Exception:
            self.counters.refused += 1
            raise
        # A client that hangs up does not stop its transaction.
        return await asyncio.shield(task)

    async def simulate(self, data: TransactionData, *, checks: bool = True) -> Outcome:
        """Execute on the present state without keeping anything; without ``checks``, gas is not looked at.

        Raises:
            TransactionRefusedError: ``checks`` are on and it would not be admitted.
        """
        self.counters.simulated += 1
        if checks:
            self._admission.admit(
                data,
                epoch=self.epoch,
                reference_gas_price=self.reference_gas_price,
                now_ms=self.clock.now_ms(),
            )
        else:
            price = max(data.gas.price, self.reference_gas_price)
            data = replace(data, gas=GasData((), data.sender, price, MAX_BUDGET))
        return await self._executor.execute(data, self._environment())

    def _admit(
        self, data: TransactionData, signatures: tuple[bytes, ...], arrival: float
    ) -> asyncio.Task[ExecutedTransaction]:
        """Check, lock and queue in one step, without giving up the event loop in between."""
        claims = self._admission.admit(
            data, epoch=self.epoch, reference_gas_price=self.reference_gas_price, now_ms=self.clock.now_ms()
        )
        for ref in claims.owned:
            holder = self._locks.get(ref.id)
            if holder is not None:
                raise precondition(
                    f"Object {hex_address(ref.id)} version {ref.version} is locked by transaction "
                    f"{base58(holder)}."
                )
        for ref in claims.owned:
            self._locks[ref.id] = data.digest
        for key, amount in claims.reservations.items():
            self._reserved[key] = self._reserved.get(key, 0) + amount
        ticket = self._schedule.enter(claims.exclusive, claims.shared)
        task = asyncio.create_task(self._run(data, signatures, claims, ticket, arrival))
        task.add_done_callback(_note_outcome)
        self._in_flight[data.digest] = task
        return task

    async def _run(
        self,
        data: TransactionData,
        signatures: tuple[bytes, ...],
        claims: Claims,
        ticket: Ticket,
        arrival: float,
    ) -> ExecutedTransaction:
        loop = asyncio.get_running_loop()
        released = False
        try:
            for predecessor in ticket.predecessors:
                await asyncio.shield(predecessor.executed)
            started = loop.time()
            outcome = await self._executor.execute(data, self._environment(), self._cancelled(claims))
            self.counters.vm_ms += (loop.time() - started) * 1000
            transaction = self._record(data, signatures, outcome)
            self._executed.apply(outcome.writes)
            self._release(claims)
            released = True
            _settle(ticket.executed)
            await asyncio.sleep(max(0.0, arrival + self.settings.finality_ms / 1000 - loop.time()))
            for predecessor in ticket.predecessors:
                await asyncio.shield(predecessor.final)
            self._finalise(transaction, outcome.writes)
            return transaction
        except Exception:
            logger.exception("executing transaction %s failed inside the ledger", base58(data.digest))
            raise
        finally:
            if not released:
                self._release(claims)
            _settle(ticket.executed)
            _settle(ticket.final)
            self._schedule.leave(ticket)
            self._in_flight.pop(data.digest, None)

    def congest(self, object_id: bytes, times: int) -> None:
        """Cancel the next so many transactions that would change this shared object, as consensus does when
        too many want it. They are final and charged; other than on Sui, their inputs get a new version."""
        self._congested[object_id] = times

    def _cancelled(self, claims: Claims) -> ExecutionFailedError | None:
        hit = tuple(object_id for object_id in claims.exclusive if self._congested.get(object_id))
        for object_id in hit:
            self._congested[object_id] -= 1
        return congested(hit) if hit else None

    def _release(self, claims: Claims) -> None:
        for ref in claims.owned:
            self._locks.pop(ref.id, None)
        for key, amount in claims.reservations.items():
            self._reserved[key] -= amount
            if not self._reserved[key]:
                del self._reserved[key]

    def _record(
        self, data: TransactionData, signatures: tuple[bytes, ...], outcome: Outcome
    ) -> ExecutedTransaction:
        return ExecutedTransaction(
            data,
            signatures,
            outcome.effects,
            effects_digest(outcome.effects),
            outcome.events,
            self.balance_changes(outcome.writes),
        )

    def _finalise(self, transaction: ExecutedTransaction, writes: WriteSet) -> None:
        numbers = count(self.final, transaction.data, transaction.effects, transaction.events, writes)
        transaction.numbers = numbers
        self.counters.add(numbers)
        self.final.apply(writes)
        transaction.sequence = self._final_count
        self._final_count += 1
        self.history.record(self._final_count, writes.objects)
        self.transactions[transaction.digest] = transaction
        self.counters.executed += 1
        self.counters.failed += not transaction.effects.success
        self._pending.append(transaction)
        if self.settings.checkpoint_ms == 0:
            self.close_checkpoint()

    def balance_changes(self, writes: WriteSet) -> tuple[tuple[bytes, str, int], ...]:
        """(address, coin type, change) over coins and address balances, before ``writes`` are applied."""
        changes: dict[tuple[bytes, str], int] = dict(writes.balances)
        for object_id, after in writes.objects.items():
            for stored, sign in ((self._executed.get(object_id), -1), (after, 1)):
                if stored is None or stored.owner.kind is not OwnerKind.ADDRESS:
                    continue
                currency = coin_type(stored.type_tag)
                if currency is not None:
                    key = (stored.owner.address, currency)
                    changes[key] = changes.get(key, 0) + sign * coin_balance(stored.contents)
        return tuple((*key, change) for key, change in sorted(changes.items()) if change)

    def available_balance(self, address: bytes, currency: str) -> int:
        """An address balance less what transactions in flight have set aside."""
        return self._executed.balance(address, currency) - self._reserved.get((address, currency), 0)

    # Time

    def _environment(self) -> Environment:
        start_ms = self.epochs[-1].start_ms
        return Environment(self.epoch, start_ms, self.clock.now_ms(), self.reference_gas_price)

    def close_checkpoint(self) -> None:
        """Close a checkpoint over everything that became final since the last one."""
        pending, self._pending = self._pending, []
        self.checkpoints.append(pending, self.epoch, self.clock.now_ms())

    async def _close_checkpoints(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self.settings.checkpoint_ms / 1000, loop.time())
            await asyncio.sleep(due - loop.time())
            self.close_checkpoint()

    def advance_epoch(self, reference_gas_price: int | None = None) -> int:
        """Begin the next epoch, with another gas price if one is given."""
        self.close_checkpoint()
        price = self.reference_gas_price if reference_gas_price is None else reference_gas_price
        self.epochs.append(Epoch(self.checkpoints.tip.sequence + 1, self.clock.now_ms(), price))
        self.checkpoints.start_epoch()
        self.close_checkpoint()
        return self.epoch

    # Beside transactions

    def _write_beside(self, writes: WriteSet) -> None:
        self._executed.apply(writes)
        self.final.apply(writes)
        self.history.record(self._final_count, writes.objects)

    def allocate(self, address: bytes, coins: Sequence[int], balance: int = 0) -> list[StoredObject]:
        """Create SUI (MIST) out of nothing, as genesis does: before the first transaction only."""
        assert not self.transactions, "coins are allocated at genesis"
        writes = allocation(self.chain_id, address, coins, balance)
        self._write_beside(writes)
        return [stored for stored in writes.objects.values() if stored is not None]

    def rewrite_object(self, object_id: bytes, contents: bytes) -> StoredObject:
        """Give an object other contents beside every transaction, at its present version.

        For tests that need a state to which no transaction leads, such as what another version of a package
        left. Nothing checks that the bytes are a value of the object's type.

        Raises:
            KeyError: there is no such object.
        """
        found = self.final.get(object_id)
        if found is None:
            raise KeyError(f"there is no object {hex_address(object_id)}")
        assert not self._in_flight, "no transaction may be using the object"
        changed = rewritten(found, contents)
        self._write_beside(WriteSet({object_id: changed}))
        return changed


def _note_outcome(task: asyncio.Task[ExecutedTransaction]) -> None:
    """Look at a failure, which :meth:`Ledger._run` has logged, even if its sender is gone."""
    if not task.cancelled():
        task.exception()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
