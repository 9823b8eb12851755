"""The sweeper brings records to an end, may die itself, and sends nothing too late."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from chalicelib.request_store import RequestRecord, RequestState
from chalicelib.sweeper import RUN_S

from infra.local.gateway.messages import HttpReply
from infra.local.gateway.schedule import run_every
from k3s_daas.deadlines import MOST_PARKINGS
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ledger import ExecutionOutcome, SignedTransaction
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.mortal_gateway import Crash, Stage, dead, executed_then_dead, mortal_gateway, revoked


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mortal_gateway() as stage:
        yield stage


def reserved_and_dead(stage: Stage) -> None:
    stage.client.die_at(1, carried_out=True)


def signed_and_dead(stage: Stage) -> None:
    stage.world.chain.outcomes.append(dead)


def sent_and_dead(stage: Stage) -> None:
    stage.world.chain.outcomes.append(executed_then_dead(stage))


def refused_for_the_sweeper(stage: Stage) -> None:
    stage.world.chain.outcomes += [dead, revoked, revoked]


def answered_and_dead(stage: Stage) -> None:
    stage.world.chain.respond = stage._run
    stage.client.die_at_state(RequestState.ANSWERED, carried_out=False)


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("dies", "after_s", "ends"),
    [
        (reserved_and_dead, 60, RequestState.EXPIRED),
        (signed_and_dead, 10, RequestState.SUBMITTED),
        (signed_and_dead, 60, RequestState.EXPIRED),
        (sent_and_dead, 10, RequestState.SUBMITTED),
        (sent_and_dead, 60, RequestState.SUBMITTED),
        (refused_for_the_sweeper, 10, RequestState.REFUSED),
        (answered_and_dead, 400, RequestState.ANSWERED),
        (sent_and_dead, 860, RequestState.EXPIRED),
    ],
)
def test_a_sweeper_that_dies_at_its_write_is_followed_by_one_that_does_not(
    stage: Stage,
    dies: Callable[[Stage], None],
    after_s: int,
    ends: RequestState,
    carried_out: bool,
) -> None:
    dies(stage)
    with pytest.raises(Crash):
        stage.send()
    if after_s == 860:
        stage.after(10)
    stage.client.die_at(1, carried_out=carried_out)
    with pytest.raises(Crash):
        stage.after(after_s)
    sent = stage.sent
    # What was answered before it was on record as submitted takes two runs.
    for later_s in (1, 2):
        stage.after(after_s + later_s)
    assert stage.record().state is ends
    # The same bytes once more, where the chain may still take them and nobody has noted what it said.
    assert stage.sent - sent == (1 if after_s == 10 and not carried_out else 0)
    assert stage.commands <= 1


def test_nothing_is_sent_after_start_by(stage: Stage) -> None:
    stage.world.chain.outcomes.append(dead)
    with pytest.raises(Crash):
        stage.send()
    stage.after(60)
    assert stage.sent == 1
    assert stage.record().state is RequestState.EXPIRED


def test_as_long_as_the_chain_is_behind_nothing_is_called_expired(stage: Stage) -> None:
    stage.world.chain.outcomes.append(dead)
    with pytest.raises(Crash):
        stage.send()
    stage.world.ahead_ms = 60_000
    stage.world.gateway.sweep()
    assert stage.record().state is RequestState.SIGNED


def test_a_retry_after_a_death_adopts_only_what_was_parked(stage: Stage) -> None:
    stage.client.die_at(3, carried_out=True)
    with pytest.raises(Crash):
        stage.send()
    assert stage.send().status == 503
    assert stage.commands == 2


def test_what_was_parked_before_the_death_is_adopted(stage: Stage) -> None:
    stage.client.die_at(5, carried_out=True)
    with pytest.raises(Crash):
        stage.send()
    stage.answer()
    assert stage.send().status == 200
    assert stage.commands == 1


def test_a_transaction_that_failed_on_chain_is_refused(stage: Stage) -> None:
    def failed_then_dead(transaction: bytes) -> ExecutionOutcome:
        digest = transaction_digest(transaction)
        stage.world.chain.transactions[digest] = SignedTransaction(digest, transaction, [b"x"], success=False)
        raise Crash

    stage.world.chain.outcomes.append(failed_then_dead)
    with pytest.raises(Crash):
        stage.send()
    stage.after(60)
    assert stage.record().state is RequestState.REFUSED


def test_an_abort_that_the_sweeper_hears_is_on_record(stage: Stage) -> None:
    stage.world.chain.outcomes += [dead, revoked]
    with pytest.raises(Crash):
        stage.send()
    stage.after(10)
    assert stage.record().state is RequestState.REFUSED


def test_a_command_that_is_never_answered_expires_after_answer_by(stage: Stage) -> None:
    assert stage.send().status == 503
    stage.after(800)
    assert stage.record().state is RequestState.PARKED
    stage.after(860)
    record = stage.record()
    assert (record.state, record.request.wrapped_reply_key) == (RequestState.EXPIRED, b"")


def test_a_parked_command_keeps_its_answer_for_the_retry(stage: Stage) -> None:
    assert stage.send().status == 503
    stage.answer()
    stage.after(300)
    stage.world.ahead_ms = 0
    # A busy machine may not get through within one of these short waits: kubectl comes again, too.
    retries = (stage.send().status for _ in range(MOST_PARKINGS - 1))
    assert next(status for status in retries if status != 503) == 200
    assert stage.commands == 1


def test_a_live_function_is_not_disturbed(stage: Stage) -> None:
    world, replies = stage.world, list[HttpReply]()
    waiting = threading.Event()
    look = world.chain.get_object

    async def noticed(object_id: bytes) -> Any:
        if stage.sent:
            waiting.set()
        return await look(object_id)

    world.chain.get_object = noticed  # type: ignore[method-assign] # the script of this test
    thread = threading.Thread(target=lambda: replies.append(stage.send()))
    thread.start()
    assert waiting.wait(5)
    world.gateway.sweep()
    stage.answer()
    thread.join()
    # It may just have been parked; then its retry gets the answer.
    assert (replies[0] if replies[0].status == 200 else stage.send()).status == 200
    assert stage.commands == 1


def test_a_chain_that_is_away_is_left_to_the_next_run(stage: Stage) -> None:
    assert stage.send().status == 503
    stage.answer()
    stage.world.chain.away = True
    stage.after(400)
    assert stage.record().state is RequestState.PARKED
    assert '"failed": 1' in stage.world.logged[-1]
    stage.world.chain.away = False
    stage.after(400)
    assert stage.record().state is RequestState.ANSWERED


def test_a_run_ends_before_its_function_does(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.send().status == 503
    stage.answer()
    with monkeypatch.context() as slow:
        slow.setattr(stage.world.gateway._scheduled._sweeper, "_monotonic", count(0, RUN_S + 1).__next__)
        stage.after(400)
    assert stage.record().state is RequestState.PARKED
    assert json.loads(stage.world.logged[-1])["broken_off"]
    assert json.loads(stage.world.metrics[-1])["SweepFailures"] == [1]
    stage.after(400)
    assert stage.record().state is RequestState.ANSWERED
    assert json.loads(stage.world.metrics[-1])["SweepFailures"] == [0]


def test_a_failed_run_does_not_end_the_schedule(capfd: pytest.CaptureFixture[str]) -> None:
    runs = threading.Semaphore(0)

    def run(event: dict[str, Any], _context: Any) -> None:
        assert event["detail-type"] == "Scheduled Event"
        runs.release()
        raise LedgerUnavailableError("away")

    end = run_every(0.01, run)
    assert runs.acquire(timeout=5)
    assert runs.acquire(timeout=5)
    end()
    assert "scheduled-run-failed" in capfd.readouterr().err


def test_a_minute_that_is_long_over_and_has_nothing_open_is_not_read_again(stage: Stage) -> None:
    read: list[int] = []
    unfinished = stage.world.store.unfinished

    def counted(minute: int) -> Iterator[RequestRecord]:
        read.append(minute)
        return unfinished(minute)

    stage.world.store.unfinished = counted  # type: ignore[method-assign] # a test double
    stage.world.gateway.sweep()
    first, present = len(read), max(read)
    assert read == sorted(read, reverse=True), "what may still be sent has the least time"
    read.clear()
    stage.world.gateway.sweep()
    assert first > 10
    # The present one, and those whose functions may still be at work.
    assert min(read) == present - 2
    read.clear()
    stage.after(60 * 60)
    assert len(read) == first
