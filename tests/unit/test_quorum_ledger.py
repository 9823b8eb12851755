"""k of n endpoints: one that lies, lags, freezes or is away changes nothing that is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.digests import transaction_digest
from k3s_daas.sui.ledger import (
    Abort,
    ChainObject,
    ChainTransaction,
    EpochInfo,
    EventFilter,
    EventFrame,
    EventPage,
    ExecutionOutcome,
    ForgedReplyError,
    Owner,
    SignedTransaction,
)
from k3s_daas.sui.quorum import QuorumLedger
from k3s_daas.sui.quorum_members import Dissent
from k3s_daas.sui.reading import Patience
from tests.unit.memory_ledger import MemoryLedger

SEAL = b"\x05" * 32
BYTES, SIGNATURE = b"transaction", b"signature"
DIGEST = transaction_digest(BYTES)
FILTER = EventFilter(("0x1::m::E",))
QUICK = Patience(answer_s=0.2, agree_s=0.2, settle_s=0.05, pause_s=0.002, execute_s=0.2, confirm_s=0.1)


def seal(version: int, contents: bytes = b"live") -> ChainObject:
    return ChainObject(
        SEAL,
        version,
        f"d{version}",
        "0x1::seal::SealToken",
        contents,
        Owner("shared", None, 1),
        f"t{version}",
    )


def outcome(*, success: bool = True, code: int = 305) -> ExecutionOutcome:
    abort = None if success else Abort("seal", None, code, 0)
    return ExecutionOutcome(DIGEST, success, abort, None if success else "aborted")


@dataclass
class Scripted(MemoryLedger):
    """An endpoint whose replies a test sets."""

    name: str = ""
    frozen: bool = False
    forged: bool = False
    effects: ExecutionOutcome | None = None
    """What it says that the transaction did, once asked to execute it or by itself."""
    knows: bool = False
    refusal: TransactionRefusedError | None = None
    delay_s: float = 0.0
    read_again: Callable[[], None] | None = None
    sent: list[bytes] = field(default_factory=list)
    after: list[bytes | None] = field(default_factory=list)
    closed: bool = False

    def __str__(self) -> str:
        return f"endpoint {self.name}"

    async def _pass(self) -> None:
        if self.frozen:
            await asyncio.Event().wait()
        if self.forged:
            raise ForgedReplyError("nonsense")
        await asyncio.sleep(self.delay_s)

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        await self._pass()
        found = await super().get_object(object_id)
        if self.read_again is not None:
            self.read_again()
        return found

    async def get_signed_transaction(self, digest: str) -> SignedTransaction | None:
        await self._pass()
        return await super().get_signed_transaction(digest)

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        self.asked("get_transaction")
        await self._pass()
        if not self.knows or self.effects is None:
            return None
        return ChainTransaction(digest, BYTES, [SIGNATURE], self.effects, (), None)

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        self.asked("execute")
        self.sent.append(transaction)
        await self._pass()
        if self.refusal is not None:
            raise self.refusal
        assert self.effects is not None
        return self.effects

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        self.after.append(after)
        self.asked("list_events")
        yield EventPage((), self.name.encode(), self.checkpoint, last=True)

    async def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        self.asked("subscribe_events")
        yield EventFrame(None, self.checkpoint, self.name.encode())
        raise LedgerUnavailableError("the stream broke")

    async def close(self) -> None:
        self.closed = True


@dataclass
class Three:
    """Three endpoints with the same seal at version 7, two of which must agree."""

    members: list[Scripted] = field(default_factory=lambda: [Scripted(name=name) for name in "abc"])
    reports: list[Dissent] = field(default_factory=list)
    patience: Patience = QUICK
    quorum: int = 2

    def __post_init__(self) -> None:
        for member in self.members:
            member.put(seal(7))
            member.effects = outcome()
            member.knows = True
        self.ledger = QuorumLedger(
            self.members, self.quorum, patience=self.patience, report=self.reports.append
        )

    def dissent(self, name: str) -> dict[str, int]:
        return dict(self.ledger.dissents[f"endpoint {name}"])

    async def settled(self) -> None:
        """Until nobody is heard any more."""
        await asyncio.gather(*self.ledger._stragglers, return_exceptions=True)


@pytest.fixture
async def three() -> AsyncGenerator[Three, None]:
    made = Three()
    yield made
    await made.ledger.close()
    assert all(member.closed for member in made.members)


@pytest.mark.parametrize("quorum", [0, 1, 4])
def test_less_than_a_majority_is_no_quorum(quorum: int) -> None:
    with pytest.raises(ValueError, match="more than half"):
        QuorumLedger([Scripted(), Scripted(), Scripted()], quorum)


async def test_honest_endpoints_are_asked_once_each(three: Three) -> None:
    assert await three.ledger.get_object(SEAL) == seal(7)
    await three.settled()
    assert [member.calls["get_object"] for member in three.members] == [1, 1, 1]
    assert three.reports == []


@pytest.mark.parametrize("liar", [0, 1, 2])
@pytest.mark.parametrize(
    "lie",
    [
        seal(7, b"revoked"),
        replace(seal(7), owner=Owner("address", b"\x09" * 32)),
        replace(seal(7), type_tag="0x2::seal::SealToken"),
        replace(seal(7), previous_transaction="other"),
    ],
)
async def test_a_forged_object_is_not_believed_and_reported(
    three: Three, liar: int, lie: ChainObject
) -> None:
    three.members[liar].put(lie)
    assert await three.ledger.get_object(SEAL) == seal(7)
    await three.settled()
    assert three.dissent("abc"[liar]) == {"contradicting": 1}
    assert [(report.endpoint, report.kind) for report in three.reports] == [
        (f"endpoint {'abc'[liar]}", "contradicting")
    ]


async def test_a_state_of_yesterday_is_not_believed(three: Three) -> None:
    three.members[0].put(seal(5, b"not revoked yet"))
    assert await three.ledger.get_object(SEAL) == seal(7)
    assert three.dissent("a") == {"behind": 1}


async def test_the_newest_that_two_confirm_counts(three: Three) -> None:
    """Two lag at first; the one that is ahead is right."""
    three.members[0].put(seal(8, b"revoked"))
    behind = three.members[1]
    behind.read_again = lambda: behind.put(seal(8, b"revoked"))
    assert await three.ledger.get_object(SEAL) == seal(8, b"revoked")


async def test_a_claim_that_nobody_confirms_is_waited_for_once(three: Three) -> None:
    three.members[0].put(seal(2**62, b"forged"))
    assert await three.ledger.get_object(SEAL) == seal(7)
    assert three.dissent("a")["unconfirmed"] == 1
    waited = sum(member.calls["get_object"] for member in three.members)
    assert waited > 4
    assert await three.ledger.get_object(SEAL) == seal(7)
    await three.settled()
    assert sum(member.calls["get_object"] for member in three.members) == waited + 3


async def test_an_object_that_one_invents_does_not_exist(three: Three) -> None:
    for member in three.members[1:]:
        member.objects.clear()
    assert await three.ledger.get_object(SEAL) is None


async def test_an_object_that_one_withholds_exists(three: Three) -> None:
    three.members[0].objects.clear()
    assert await three.ledger.get_object(SEAL) == seal(7)


async def test_objects_are_agreed_on_one_by_one(three: Three) -> None:
    other = bytes(32)
    for member in three.members[:2]:
        member.put(replace(seal(3), id=other))
    three.members[0].put(seal(7, b"forged"))
    assert await three.ledger.get_objects([SEAL, other, b"\x01" * 32]) == [
        seal(7),
        replace(seal(3), id=other),
        None,
    ]
    assert await three.ledger.get_objects([]) == []


async def test_one_that_is_away_costs_nothing(three: Three) -> None:
    three.members[0].away = True
    assert await three.ledger.get_object(SEAL) == seal(7)
    assert three.dissent("a") == {"away": 1}


async def test_one_that_is_frozen_costs_no_time_and_bounded_calls() -> None:
    # Waiting for it even once would take longer than the machine may stand still.
    three = Three(patience=replace(QUICK, answer_s=60, agree_s=60, settle_s=60))
    three.members[0].frozen = True
    async with asyncio.timeout(30):
        for _ in range(100):
            assert await three.ledger.get_object(SEAL) == seal(7)
    assert len(three.ledger._stragglers) == 64
    await three.ledger.close()


async def test_without_a_quorum_the_endpoints_are_named(three: Three) -> None:
    three.members[0].away = True
    three.members[1].put(seal(7, b"forged"))
    with pytest.raises(LedgerUnavailableError, match="2 of 3") as caught:
        await three.ledger.get_object(SEAL)
    for word in ("scripted endpoint is away", "endpoint b", "endpoint c"):
        assert word in str(caught.value)


async def test_two_that_are_frozen_end_in_an_error_in_time(three: Three) -> None:
    three.members[0].frozen = three.members[1].frozen = True
    with pytest.raises(LedgerUnavailableError, match="endpoint a"):
        await three.ledger.get_object(SEAL)


async def test_a_reply_that_contradicts_itself_is_a_dissent(three: Three) -> None:
    three.members[2].forged = True
    assert await three.ledger.get_object(SEAL) == seal(7)
    await three.settled()
    assert three.dissent("c") == {"forged": 1}


async def test_dissent_is_reported_now_and_then_and_counted_always(three: Three) -> None:
    three.members[0].put(seal(7, b"forged"))
    for _ in range(5):
        await three.ledger.get_object(SEAL)
        await three.settled()
    assert three.dissent("a") == {"contradicting": 5}
    assert len(three.reports) == 1


async def test_a_refused_transaction_is_not_passed_off_as_a_success(three: Three) -> None:
    refused = SignedTransaction(DIGEST, BYTES, [SIGNATURE], success=False)
    for member in three.members:
        member.transactions[DIGEST] = refused
    three.members[0].transactions[DIGEST] = replace(refused, success=True)
    assert await three.ledger.get_signed_transaction(DIGEST) == refused


async def test_signatures_of_one_endpoints_making_are_not_returned(three: Three) -> None:
    true = SignedTransaction(DIGEST, BYTES, [SIGNATURE], success=True)
    for member in three.members:
        member.transactions[DIGEST] = true
    three.members[0].transactions[DIGEST] = replace(true, signatures=[b"forged"])
    assert await three.ledger.get_signed_transaction(DIGEST) == true
    assert await three.ledger.get_signed_transaction("unknown") is None


async def test_a_submission_is_one_execution_and_confirmed_by_a_second(three: Three) -> None:
    assert await three.ledger.execute(BYTES, SIGNATURE) == outcome()
    assert [member.calls["execute"] for member in three.members] == [1, 0, 0]
    await three.settled()
    assert [member.calls["get_transaction"] for member in three.members] == [0, 1, 1]


@pytest.mark.parametrize("fault", ["away", "frozen", "forged"])
async def test_the_same_bytes_go_to_the_next_endpoint(three: Three, fault: str) -> None:
    setattr(three.members[0], fault, True)
    assert (await three.ledger.execute(BYTES, SIGNATURE)).success
    assert three.members[1].sent == [BYTES]
    await three.ledger.execute(BYTES, SIGNATURE)
    assert three.members[0].calls["execute"] == 1, "what is known to be away is not tried first"


@pytest.mark.parametrize("truth", [True, False])
async def test_false_effects_are_corrected(three: Three, truth: bool) -> None:
    for member in three.members:
        member.effects = outcome(success=truth)
    three.members[0].effects = outcome(success=not truth)
    found = await three.ledger.execute(BYTES, SIGNATURE)
    assert found == outcome(success=truth)
    assert three.dissent("a") == {"contradicting": 1}


async def test_an_invented_execution_goes_to_an_honest_endpoint(three: Three) -> None:
    """The first keeps the bytes to itself and says that all is well."""
    honest = three.members[1:]
    for member in honest:
        member.knows = False

    async def execute(transaction: bytes, signature: bytes) -> ExecutionOutcome:
        three.members[1].sent.append(transaction)
        for member in honest:
            member.knows, member.effects = True, outcome(success=False)
        return outcome(success=False)

    three.members[1].execute = execute  # type: ignore[method-assign]  # this one's execution tells the others
    assert await three.ledger.execute(BYTES, SIGNATURE) == outcome(success=False)
    assert three.members[1].sent == [BYTES]


async def test_effects_that_nobody_confirms_do_not_count(three: Three) -> None:
    for member in three.members[1:]:
        member.knows, member.away = False, True
    with pytest.raises(LedgerUnavailableError, match=DIGEST):
        await three.ledger.execute(BYTES, SIGNATURE)


async def test_failures_may_be_worded_differently(three: Three) -> None:
    for number, member in enumerate(three.members):
        member.effects = replace(
            outcome(success=False), failure=f"wording {number}", checkpoint=number or None
        )
    assert (await three.ledger.execute(BYTES, SIGNATURE)).failure == "wording 0"
    assert three.reports == []


async def test_a_refusal_of_one_is_not_definite(three: Three) -> None:
    three.members[0].refusal = TransactionRefusedError("gas-price", "too low")
    assert (await three.ledger.execute(BYTES, SIGNATURE)).success
    assert three.members[1].sent == [BYTES]


async def test_a_refusal_of_two_is_definite(three: Three) -> None:
    for member in three.members[:2]:
        member.refusal = TransactionRefusedError("gas-price", "too low")
    with pytest.raises(TransactionRefusedError):
        await three.ledger.execute(BYTES, SIGNATURE)
    assert three.members[2].sent == []


async def test_a_refusal_after_a_lost_reply_is_not_definite(three: Three) -> None:
    """Who did not answer may have taken the transaction."""
    three.members[0].frozen = True
    for member in three.members[1:]:
        member.refusal = TransactionRefusedError("gas-price", "too low")
    with pytest.raises(LedgerUnavailableError):
        await three.ledger.execute(BYTES, SIGNATURE)


async def test_numbers_are_reached_by_two(three: Three) -> None:
    for member, checkpoint in zip(three.members, (10**9, 120, 118), strict=True):
        member.checkpoint = member.lowest = member.timestamp_ms = checkpoint
    info = await three.ledger.service_info()
    assert (info.checkpoint, info.timestamp_ms, info.lowest_available_checkpoint) == (120, 120, 120)


async def test_another_chain_is_the_word_of_a_minority(three: Three) -> None:
    honest = three.members[0].chain_id
    three.members[0].chain_id = "other"
    assert (await three.ledger.service_info()).chain_id == honest
    assert three.dissent("a") == {"contradicting": 1}
    three.members[1].chain_id = "third"
    with pytest.raises(LedgerUnavailableError, match="endpoint a is on other"):
        await three.ledger.service_info()


async def test_the_gas_price_is_agreed_on(three: Three) -> None:
    three.members[0].epoch_info = EpochInfo(7, 10**12)
    three.members[1].epoch_info = three.members[2].epoch_info = EpochInfo(7, 1_000)
    assert await three.ledger.epoch() == EpochInfo(7, 1_000)


async def test_a_subscription_moves_on_when_it_breaks(three: Three) -> None:
    for name in "abc":
        frames = three.ledger.subscribe_events(FILTER)
        async with aclosing(frames):
            frame = await anext(frames)
            assert frame.cursor[1:] == name.encode()
            with pytest.raises(LedgerUnavailableError):
                await anext(frames)


async def test_a_cursor_goes_back_to_its_maker(three: Three) -> None:
    [page] = [page async for page in three.ledger.list_events(FILTER, 1)]
    three.members[0].away = True
    with pytest.raises(LedgerUnavailableError):
        [page async for page in three.ledger.list_events(FILTER, 1, after=page.cursor)]
    assert three.members[0].after == [None, b"a"]
    [other] = [page async for page in three.ledger.list_events(FILTER, 1)]
    assert other.cursor[1:] == b"b"
    with pytest.raises(LedgerUnavailableError, match="cursor"):
        [page async for page in three.ledger.list_events(FILTER, 1, after=b"\x07x")]


async def test_a_cancelled_reading_leaves_nothing_behind() -> None:
    three = Three(patience=replace(QUICK, answer_s=30, agree_s=30))
    for member in three.members:
        member.frozen = True

    async def given_up(work: Awaitable[object]) -> None:
        async with asyncio.timeout(0.01):
            await work

    before = asyncio.all_tasks()
    for work in (three.ledger.get_object(SEAL), three.ledger.execute(BYTES, SIGNATURE)):
        with pytest.raises(TimeoutError):
            await given_up(work)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    await three.ledger.close()
