"""Rotation of the sealing key while processes die, services are away and leaders sleep."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3s_daas.errors import MoveAbortError
from listener_service.keys.errors import KeyServiceAwayError, KeyServiceRefusesError
from listener_service.keys.generations import (
    Announced,
)
from listener_service.keys.rotation import KeyRotation
from listener_service.kube_objects import KubeUnavailableError
from listener_service.leadership import NotLeadingError
from tests.unit.key_rig import DAY_S, KilledError, Rig, errors, failing, leading


async def counted_calls() -> int:
    """How many calls a rotation makes."""
    rig = Rig()
    rotation = await rig.led()
    rig.later(DAY_S)
    rig.faults.calls.clear()
    await rig.step(rotation)
    return len(rig.faults.calls)


@pytest.mark.parametrize("reply_lost", [False, True])
@pytest.mark.parametrize("first_key", [False, True])
async def test_whoever_dies_in_between_is_succeeded_without_loss(first_key: bool, reply_lost: bool) -> None:
    """Dies before, and directly after, every single call of a rotation."""
    calls = await counted_calls()
    died = 0
    for at in range(calls):
        rig = Rig()
        rotation = rig.process() if first_key else await rig.led()
        rig.later(DAY_S)
        rig.faults.calls.clear()

        def die(_: str, rig: Rig = rig, at: int = at) -> None:
            if len(rig.faults.calls) == at + 1:
                raise KilledError

        if reply_lost:
            rig.faults.after = die
        else:
            rig.faults.before = die
        try:
            await (rotation.prepare() if first_key else rig.step(rotation))
        except KilledError:
            died += 1
        rig.faults.before = rig.faults.after = lambda call: None
        successor = await rig.led()
        announced = rig.chain.announced
        assert announced.key_id == rig.key_ids[-1]
        assert announced.number == (1 if first_key else 2)
        assert len(rig.key_ids) == announced.number
        # Whatever was ever announced, and may still be sealed for, is open.
        assert {seen.key_id for seen in rig.chain.seen} <= rig.opens(successor)
    assert died >= (2 if reply_lost else 6)


@pytest.mark.parametrize("error", [KeyServiceAwayError, KeyServiceRefusesError])
async def test_a_key_service_that_is_away_or_refuses_at_a_rotation_leaves_the_present_key(
    caplog: pytest.LogCaptureFixture, error: type[KeyServiceAwayError]
) -> None:
    rig = Rig()
    rotation = await rig.led()
    [old] = rig.key_ids
    rig.later(2 * DAY_S)
    rig.faults.before = failing("wrap", error("KMS says why not"))
    await rig.step(rotation)
    await rig.step(rotation)
    assert (rig.key_ids, rig.chain.announced.key_id, rig.opens(rotation)) == ([old], old, {old})
    assert errors(caplog) == ["the sealing keys stay as they are, trying again"] * 2
    rig.faults.before = lambda call: None
    await rig.step(rotation)
    assert rig.chain.announced.number == 2


@pytest.mark.parametrize("error", [KeyServiceAwayError, KeyServiceRefusesError])
async def test_a_key_service_that_is_away_or_refuses_at_the_start_is_waited_for(
    caplog: pytest.LogCaptureFixture, error: type[KeyServiceAwayError]
) -> None:
    """A restart would change nothing, and to tell somebody to remove the key would lose it."""
    rig = Rig()
    await rig.led()
    attempts: list[str] = []

    def away_at_first(call: str) -> None:
        if call == "unwrap":
            attempts.append(call)
            if len(attempts) < 4:
                raise error("KMS says why not")

    rig.faults.before = away_at_first
    rotation = await rig.led()
    assert len(attempts) == 4
    assert rig.opens(rotation) == set(rig.key_ids)
    assert len(rig.key_ids) == 1
    assert len(errors(caplog)) == 3


async def test_a_successor_can_lead_while_the_key_service_cannot_wrap() -> None:
    rig = Rig()
    await rig.led()
    rig.later(2 * DAY_S)
    rig.faults.before = failing("wrap", KeyServiceAwayError("KMS cannot be reached"))
    successor = await rig.led()
    assert rig.opens(successor) == set(rig.key_ids)


async def test_a_generation_that_cannot_be_opened_again_is_not_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The key service encrypts for us and does not decrypt."""
    rig = Rig()
    rotation = await rig.led()
    rig.later(DAY_S)
    rig.faults.before = failing("unwrap", KeyServiceAwayError("KMS cannot be reached"))
    await rig.step(rotation)
    assert len(rig.key_ids) == 2
    assert rig.chain.announced == Announced(1, rig.key_ids[0])
    assert errors(caplog)
    rig.faults.before = lambda call: None
    await rig.step(rotation)
    assert rig.chain.announced == Announced(2, rig.key_ids[1])


