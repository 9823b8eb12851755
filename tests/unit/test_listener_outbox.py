"""How answers leave the listener: together when they are ready together, alone when one of them is bad."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k3s_daas.aborts import CODES
from k3s_daas.contract.calls import PayloadReference, Response, SharedRef, store_response
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES, split
from k3s_daas.sui.generated import v2
from k3s_daas.sui.ledger import EpochInfo, ExecutionOutcome
from k3s_daas.sui.transactions import (
    MAX_TRANSACTION_BYTES,
    AddressBalanceGas,
    PtbBuilder,
    decode_transaction,
    transaction_digest,
)
from listener_service.answer_transactions import SignedAnswers
from listener_service.backoff import Backoff
from listener_service.batches import MOST_ANSWERS, Outgoing, take_batch
from listener_service.failures import MOST_FAILURES, PASSING_FAILURES
from listener_service.keys.errors import SignatureMissingError
from listener_service.logs import request_id_var
from listener_service.outbox import IN_FLIGHT
from tests.unit.contract_world import CHAIN_ID, CLUSTER_REF, PACKAGE, SEAL
from tests.unit.listener_world import NOW_MS, until
from tests.unit.outbox_scene import (
    ANSWER_BY_MS,
    BAD,
    CONGESTION,
    LONG_AFTER_MS,
    Scene,
    aborting,
    failing,
    good,
    numbers_in,
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_an_answer_alone_leaves_at_once(scene: Scene) -> None:
    assert good(await asyncio.gather(*scene.deliver(1)))
    assert (len(scene.ledger.executed), scene.clock.slept) == (1, [])
    assert scene.outbox.answers_per_transaction == {1: 1}


async def test_answers_that_are_ready_together_share_a_transaction(scene: Scene) -> None:
    assert good(await asyncio.gather(*scene.deliver(1, 2, 3)))
    assert [numbers_in(data) for data in scene.ledger.executed] == [[1, 2, 3]]
    assert scene.ledger.calls["epoch"] == 1
    assert scene.outbox.answers_per_transaction == {3: 1}


async def test_what_becomes_ready_while_transactions_are_in_flight_is_the_next_one(scene: Scene) -> None:
    scene.ledger.gate.clear()
    tasks = []
    for number in range(IN_FLIGHT):
        tasks += scene.deliver(number)
        # One loop turn after another, or they would go together.
        await asyncio.sleep(0.01)
    assert len(scene.ledger.sent) == IN_FLIGHT
    tasks += scene.deliver(*range(100, 105))
    await asyncio.sleep(0.01)
    assert len(scene.ledger.sent) == IN_FLIGHT
    scene.ledger.gate.set()
    assert good(await asyncio.gather(*tasks))
    assert [numbers_in(data) for data in scene.ledger.sent[IN_FLIGHT:]] == [[100, 101, 102, 103, 104]]


@pytest.mark.parametrize("bad", range(8))
async def test_an_abort_costs_only_the_answer_that_caused_it(scene: Scene, bad: int) -> None:
    scene.ledger.on_execute = aborting(bad)
    outcomes = await asyncio.gather(*scene.deliver(*range(8)))
    assert [outcome is not None and outcome.success for outcome in outcomes] == [
        number != bad for number in range(8)
    ]
    failed = outcomes[bad]
    assert failed is not None
    assert failed.abort is not None
    assert failed.abort.code == 410
    # Eight, four, two and one with it; four, two and one without.
    assert len(scene.ledger.executed) == 7


async def test_the_same_bytes_are_sent_again_while_nothing_is_known(scene: Scene) -> None:
    def lose_thrice(transaction: bytes) -> ExecutionOutcome:
        if len(scene.ledger.executed) <= 3:
            raise LedgerUnavailableError("no reply")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = lose_thrice
    assert good(await asyncio.gather(*scene.deliver(1, 2)))
    assert (len(scene.ledger.executed), len(set(scene.ledger.executed))) == (4, 1)


async def test_a_batch_refused_for_an_old_epoch_is_made_anew_in_one_piece(scene: Scene) -> None:
    await asyncio.gather(*scene.deliver(0))
    scene.ledger.epoch_info = EpochInfo(8, 1_200)

    def refuse_old(transaction: bytes) -> ExecutionOutcome:
        if decode_transaction(transaction).data.gas.price != 1_200:
            raise TransactionRefusedError("gas-price", "the gas price is below the reference")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = refuse_old
    assert good(await asyncio.gather(*scene.deliver(1, 2)))
    assert [numbers_in(data) for data in scene.ledger.executed] == [[0], [1, 2], [1, 2]]
    assert scene.ledger.calls["epoch"] == 2


async def test_a_refused_answer_is_tried_until_answer_by_and_stops_no_other(scene: Scene) -> None:
    def refuse_bad(transaction: bytes) -> ExecutionOutcome:
        if BAD in numbers_in(transaction):
            raise TransactionRefusedError("invalid", "not with this answer")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = refuse_bad
    bad, *others = scene.deliver(BAD, *range(8, 15))
    assert good(await asyncio.gather(*others))
    later = scene.deliver(*range(20, 20 + 2 * IN_FLIGHT))
    assert good(await asyncio.gather(*later))
    assert await bad is None
    assert scene.clock.ms > ANSWER_BY_MS
    assert max(scene.clock.slept) <= 5.0


async def test_an_endpoint_that_is_away_for_minutes_gets_all_answers_in_few_transactions(
    scene: Scene,
) -> None:
    away_until_ms = NOW_MS + 240_000

    def away(transaction: bytes) -> ExecutionOutcome:
        if scene.clock.ms < away_until_ms:
            raise LedgerUnavailableError("away")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = away
    tasks = []
    for number in range(IN_FLIGHT + 20):
        tasks += scene.deliver(number)
        await asyncio.sleep(0)
    assert good(await asyncio.gather(*tasks))
    assert scene.clock.ms >= away_until_ms
    assert len(set(scene.ledger.sent)) <= IN_FLIGHT + 1
    assert sorted({number for data in scene.ledger.sent for number in numbers_in(data)}) == list(
        range(IN_FLIGHT + 20)
    )


async def test_an_answer_is_given_up_at_its_own_answer_by(scene: Scene) -> None:
    def away(transaction: bytes) -> ExecutionOutcome:
        if scene.clock.ms < NOW_MS + 100_000:
            raise LedgerUnavailableError("away")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = away
    [early] = scene.deliver(1, answer_by_ms=NOW_MS + 50_000)
    [late] = scene.deliver(2)
    assert await early is None
    outcome = await late
    assert outcome is not None
    assert outcome.success
    assert len(set(scene.ledger.sent)) == 1


async def test_what_nobody_waits_for_any_more_is_not_sent_again(scene: Scene) -> None:
    def away(transaction: bytes) -> ExecutionOutcome:
        raise LedgerUnavailableError("away")

    scene.ledger.on_execute = away
    [task] = scene.deliver(1)
    await until(lambda: len(scene.ledger.sent) >= 2)
    task.cancel()
    await asyncio.sleep(0.01)
    sent = len(scene.ledger.sent)
    await asyncio.sleep(0.01)
    assert len(scene.ledger.sent) == sent


async def test_bytes_with_an_answer_that_nobody_waits_for_are_not_sent_again(scene: Scene) -> None:
    """A term that ended: its successor may run what a refusal of ours would say was not run."""

    def away(transaction: bytes) -> ExecutionOutcome:
        if 1 in numbers_in(transaction):
            raise LedgerUnavailableError("away")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = away
    left, kept = scene.deliver(1, 2)
    await until(lambda: len(scene.ledger.sent) >= 2)
    left.cancel()
    assert good([await asyncio.wait_for(kept, 5)])
    assert numbers_in(scene.ledger.sent[-1]) == [2]


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("name", PASSING_FAILURES)
async def test_what_failed_for_a_reason_that_passes_is_executed_anew(
    scene: Scene, caplog: pytest.LogCaptureFixture, name: str, together: int
) -> None:
    """It says nothing about the answers, which must not be lost."""
    passing = PASSING_FAILURES[name]
    alone = 2 if together == 1 else 4
    scene.ledger.on_execute = failing(name, lambda: len(scene.ledger.executed) > alone)
    assert good(await asyncio.wait_for(asyncio.gather(*scene.deliver(*range(together))), 5))
    assert len(set(scene.ledger.executed)) == len(scene.ledger.executed)
    assert scene.counts.transactions["failed"] == alone
    assert [vars(line)["do"] for line in caplog.records] == [passing.do] * alone
    # Smaller ones only where that may help.
    assert len(numbers_in(scene.ledger.executed[-1])) == (together if passing.concerns_all else 1)


@pytest.mark.parametrize("name", PASSING_FAILURES)
async def test_a_failure_that_does_not_pass_is_paid_a_bounded_number_of_times(
    scene: Scene, name: str
) -> None:
    scene.ledger.on_execute = failing(name)
    [outcome] = await asyncio.gather(*scene.deliver(1, answer_by_ms=LONG_AFTER_MS))
    assert outcome is not None
    assert not outcome.success
    assert len(set(scene.ledger.executed)) == PASSING_FAILURES[name].at_most <= MOST_FAILURES
    assert scene.counts.transactions == {"failed": PASSING_FAILURES[name].at_most}
    assert max(scene.clock.slept) <= 60


async def test_pauses_between_executions_for_nothing_grow(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay = Backoff.next_delay_s

    def longest(backoff: Backoff) -> float:
        backoff.uniform = lambda least, most: most
        return delay(backoff)

    monkeypatch.setattr(Backoff, "next_delay_s", longest)
    scene.ledger.on_execute = failing(CONGESTION)
    assert await asyncio.gather(*scene.deliver(1)) == [None]
    assert scene.clock.slept[:10] == sorted(set(scene.clock.slept[:10]))
    assert set(scene.clock.slept[10:]) == {60}


async def test_while_no_transaction_can_succeed_answers_gather_and_few_are_paid_for(scene: Scene) -> None:
    passed = asyncio.Event()
    scene.ledger.on_execute = failing("EUnsupportedVersion", passed.is_set)
    tasks = []
    for number in range(IN_FLIGHT + 20):
        tasks += scene.deliver(number)
        await asyncio.sleep(0)
    await until(lambda: scene.counts.transactions["failed"] >= 2 * IN_FLIGHT)
    answers = {number for data in scene.ledger.executed for number in numbers_in(data)}
    assert answers == set(range(IN_FLIGHT))
    passed.set()
    assert good(await asyncio.gather(*tasks))
    assert scene.outbox.answers_per_transaction[20] == 1


@pytest.mark.parametrize(
    "name", ["ENotAssignedExecutor", "EWrongCluster", "EEmptyPayload", "EFFECTS_TOO_LARGE"]
)
async def test_a_failure_that_is_about_the_answer_is_final(scene: Scene, name: str) -> None:
    scene.ledger.on_execute = failing(name)
    [outcome] = await asyncio.gather(*scene.deliver(1))
    assert outcome is not None
    assert not outcome.success
    assert scene.counts.transactions == {"aborted": 1}


def test_every_failure_that_may_pass_is_one_that_there_is() -> None:
    kinds = {kind.name for kind in v2.ExecutionErrorExecutionErrorKind}
    assert set(PASSING_FAILURES) <= kinds | set(CODES)


async def test_a_key_service_that_does_not_sign_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sign, refusals = scene.transactions.sign, 3

    async def refusing(*arguments: Any) -> SignedAnswers:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise SignatureMissingError("KMS did not sign: enable the key")
        return await sign(*arguments)

    monkeypatch.setattr(scene.transactions, "sign", refusing)
    assert good(await asyncio.gather(*scene.deliver(1, 2)))
    assert scene.counts.transactions == {"unsigned": 3, "executed": 1}
    warned = [vars(line)["error"] for line in caplog.records if line.levelno == logging.WARNING]
    assert warned == ["KMS did not sign: enable the key"] * 3


async def test_a_defect_is_told_to_whom_it_concerns(scene: Scene) -> None:
    def fail(transaction: bytes) -> ExecutionOutcome:
        if BAD in numbers_in(transaction):
            raise RuntimeError("a defect")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    scene.ledger.on_execute = fail
    results = await asyncio.gather(*scene.deliver(1, BAD, 3), return_exceptions=True)
    assert [isinstance(result, RuntimeError) for result in results] == [False, True, False]


async def test_a_line_about_several_answers_belongs_to_none_of_their_requests(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str | None] = []

    def effect(transaction: bytes) -> ExecutionOutcome:
        seen.append(request_id_var.get())
        return aborting(1)(transaction)

    scene.ledger.on_execute = effect
    token = request_id_var.set("somebody's")
    await asyncio.gather(*scene.deliver(1, 2))
    request_id_var.reset(token)
    assert seen == [None, None, None]
    lines = [record for record in caplog.records if record.message == "answers failed on chain"]
    assert [vars(line)["requests"] for line in lines] == [
        [f"{number:032x}" for number in numbers] for numbers in ((1, 2), (1,))
    ]


payloads = st.integers(1, MAX_CIPHERTEXT_BYTES).map(lambda size: split(b"\x5a" * size))
references = st.builds(PayloadReference, st.binary(min_size=1, max_size=128), st.just(bytes(32)), st.just(1))


@given(st.lists(st.one_of(payloads, references), min_size=1, max_size=2 * MOST_ANSWERS))
def test_every_batch_fits_into_a_transaction_and_the_oldest_goes_first(
    sealed: list[Sequence[bytes] | PayloadReference],
) -> None:
    loop = asyncio.new_event_loop()
    waiting = [
        Outgoing(
            Response(number.to_bytes(16, "big"), 200, payload),
            # Seals of their own take most room.
            SharedRef((2**128 + number).to_bytes(32, "big"), 2**64 - 1),
            ANSWER_BY_MS,
            loop.create_future(),
        )
        for number, payload in enumerate(sealed)
    ]
    loop.close()
    before = list(waiting)
    taken: list[Outgoing] = []
    while waiting:
        oldest = waiting[0]
        batch = take_batch(waiting)
        assert batch[0] is oldest
        assert len(batch) <= MOST_ANSWERS
        builder = PtbBuilder()
        for answer in batch:
            store_response(builder, PACKAGE, CLUSTER_REF, answer.seal, answer.response)
        gas = AddressBalanceGas(2**63, 2**63, 2**63, CHAIN_ID, 2**32 - 1)
        assert len(builder.build(SEAL, gas=gas)) <= MAX_TRANSACTION_BYTES
        taken += batch
    assert sorted(taken, key=before.index) == before


async def test_an_answer_that_was_given_up_while_it_was_signed_is_not_sent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A successor may say something else about that request by then."""
    signing, signed = asyncio.Event(), asyncio.Event()
    sign = scene.transactions.sign

    async def slowly(answers: Sequence[Outgoing], again: int = 0) -> SignedAnswers:
        done = await sign(answers, again)
        signing.set()
        await signed.wait()
        return done

    monkeypatch.setattr(scene.transactions, "sign", slowly)
    given_up, waited_for = scene.deliver(1, 2)
    await signing.wait()
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    signed.set()
    assert good([await waited_for])
    assert [numbers_in(data) for data in scene.ledger.executed] == [[2]]
