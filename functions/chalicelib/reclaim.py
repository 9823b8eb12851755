"""Takes finished requests off the chain, and their storage deposit back; for a schedule.

A request stays on chain for as long as the cluster's policy says (docs/contract.md, "How long a request is
kept"); then its payers may delete it. The gateway's table knows each command by the minute in which it came,
and by when it is due at the latest. So a minute is looked through when it is 75 minutes old, and again each
time that it is half as old again: a request goes at the latest half as long after its arrival as it had to
stay. Nothing depends on any one run: each age remembers how far it came, and what one age leaves the next one
finds, for 34 days. What the table does not have is heard from the chain's events in the end (`old_commands`).

What is due is the chain's word. What it does not have (never accepted, or reclaimed by somebody else)
is settled, what is due is deleted in batches, the rest waits. A batch is simulated first, which is free;
one that would fail is halved until what fails stands alone, and that is left to the next age.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from chalicelib.chain import ChainView
from chalicelib.journey import Log
from chalicelib.leftovers import Leftover, Leftovers, Progress
from chalicelib.loop import EventLoopThread
from chalicelib.old_commands import old_commands
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.calls import reclaim
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import EpochInfo, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder

T = TypeVar("T")

MINUTE_MS = 60_000
# Due at the earliest by default: answered by 14 minutes, kept for an hour. At the latest, by the contract's
# bounds: 2 days and 30.
AGES_MINUTES = tuple(round(75 * 1.5**times) for times in range(17))
# How far back an age begins that never looked at anything: a little more than the schedule's period.
FIRST_MINUTES = 6
# What one run looks through, takes up and sends at most; the next run goes on.
MOST_MINUTES, MOST_COMMANDS, BATCH = 600, 1_000, 128
# The contract's bound for one call (docs/contract.md, ETooManyRequests).
MOST_IN_CALL = 64
LOOK_S, EXECUTE_S = 10.0, 20.0
# Lambda ends a function after 28 s; what is under way by then still ends.
RUN_S = 12.0


@dataclass
class Reclaimed:
    """What one run did with the commands that it found."""

    found: int = 0
    reclaimed: int = 0
    gone: int = 0
    waiting: int = 0
    failed: int = 0


class Reclaimer:
    """One run looks through the minutes that have come of an age since the last one."""

    def __init__(
        self,
        *,
        leftovers: Leftovers,
        ledger: Ledger,
        reader: ContractReader,
        chain: ChainView,
        loop: EventLoopThread,
        signer: TransactionSigner,
        roots: TrustRoots,
        gas_budget: int,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leftovers = leftovers
        self._ledger = ledger
        self._reader = reader
        self._chain = chain
        self._loop = loop
        self._signer = signer
        self._roots = roots
        self._gas_budget = gas_budget
        self._log = log
        self._monotonic = monotonic

    def reclaim(self) -> Reclaimed:
        """Delete what is due; writes one log line if there was anything.

        Raises LedgerError, RequestStoreUnavailableError and the signer's errors: the next run looks through
        the same minutes again.
        """
        end_s = self._monotonic() + RUN_S
        # The contract's clock is never behind this one, so what is due by it is due when the call runs.
        info = self._run(self._ledger.service_info())
        chain_ms = info.timestamp_ms
        progress = self._leftovers.progress()
        known, minutes = self._collect(progress.minutes, chain_ms)
        heard = self._run(
            old_commands(
                self._ledger,
                self._reader,
                self._roots,
                progress.checkpoint,
                chain_ms=chain_ms,
                lowest=info.lowest_available_checkpoint,
            )
        )
        # By seal, so that those of one seal go together.
        found = sorted({*known, *heard.commands})
        done = Reclaimed(found=len(found))
        for start in range(0, len(found), BATCH):
            if self._monotonic() > end_s:
                raise LedgerUnavailableError("reclaiming takes too long: the next run goes on")
            self._settle(found[start : start + BATCH], chain_ms, done)
        self._leftovers.save_progress(Progress(minutes, heard.checkpoint))
        if found:
            self._log(json.dumps({"event": "reclaim", **asdict(done)}))
        return done

    def _collect(self, looked: Mapping[int, int], chain_ms: int) -> tuple[set[Leftover], dict[int, int]]:
        """What may be due, and how far each age is looked through with it."""
        found: set[Leftover] = set()
        reached: dict[int, int] = {}
        left = MOST_MINUTES
        for age in AGES_MINUTES:
            # A minute has the age when its last command has.
            end = chain_ms // MINUTE_MS - age
            minute = looked.get(age, end - FIRST_MINUTES)
            while minute < end and left > 0 and len(found) < MOST_COMMANDS:
                found.update(self._leftovers.due(minute, chain_ms))
                minute, left = minute + 1, left - 1
            reached[age] = minute
        return found, reached

    def _settle(self, some: Sequence[Leftover], chain_ms: int, done: Reclaimed) -> None:
        requests = self._run(self._reader.requests(some))
        due = []
        for leftover, request in zip(some, requests, strict=True):
            if request is None:
                self._leftovers.settle(leftover.request_id, chain_ms)
                done.gone += 1
            elif request.due_at_ms <= chain_ms:
                due.append(leftover)
            else:
                done.waiting += 1
        if due:
            cluster, *seals = self._run(
                self._reader.shared([self._roots.cluster, *sorted({leftover.seal for leftover in due})])
            )
            self._delete(due, cluster, {seal.id: seal for seal in seals}, chain_ms, done)

    def _delete(
        self,
        due: Sequence[Leftover],
        cluster: SharedRef,
        seals: Mapping[bytes, SharedRef],
        chain_ms: int,
        done: Reclaimed,
    ) -> None:
        """One transaction for all of them, or for as many as go together."""

        def build(terms: EpochInfo) -> bytes:
            return self._transaction(due, cluster, seals, terms)

        transaction = self._simulated(build)
        if transaction is None and len(due) > 1:
            middle = len(due) // 2
            for half in (due[:middle], due[middle:]):
                self._delete(half, cluster, seals, chain_ms, done)
            return
        if transaction is not None and self._executed(transaction):
            for leftover in due:
                self._leftovers.settle(leftover.request_id, chain_ms)
            done.reclaimed += len(due)
        else:
            done.failed += len(due)

    def _simulated(self, build: Callable[[EpochInfo], bytes]) -> bytes | None:
        """A transaction that would succeed now, or None."""
        terms = self._run(self._chain.terms())
        try:
            transaction = build(terms)
            outcome = self._run(self._ledger.simulate(transaction))
        except TransactionRefusedError:
            fresh = self._run(self._chain.fresh_terms())
            if fresh == terms:
                raise
            transaction = build(fresh)
            outcome = self._run(self._ledger.simulate(transaction))
        if not outcome.success:
            self._log(json.dumps({"event": "reclaim-refused", "reason": outcome.failure}))
        return transaction if outcome.success else None

    def _executed(self, transaction: bytes) -> bool:
        outcome = self._run(
            self._ledger.execute(transaction, self._signer.sign(transaction)), timeout_s=EXECUTE_S
        )
        if not outcome.success:
            self._log(json.dumps({"event": "reclaim-failed", "reason": outcome.failure}))
        return outcome.success

    def _transaction(
        self,
        due: Sequence[Leftover],
        cluster: SharedRef,
        seals: Mapping[bytes, SharedRef],
        terms: EpochInfo,
    ) -> bytes:
        builder = PtbBuilder()
        for seal, group in groupby(due, key=attrgetter("seal")):
            request_ids = [leftover.request_id for leftover in group]
            for start in range(0, len(request_ids), MOST_IN_CALL):
                some = request_ids[start : start + MOST_IN_CALL]
                reclaim(builder, self._roots.package_latest, cluster, seals[seal], some)
        gas = AddressBalanceGas(
            budget=self._gas_budget,
            price=terms.reference_gas_price,
            epoch=terms.epoch,
            chain_id=self._roots.chain_id,
            nonce=int.from_bytes(os.urandom(4), "big"),
        )
        return builder.build(self._signer.address, gas=gas)

    def _run(self, work: Coroutine[Any, Any, T], *, timeout_s: float = LOOK_S) -> T:
        return self._loop.ask(work, timeout_s=timeout_s, late="the Sui endpoint did not answer in time")
