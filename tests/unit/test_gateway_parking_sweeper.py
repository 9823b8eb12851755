"""A function may die at any point: its record goes on, runs at most once, and nothing is sent too late."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from chalicelib.request_store import RequestRecord, RequestState
from chalicelib.sweeper import RUN_S
from moto import mock_aws

from infra.local.gateway.messages import HttpReply
from infra.local.gateway.schedule import run_every
from k3s_daas.deadlines import MOST_PARKINGS, DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.ledger import Abort, EpochInfo, ExecutionOutcome, SignedTransaction
from k3s_daas.sui.transactions import decode_transaction, transaction_digest
from tests.unit.gateway_world import LocalAws, World, echo

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SESSION = (("Kubectl-Session", "5e7d2f2c-0d3b-4a8e-9d3e-0f6c2f6d7a10"),)
IMPATIENT = replace(DeadlineSettings(), gateway_wait_ms=300)


class Crash(BaseException):
    """The process dies here."""


class MortalClient:
    """A DynamoDB client in a process that dies before or after its nth write from now on."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._left = -1
        self._carried_out = False
        self._state: RequestState | None = None
        self.request_ids: list[bytes] = []

    def die_at(self, write: int, *, carried_out: bool) -> None:
        self._left, self._carried_out = write, carried_out

    def die_at_state(self, state: RequestState, *, carried_out: bool) -> None:
        """At the write that says this of a record."""
        self._state, self._carried_out = state, carried_out

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("put_item", "update_item"):
            return found

        def write(**arguments: Any) -> Any:
            self._left -= 1
            state = arguments.get("ExpressionAttributeValues", {}).get(":state", {}).get("S")
            dies = self._left == 0 or (state is not None and state == self._state)
            if dies:
                self._state = None
            if dies and not self._carried_out:
                raise Crash
            answer = found(**arguments)
            if name == "put_item":
                self.request_ids.append(bytes(arguments["Item"]["id"]["B"]))
            if dies:
                raise Crash
            return answer

        return write


class Stage:
    """A gateway whose process dies on demand, and a cluster that answers on demand."""

    def __init__(self, aws: LocalAws) -> None:
        self.world = World(aws, deadlines=IMPATIENT)
        self.client = MortalClient(aws.dynamodb)
        self.world.store._client = self.client  # type: ignore[assignment] # a test double
        self.world.chain.respond = None
        self.ran: list[bytes] = []

    def send(self) -> HttpReply:
        return self.world.send(CONFIG_MAPS, "POST", b"{}", headers=SESSION)

    def after(self, seconds: int) -> None:
        """Let time pass, for the gateway and the chain, and sweep."""
        self.world.ahead_ms = seconds * 1000
        self.world.chain.timestamp_ms = self.world.now_ms()
        self.world.gateway.sweep()

    def answer(self) -> None:
        """The listener answers what the chain accepted."""
        chain = self.world.chain
        chain.respond = self._run
        for digest, transaction in list(chain.transactions.items()):
            if transaction.signatures == [b""]:
                chain.answer(transaction.bcs, digest)
        chain.respond = None

    def _run(self, request: RequestEnvelope) -> ResponseEnvelope:
        self.ran.append(request.body)
        return echo(request)

    @property
    def sent(self) -> int:
        return len(self.world.chain.executed)

    @property
    def commands(self) -> int:
        return len(set(self.world.chain.executed))

    def record(self, index: int = 0) -> RequestRecord:
        found = self.world.store.get(self.client.request_ids[index])
        assert found is not None
        return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mock_aws():
        stage = Stage(LocalAws())
        yield stage
        stage.world.close()


# The writes of a slow command, in order. The second exchange begins with the sixth.
WRITES = [
    "reserve",
    "signed",
    "submitted",
    "parked",
    "place",
    "take place",
    "take record",
    "parked again",
    "place again",
]
SECOND_EXCHANGE = WRITES.index("place") + 1
POINTS = [(write, carried_out) for write in range(1, len(WRITES) + 1) for carried_out in (False, True)]


@pytest.mark.parametrize(
    ("write", "carried_out"),
    POINTS,
    ids=[f"{'after' if carried_out else 'before'} {WRITES[write - 1]}" for write, carried_out in POINTS],
)
def test_wherever_a_function_dies_its_record_is_brought_to_an_end(
    stage: Stage, write: int, carried_out: bool
) -> None:
    stage.client.die_at(write, carried_out=carried_out)
    if write > SECOND_EXCHANGE:
        assert stage.send().status == 503
    with pytest.raises(Crash):
        stage.send()
    stage.after(10)
    stage.answer()
    sent = stage.sent
    stage.after(60)
    stage.after(400)
    assert stage.sent == sent, "something was sent after start_by"
    signed = (write, carried_out) >= (2, True)
    assert (stage.commands, len(stage.ran)) == ((1, 1) if signed else (0, 0))
    if not stage.client.request_ids:
        assert (write, carried_out) == (1, False)
        return
    record = stage.record()
    assert record.state is (RequestState.ANSWERED if signed else RequestState.EXPIRED)
    assert record.request.wrapped_reply_key == b""


def executed_then_dead(stage: Stage) -> Callable[[bytes], ExecutionOutcome]:
    def die(transaction: bytes) -> ExecutionOutcome:
        stage.world.chain.accept(transaction)
        raise Crash

    return die


def dead(transaction: bytes) -> ExecutionOutcome:
    raise Crash