async def test_a_leader_who_slept_before_it_announced_comes_too_late() -> None:
    rig = Rig()
    sleeper = await rig.led()
    rig.later(DAY_S)
    successors: list[KeyRotation] = []

    async def overtaken(key: object, number: int) -> None:
        """The sleeper's announcement; meanwhile somebody else led, and rotated once more."""
        rig.chain.announce = announce  # type: ignore[method-assign] # the sleeper's call alone is replaced
        successors.append(await rig.led())
        rig.later(DAY_S)
        await rig.step(successors[0])
        with pytest.raises(MoveAbortError):
            await announce(key, number)  # type: ignore[arg-type] # it is passed on
        raise MoveAbortError("cluster", 118)

    announce = rig.chain.announce
    rig.chain.announce = overtaken  # type: ignore[method-assign] # for one call
    await rig.step(sleeper)
    assert [seen.number for seen in rig.chain.seen] == [1, 2, 3]
    assert rig.chain.announced.key_id in rig.opens(successors[0])
    assert rig.chain.announced.key_id == rig.key_ids[-1]


async def test_a_leader_who_slept_before_it_wrote_writes_nothing() -> None:
    rig = Rig()
    sleeper = await rig.led()
    rig.later(DAY_S)
    written = rig.store.replace

    async def overtaken(*arguments: object, **named: object) -> object:
        rig.store.replace = written  # type: ignore[method-assign] # for one call
        await rig.led()
        return await written(*arguments, **named)  # type: ignore[arg-type] # it is passed on

    rig.store.replace = overtaken  # type: ignore[assignment, method-assign] # for one call
    await rig.step(sleeper)
    assert [seen.number for seen in rig.chain.seen] == [1, 2]
    assert len(rig.key_ids) == 2


@pytest.mark.parametrize("call", ["wrap", "unwrap", "look", "read"])
async def test_nothing_is_written_or_announced_after_the_term(call: str) -> None:
    rig = Rig()
    term = leading()
    rig.faults.before = lambda name: term.end() if name == call else None
    with pytest.raises(NotLeadingError):
        await rig.process(term).prepare()
    assert rig.chain.seen == []
    assert len(rig.store.history) == (1 if call == "unwrap" else 0)


async def test_a_write_whose_reply_is_lost_counts() -> None:
    rig = Rig()
    lost: list[str] = []

    def lose(call: str) -> None:
        if call == "replace" and not lost:
            lost.append(call)
            raise KubeUnavailableError("the reply was lost")

    rig.faults.after = lose
    await rig.led()
    assert lost
    assert [seen.key_id for seen in rig.chain.seen] == rig.key_ids
    assert len(rig.key_ids) == 1


async def test_an_announcement_is_not_repeated_while_the_endpoint_lags(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rotation = await rig.led()
    rig.later(DAY_S)
    before = rig.chain.announced
    behind = rig.chain.look

    async def lagging() -> object:
        return replace(await behind(), announced=before)

    rig.chain.look = lagging  # type: ignore[assignment, method-assign] # until it has caught up
    await rig.step(rotation)
    await rig.step(rotation)
    assert [seen.number for seen in rig.chain.seen] == [1, 2]
    assert "the chain does not show the announced key yet" in caplog.text
    rig.chain.look = behind  # type: ignore[method-assign] # it has
    await rig.step(rotation)
    assert [item.superseded_ms is None for item in rig.store.generations.items] == [False, True]
