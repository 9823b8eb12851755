"""Rotation of the sealing key: what is durable, announced, open and erased."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sealing import SealingPrivateKey
from listener_service.keys.generations import (
    MAX_GENERATIONS,
    SEALED_LATE_MS,
    Announced,
    Generation,
    Generations,
    decode,
    encode,
)
from listener_service.keys.keyring import Keyring
from listener_service.keys.rotation import KeyRotation
from listener_service.kube_objects import KubeUnavailableError, ObjectChangedError
from listener_service.leadership import Leadership, Term
from listener_service.replica import Replica
from listener_service.service import ListenerService
from tests.unit.key_rig import DAY_S, LONGEST_MS, OWNER, Rig, errors, failing
from tests.unit.listener_world import World


async def test_the_first_key_is_durable_and_opened_again_before_it_is_announced() -> None:
    rig = Rig()
    first = await rig.led()
    calls = [call for call in rig.faults.calls if call not in ("look", "read")]
    assert calls == ["wrap", "replace", "unwrap", "announce"]
    assert rig.chain.announced == Announced(1, rig.key_ids[0])
    assert rig.opens(first) == set(rig.key_ids)


async def test_a_key_is_replaced_at_its_age_and_the_old_one_goes_on_opening() -> None:
    rig = Rig()
    rotation = await rig.led()
    [old] = rig.key_ids
    rig.later(DAY_S - 1)
    await rig.step(rotation)
    assert rig.key_ids == [old]
    rig.later(1)
    await rig.step(rotation)
    assert rig.chain.announced == Announced(2, rig.key_ids[1])
    assert rig.opens(rotation) == {old, rig.key_ids[1]}


async def test_an_old_key_is_erased_when_nothing_sealed_for_it_can_be_open() -> None:
    rig = Rig()
    rotation = await rig.led()
    [old] = rig.key_ids
    rig.later(DAY_S)
    await rig.step(rotation)
    rig.clock.ms += SEALED_LATE_MS + LONGEST_MS
    await rig.step(rotation)
    assert old in rig.key_ids
    rig.clock.ms += 1
    await rig.step(rotation)
    assert rig.key_ids == [rig.chain.announced.key_id]
    assert not rotation.keyring.holds(bytes.fromhex(old))
    assert await rotation.keyring.find(bytes.fromhex(old)) is None


@pytest.mark.parametrize("at_first", [True, False])
async def test_the_longest_answer_of_either_time_counts(at_first: bool) -> None:
    rig = Rig()
    rotation = await rig.led()
    rig.chain.longest_answer_ms = 10 * LONGEST_MS if at_first else LONGEST_MS
    rig.later(DAY_S)
    await rig.step(rotation)
    rig.chain.longest_answer_ms = LONGEST_MS if at_first else 10 * LONGEST_MS
    rig.clock.ms += SEALED_LATE_MS + 10 * LONGEST_MS
    await rig.step(rotation)
    assert len(rig.key_ids) == 2


async def test_a_policy_that_was_lowered_counts_as_long_as_what_it_admitted_may_be_open() -> None:
    rig = Rig()
    rotation = await rig.led()
    rig.chain.longest_answer_ms = 10 * LONGEST_MS
    await rig.step(rotation)
    rig.chain.longest_answer_ms = LONGEST_MS
    rig.later(DAY_S)
    await rig.step(rotation)
    successor = await rig.led()
    assert successor.longest_answer_ms == 10 * LONGEST_MS
    rig.clock.ms += SEALED_LATE_MS + 10 * LONGEST_MS
    await rig.step(rotation)
    assert len(rig.key_ids) == 2
    rig.clock.ms += 1
    await rig.step(rotation)
    assert len(rig.key_ids) == 1
    assert (await rig.led()).longest_answer_ms == LONGEST_MS


async def leader_by(rig: Rig) -> KeyRotation:
    """One whose own clock is the rig's."""
    rotation = rig.process()
    rotation.keyring.boot_s = lambda: rig.clock.ms / 1000
    await rotation.prepare()
    return rotation


