"""Several Sui endpoints behind one Ledger port: what is decided on is what k of n of them say.

Guarantees beside the port's own (k is the quorum, more than half of the n members; fewer than k of them lie):

1. Objects, transactions, their effects, the epoch and the chain id are returned only as k members state them,
   byte for byte: id, version, type, owner and contents of an object; bytes, signatures and success of a
   transaction. So at least one honest member stated them during this very call.
2. Of what k members confirm the newest is returned. If one member claims something newer, the others are
   asked again for half a second; a member whose claim nobody confirmed is not waited for again for 30 s.
3. A minority that lies, lags, forges or is away is counted and reported, and never believed. It costs time
   only until it is known. Without a quorum: `LedgerUnavailableError`, which names the endpoints.
4. `execute` sends the bytes to one member, and the same bytes to the next one if that one does not answer,
   refuses, or is not confirmed. It returns effects that k members state, its own sending's included, and
   raises `TransactionRefusedError` only if k members refuse and none may have taken the transaction.
5. Heights and times of `service_info` and a balance are numbers that k members reach, at least.
6. Events, owned objects, packages and simulations come from one member at a time, the next one after a
   failure: nothing is decided by them. A cursor goes back to the member that made it, and to no other.
7. A frozen member holds a bounded number of calls, each for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ballot import Statement
from k3s_daas.sui.digests import transaction_digest
from k3s_daas.sui.ledger import (
    ChainObject,
    ChainTransaction,
    EpochInfo,
    EventFilter,
    EventFrame,
    EventPage,
    ExecutionOutcome,
    Ledger,
    ServiceInfo,
    SignedTransaction,
)
from k3s_daas.sui.quorum_members import Member, ReportDissent, by_preference, log_dissent
from k3s_daas.sui.reading import Patience, Question, Reading, Statements

T = TypeVar("T")

_UNKNOWN = Statement(0, None, None)
# Not known yet is no word about effects.
_NOT_EXECUTED = Statement(0, None, None, countable=False)
# After the quorum has answered, for the others.
_GRACE_S = 0.25


@dataclass(slots=True)
class _Sendings:
    """What became of the same bytes at several members."""

    stated: dict[int, Statements]
    refusals: list[TransactionRefusedError]
    words: list[str]


class QuorumLedger:
    """A `Ledger` over several. Raises `ValueError` unless more than half of the members are a quorum."""

    def __init__(
        self,
        members: Sequence[Ledger],
        quorum: int,
        *,
        patience: Patience | None = None,
        report: ReportDissent = log_dissent,
    ) -> None:
        if not len(members) / 2 < quorum <= len(members):
            raise ValueError(f"{quorum} of {len(members)} is no quorum: it must be more than half")
        self._members = [Member(number, ledger, report) for number, ledger in enumerate(members)]
        self._quorum = quorum
        self._patience = patience or Patience()
        self._stragglers: set[asyncio.Task[Statements]] = set()

    def __str__(self) -> str:
        return f"{self._quorum} of {', '.join(map(str, self._members))}"

    @property
    def quorum(self) -> int:
        """How many members must agree."""
        return self._quorum

    @property
    def members(self) -> tuple[Ledger, ...]:
        """The endpoints, each believed no more than any other."""
        return tuple(member.ledger for member in self._members)

    @property
    def dissents(self) -> dict[str, Counter[str]]:
        """How often each member dissented, by kind (see `Dissent`)."""
        return {str(member): Counter[str](member.dissents) for member in self._members}

    async def service_info(self) -> ServiceInfo:
        infos = await self._collect(lambda ledger: ledger.service_info(), "the chain")
        chain_id, votes = Counter(info.chain_id for info in infos.values()).most_common(1)[0]
        if votes < self._quorum:
            raise LedgerUnavailableError(
                f"fewer than {self._quorum} Sui endpoints are on the same chain: "
                + "; ".join(f"{self._members[n]} is on {info.chain_id}" for n, info in infos.items())
            )
        for number, info in infos.items():
            if info.chain_id != chain_id:
                self._members[number].dissent("contradicting", "the chain")
        same = [info for info in infos.values() if info.chain_id == chain_id]
        return ServiceInfo(
            chain_id=chain_id,
            epoch=self._reached(info.epoch for info in same),
            checkpoint=self._reached(info.checkpoint for info in same),
            lowest_available_checkpoint=sorted(info.lowest_available_checkpoint for info in same)[
                self._quorum - 1
            ],
            timestamp_ms=self._reached(info.timestamp_ms for info in same),
        )

    async def epoch(self) -> EpochInfo:
        async def ask(ledger: Ledger) -> Statements:
            info = await ledger.epoch()
            return [Statement(info.epoch + 1, info, info)]

        [found] = await self._read(ask, "the epoch")
        return cast(EpochInfo, found.value)

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        async def ask(ledger: Ledger) -> Statements:
            return [_of_object(await ledger.get_object(object_id))]

        [found] = await self._read(ask, f"object {to_hex(object_id)}")
        return cast("ChainObject | None", found.value)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        async def ask(ledger: Ledger) -> Statements:
            return [_of_object(found) for found in await ledger.get_objects(object_ids)]

        if not object_ids:
            return []
        about = f"objects {', '.join(map(to_hex, object_ids))}"
        found = await self._read(ask, about, things=len(object_ids))
        return [cast("ChainObject | None", one.value) for one in found]

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        async def ask(ledger: Ledger) -> Statements:
            found = await ledger.get_transaction(digest)
            # One endpoint may know it before another one does, and before the checkpoint that it is in.
            rank = 0 if found is None else 1 if found.checkpoint is None else 2
            return [Statement(rank, found, found)]

        [found] = await self._read(ask, f"transaction {digest}")
        return cast("ChainTransaction | None", found.value)

    async def get_signed_transaction(self, digest: str) -> SignedTransaction | None:
        async def ask(ledger: Ledger) -> Statements:
            found = await ledger.get_signed_transaction(digest)
            return [_UNKNOWN if found is None else Statement(1, found, found)]

        [found] = await self._read(ask, f"transaction {digest}")
        return cast("SignedTransaction | None", found.value)

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        digest = transaction_digest(transaction)
        sendings = _Sendings({}, [], [])
        for member in by_preference(self._members):
            outcome = await self._send(member, transaction, signature, sendings)
            if outcome is not None:
                sendings.stated[member.number] = [_of_outcome(outcome)]
                confirmed = await self._confirm(digest, sendings)
                if confirmed is not None:
                    return outcome if _of_outcome(outcome).key == _of_outcome(confirmed).key else confirmed
            elif len(sendings.refusals) >= self._quorum and not sendings.words:
                raise sendings.refusals[0]
        words = [*sendings.words, *(str(refused) for refused in sendings.refusals)]
        raise LedgerUnavailableError(
            f"transaction {digest} was sent, and {self._quorum} Sui endpoints do not say what became of it: "
            + "; ".join(words)
        )

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        return await self._one(lambda ledger: ledger.simulate(transaction), "a simulation")

    async def balance(self, address: bytes) -> int:
        about = f"the balance of {to_hex(address)}"
        return self._reached((await self._collect(lambda ledger: ledger.balance(address), about)).values())

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        member = by_preference(self._members)[0] if after is None else self._maker(after)
        inner = None if after is None else after[1:]
        try:
            pages = member.ledger.list_events(event_filter, start_checkpoint, end_checkpoint, inner)
            async with aclosing(pages):
                async for page in pages:
                    yield replace(page, cursor=_cursor(member, page.cursor))
        except LedgerUnavailableError:
            member.away("a list of events")
            raise

    async def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        member = by_preference(self._members)[0]
        try:
            frames = member.ledger.subscribe_events(event_filter, idle_timeout_s=idle_timeout_s)
            async with aclosing(frames):
                async for frame in frames:
                    yield replace(frame, cursor=_cursor(member, frame.cursor))
        except LedgerUnavailableError:
            member.away("a subscription")
            raise

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        return await self._one(lambda ledger: ledger.list_owned_objects(owner, object_type), "owned objects")

    async def close(self) -> None:
        for task in list(self._stragglers):
            task.cancel()
        await asyncio.gather(*self._stragglers, return_exceptions=True)
        await asyncio.gather(*(member.ledger.close() for member in self._members))

    async def _read(self, question: Question, about: str, things: int = 1) -> list[Statement]:
        return await self._reading(question, about, things, self._patience).run()

    def _reading(self, question: Question, about: str, things: int, patience: Patience) -> Reading:
        return Reading(
            self._members,
            self._quorum,
            question,
            things=things,
            about=about,
            patience=patience,
            stragglers=self._stragglers,
        )

    async def _send(
        self, member: Member, transaction: bytes, signature: bytes, sendings: _Sendings
    ) -> ExecutionOutcome | None:
        try:
            return await member.ask(
                lambda ledger: ledger.execute(transaction, signature),
                self._patience.execute_s,
                "an execution",
            )
        except TransactionRefusedError as refused:
            sendings.refusals.append(refused)
        except LedgerUnavailableError as error:
            sendings.words.append(str(error))
        return None

    async def _confirm(self, digest: str, sendings: _Sendings) -> ExecutionOutcome | None:
        """What the quorum says that the transaction did; None if it does not say it yet."""

        async def ask(ledger: Ledger) -> Statements:
            found = await ledger.get_transaction(digest)
            return [_NOT_EXECUTED if found is None else _of_outcome(found.outcome)]

        patience = replace(self._patience, agree_s=self._patience.confirm_s, settle_s=0.0)
        reading = self._reading(ask, f"the effects of {digest}", 1, patience)
        try:
            [found] = await reading.run(sendings.stated)
        except LedgerUnavailableError as error:
            sendings.words.append(str(error))
            return None
        return cast(ExecutionOutcome, found.value)

    async def _collect(self, call: Callable[[Ledger], Awaitable[T]], about: str) -> dict[int, T]:
        """Answers by member: of all, or of a quorum and of those who are little slower."""
        tasks = {
            asyncio.create_task(_answer(member.ask(call, self._patience.answer_s, about))): member
            for member in self._members
        }
        try:
            answers: dict[int, T] = {}
            failures: list[str] = []
            pending, timeout_s = set(tasks), None
            while pending:
                done, pending = await asyncio.wait(
                    pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    answer = task.result()
                    if isinstance(answer, LedgerUnavailableError):
                        failures.append(str(answer))
                    else:
                        answers[tasks[task].number] = answer
                if len(answers) >= self._quorum:
                    timeout_s = _GRACE_S
        finally:
            for task in tasks:
                task.cancel()
        if len(answers) < self._quorum:
            raise LedgerUnavailableError(
                f"fewer than {self._quorum} of {len(tasks)} Sui endpoints answered about {about} "
                f"({'; '.join(failures)})"
            )
        return answers

    async def _one(self, call: Callable[[Ledger], Awaitable[T]], about: str) -> T:
        failure = LedgerUnavailableError("no Sui endpoint was asked")
        for member in by_preference(self._members):
            try:
                return await member.ask(call, self._patience.execute_s, about)
            except LedgerUnavailableError as error:
                failure = error
        raise failure

    def _reached(self, numbers: Iterable[int]) -> int:
        """The highest number that so many members reach."""
        return sorted(numbers, reverse=True)[self._quorum - 1]

    def _maker(self, cursor: bytes) -> Member:
        if not cursor or cursor[0] >= len(self._members):
            raise LedgerUnavailableError(
                "the cursor is of no endpoint that is configured: list from the start"
            )
        return self._members[cursor[0]]


async def _answer(work: Awaitable[T]) -> T | LedgerUnavailableError:
    """A failure as a value: an abandoned task has no exception that nobody looks at."""
    try:
        return await work
    except LedgerUnavailableError as error:
        return error


def _of_object(found: ChainObject | None) -> Statement:
    return _UNKNOWN if found is None else Statement(found.version, found, found)


def _of_outcome(outcome: ExecutionOutcome) -> Statement:
    """Endpoints word failures differently, and know the checkpoint at different times."""
    abort = None if outcome.abort is None else replace(outcome.abort, function=None)
    key = replace(outcome, abort=abort, failure=None, checkpoint=None, created=tuple(outcome.created))
    return Statement(1, key, outcome)


def _cursor(member: Member, cursor: bytes) -> bytes:
    return bytes([member.number]) + cursor