@pytest.mark.parametrize("arrived", [True, False])
def test_death_while_sending_sends_the_same_bytes_once_more(stage: Stage, arrived: bool) -> None:
    stage.world.chain.outcomes.append(executed_then_dead(stage) if arrived else dead)
    with pytest.raises(Crash):
        stage.send()
    stage.after(10)
    assert (stage.sent, stage.commands) == (2, 1)
    assert stage.record().state is RequestState.SUBMITTED


def revoked(transaction: bytes) -> ExecutionOutcome:
    abort = Abort("seal", None, 305, 0)
    return ExecutionOutcome(transaction_digest(transaction), success=False, abort=abort, failure="abort")


def failed_on_chain(stage: Stage) -> Callable[[bytes], ExecutionOutcome]:
    """The contract refuses, and the chain can be asked for it afterwards."""

    def fail(transaction: bytes) -> ExecutionOutcome:
        digest = transaction_digest(transaction)
        stage.world.chain.transactions[digest] = SignedTransaction(digest, transaction, [b"x"], success=False)
        return revoked(transaction)

    return fail


def stale(transaction: bytes) -> ExecutionOutcome:
    raise TransactionRefusedError("gas-price", "the price is not the epoch's")


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_death_around_the_answer_changes_nothing_about_it(stage: Stage, carried_out: bool) -> None:
    stage.world.chain.respond = stage._run
    stage.client.die_at_state(RequestState.ANSWERED, carried_out=carried_out)
    with pytest.raises(Crash):
        stage.send()
    for seconds in (400, 401):
        stage.after(seconds)
    record = stage.record()
    assert (record.state, record.status_code) == (RequestState.ANSWERED, 200)
    assert record.request.wrapped_reply_key == b""
    assert (stage.sent, len(stage.ran)) == (1, 1)


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_death_around_a_refusal_ends_as_one(stage: Stage, carried_out: bool) -> None:
    stage.world.chain.outcomes.append(failed_on_chain(stage))
    stage.client.die_at(3, carried_out=carried_out)
    with pytest.raises(Crash):
        stage.send()
    stage.after(60)
    assert (stage.record().state, stage.sent) == (RequestState.REFUSED, 1)


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_death_around_new_bytes_runs_one_of_the_two_at_most(stage: Stage, carried_out: bool) -> None:
    """The first bytes were refused for good; what is on record when the function dies is what is sent."""
    stage.send()
    stage.client.request_ids.clear()
    chain = stage.world.chain
    chain.executed.clear()
    chain.epoch_info = EpochInfo(8, 2_000)
    chain.outcomes.append(stale)
    # Reserved, signed, and signed anew; the place is taken by the first command.
    stage.client.die_at(3, carried_out=carried_out)
    with pytest.raises(Crash):
        stage.world.send(CONFIG_MAPS, "POST", b"{ }", headers=SESSION)
    stage.after(10)
    record = stage.record()
    assert record.transaction is not None
    price = decode_transaction(record.transaction.data).data.gas.price
    assert (record.state, record.fence, price) == (
        RequestState.SUBMITTED,
        3 if carried_out else 2,
        2_000 if carried_out else 1_000,
    )
    assert chain.executed[-1] == record.transaction.data
    # The sweeper makes no bytes of its own.
    assert set(chain.executed) <= {chain.executed[0], record.transaction.data}


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_death_when_too_late_to_send_ends_as_expired(stage: Stage, carried_out: bool) -> None:
    sign = stage.world.signer.sign

    def slowly(transaction: bytes) -> bytes:
        stage.world.ahead_ms += 30_000
        return sign(transaction)

    stage.world.signer.sign = slowly  # type: ignore[method-assign] # the script of this test
    try:
        # Reserved, signed, expired.
        stage.client.die_at(3, carried_out=carried_out)
        with pytest.raises(Crash):
            stage.send()
    finally:
        stage.world.signer.sign = sign  # type: ignore[method-assign] # back to its own
    stage.after(60)
    assert (stage.record().state, stage.sent) == (RequestState.EXPIRED, 0)


class TestInsideAdoption:
    """The first exchange sent the bytes, heard nothing, and parked the command all the same."""

    @pytest.fixture
    def parked(self, stage: Stage) -> Stage:
        def unheard(transaction: bytes) -> ExecutionOutcome:
            raise LedgerUnavailableError("the connection broke")

        stage.world.chain.outcomes += [unheard] * 4
        assert stage.send().status == 503
        assert stage.record().state is RequestState.PARKED
        return stage

    # Writes of the second exchange: the place, the record; then the same bytes go out, and it is submitted.
    @pytest.mark.parametrize(
        ("write", "carried_out"), [(write, done) for write in (1, 2, 3) for done in (False, True)]
    )
    def test_wherever_it_dies_the_command_runs_once_at_most(
        self, parked: Stage, write: int, carried_out: bool
    ) -> None:
        parked.client.die_at(write, carried_out=carried_out)
        with pytest.raises(Crash):
            parked.send()
        parked.after(10)
        parked.answer()
        parked.after(400)
        assert parked.commands == 1
        # Only where a retry had the record may it have been sent again; else its time is over by now.
        arrived = (write, carried_out) >= (2, True)
        assert len(parked.ran) == (1 if arrived else 0)
        expected = RequestState.ANSWERED if arrived else RequestState.EXPIRED
        assert parked.record().state is expected

    def test_death_while_it_sends_again(self, parked: Stage) -> None:
        parked.world.chain.outcomes.append(executed_then_dead(parked))
        with pytest.raises(Crash):
            parked.send()
        parked.after(10)
        assert (parked.record().state, parked.commands) == (RequestState.SUBMITTED, 1)


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