async def test_who_lost_the_lead_and_hears_nothing_more_erases_by_its_own_clock() -> None:
    rig = Rig()
    rotation = await leader_by(rig)
    rig.later(DAY_S)
    await rig.step(rotation)
    assert rotation.keyring.size == 2
    rotation.term.end()
    rig.clock.ms += SEALED_LATE_MS + LONGEST_MS
    rotation.keyring.erase_lapsed()
    assert rotation.keyring.size == 2
    rig.clock.ms += 1
    rotation.keyring.erase_lapsed()
    assert (rotation.keyring.size, rotation.keyring.in_force) == (0, None)


@pytest.mark.parametrize("away", ["look", "read", "replace"])
async def test_a_leader_keeps_its_key_and_erases_the_old_one_whoever_is_away(away: str) -> None:
    rig = Rig()
    rotation = await leader_by(rig)
    [old] = rig.key_ids
    rig.later(DAY_S)
    await rig.step(rotation)
    rig.faults.before = failing(away, KubeUnavailableError("away"))
    for _ in range(200):
        rig.later(30)
        await rig.step(rotation)
        rotation.keyring.erase_lapsed()
    assert rotation.keyring.holds(bytes.fromhex(rig.chain.announced.key_id))
    assert not rotation.keyring.holds(bytes.fromhex(old))


async def test_an_executor_that_is_added_again_gets_a_new_key_and_keeps_the_others_open() -> None:
    """Its numbers begin with 1 again, while the Secret has higher ones."""
    rig = Rig()
    rotation = await rig.led()
    for _ in range(2):
        rig.later(DAY_S)
        await rig.step(rotation)
    latest = rig.chain.announced
    assert latest.number == 3
    rig.chain.announced = Announced(0, "")
    await rig.step(rotation)
    assert rig.chain.announced.number == 1
    assert rig.chain.announced.key_id not in {seen.key_id for seen in rig.chain.seen[:-1]}
    assert latest.key_id in rig.opens(rotation)
    rig.later(DAY_S)
    await rig.step(rotation)
    assert rig.chain.announced.number == 2


