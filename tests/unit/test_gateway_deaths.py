"""A function may die at any point: its record goes on, and runs at most once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from chalicelib.request_store import RequestState

from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.ledger import EpochInfo, ExecutionOutcome, SignedTransaction
from k3s_daas.sui.transactions import decode_transaction, transaction_digest
from tests.unit.mortal_gateway import (
    CONFIG_MAPS,
    SESSION,
    Crash,
    Stage,
    dead,
    executed_then_dead,
    mortal_gateway,
    revoked,
)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mortal_gateway() as stage:
        yield stage


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


@pytest.mark.parametrize("arrived", [True, False])
def test_death_while_sending_sends_the_same_bytes_once_more(stage: Stage, arrived: bool) -> None:
    stage.world.chain.outcomes.append(executed_then_dead(stage) if arrived else dead)
    with pytest.raises(Crash):
        stage.send()
    stage.after(10)
    assert (stage.sent, stage.commands) == (2, 1)
    assert stage.record().state is RequestState.SUBMITTED


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