@pytest.mark.parametrize("kept", ["nothing", "an older state"])
async def test_a_secret_that_was_lost_or_restored_leads_to_a_new_key(
    kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    rotation = await rig.led()
    older = rig.store.generations
    rig.later(DAY_S)
    await rig.step(rotation)
    rig.store.generations = Generations() if kept == "nothing" else older
    successor = await rig.led()
    assert rig.chain.announced.number == 3
    assert len({seen.key_id for seen in rig.chain.seen}) == 3
    assert rig.chain.announced.key_id in rig.opens(successor)
    assert any("is not in the Secret" in text for text in errors(caplog))


async def test_a_key_in_force_that_cannot_be_opened_needs_a_person() -> None:
    rig = Rig()
    await rig.led()
    [kept] = rig.store.generations.items
    rig.store.generations = Generations((replace(kept, wrapped=b"another key's"),))
    with pytest.raises(ConfigurationError, match=r"cannot be opened.*wrapping key or passphrase") as caught:
        await rig.led()
    assert "another key's" not in str(caught.value)
    assert len(rig.chain.seen) == 1


async def test_an_old_key_that_cannot_be_opened_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rotation = await rig.led()
    rig.later(DAY_S)
    await rig.step(rotation)
    old, current = rig.store.generations.items
    rig.store.generations = Generations((replace(old, wrapped=b"damaged"), current))
    successor = await rig.led()
    await rig.step(successor)
    assert rig.opens(successor) == {current.key_id}
    assert errors(caplog).count("a sealing key cannot be opened") == 1


async def test_a_wrapped_key_opens_in_its_own_place_only() -> None:
    rig = Rig()
    rotation = await rig.led()
    rig.later(DAY_S)
    await rig.step(rotation)
    old, current = rig.store.generations.items
    rig.store.generations = Generations((old, replace(current, wrapped=old.wrapped)))
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await rig.led()
    secret, _ = rig.wrapping.known[old.wrapped]
    context = {**OWNER, "generation": str(current.number), "key": current.key_id}
    swapped = replace(current, wrapped=rig.wrapping.put(secret, context))
    rig.store.generations = Generations((old, swapped))
    with pytest.raises(ConfigurationError, match="is another key"):
        await rig.led()


async def test_an_operator_gets_a_new_key_once() -> None:
    rig = Rig()
    rotation = await rig.led()
    rig.store.asked = True
    await rig.step(rotation)
    await rig.step(rotation)
    assert rig.chain.announced.number == 2
    assert not rig.store.asked


async def test_a_chain_or_api_server_that_is_away_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rotation = await rig.led()
    kept = rig.store.generations
    rig.later(DAY_S)
    for call, error in (
        ("look", LedgerUnavailableError("away")),
        ("read", KubeUnavailableError("away")),
        ("replace", ObjectChangedError(409, "changed")),
    ):
        rig.faults.before = failing(call, error)
        await rig.step(rotation)
        assert (rig.store.generations, len(rig.chain.seen)) == (kept, 1)
    assert len(errors(caplog)) == 3


async def test_logs_and_texts_show_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig = Rig()
    rotation = await rig.led()
    rig.later(DAY_S)
    await rig.step(rotation)
    texts = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    texts += (
        repr(rotation)
        + repr(rotation.keyring)
        + repr(rig.store.generations)
        + repr(rig.store.generations.items[0])
    )
    for secret, _ in rig.wrapping.known.values():
        assert secret.hex() not in texts
        assert repr(secret) not in texts
    assert rig.key_ids[0] in texts


async def test_a_term_that_ends_while_keys_are_prepared_is_followed_by_another() -> None:
    """The process stands by again; it does not end."""
    world, stop, terms = World(), asyncio.Event(), list[Term]()

    async def begin(term: Term) -> ListenerService:
        terms.append(term)
        if len(terms) == 2:
            stop.set()
        term.end()
        term.confirm()
        raise AssertionError("the term is over")

    leadership = Leadership(world.leases, "lead", "me", 15, world.clock, boot_s=lambda: world.clock.boot_s)
    await asyncio.wait_for(Replica(leadership, begin).run(stop), 10)
    assert len(terms) == 2


async def test_an_unknown_key_is_looked_for_no_more_than_once_in_five_seconds() -> None:
    looks: list[None] = []
    now = 100.0
    ring = Keyring(boot_s=lambda: now)
    key = SealingPrivateKey.generate()

    async def look() -> None:
        looks.append(None)
        if len(looks) == 2:
            ring.add(key)

    ring.look = look
    key_id = key.public_key.key_id
    assert await ring.find(key_id) is None
    assert await ring.find(key_id) is None
    assert len(looks) == 1
    now += 5
    assert await ring.find(key_id) is key
    assert await ring.find(key_id) is key
    assert len(looks) == 2


async def test_a_key_that_a_predecessor_wrote_at_the_end_is_found() -> None:
    rig = Rig()
    rotation = await rig.led()
    late = rig.process()
    rig.store.asked = True
    await late.prepare()
    key_id = bytes.fromhex(rig.chain.announced.key_id)
    assert not rotation.keyring.holds(key_id)
    found = await rotation.keyring.find(key_id)
    assert found is not None
    assert found.public_key.key_id == key_id


GENERATION = Generation("00" * 8, 1, 5, b"wrapped", 7, 9)


def test_what_is_written_is_read_again_and_nothing_else() -> None:
    kept = Generations((GENERATION, replace(GENERATION, key_id="01" * 8, superseded_ms=None)))
    assert decode(encode(kept)) == kept
    assert len(encode(Generations((replace(GENERATION, wrapped=bytes(400)),)))) < 700
    for broken in (
        b"",
        b"[]",
        b"{}",
        b'{"version":1,"generations":[{}]}',
        encode(kept).replace(b'"number":1', b'"number":-1'),
        encode(kept).replace(b'"created_ms":5', b'"created_ms":"5"'),
        encode(Generations((GENERATION, GENERATION))),
    ):
        with pytest.raises(ConfigurationError, match="was altered"):
            decode(broken)
    with pytest.raises(ConfigurationError, match="version 2"):
        decode(encode(kept).replace(b'"version":1', b'"version":2'))


def test_there_is_an_end_to_generations() -> None:
    many = tuple(replace(GENERATION, key_id=f"{number:016x}") for number in range(MAX_GENERATIONS))
    with pytest.raises(ConfigurationError, match="DAAS_KEY_ROTATION_SECONDS"):
        Generations(many).with_new(GENERATION)
