"""What a seal may use, where its session reaches, and for whom bodies are sealed: as the chain says, and no
further."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from chalicelib.sealing_keys import SealingKeys
from chalicelib.tally import CommandTally
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.objects import ExecutorState, UsageState
from k3s_daas.contract.usage import DAY_MS, MINUTE_MS, command_deposit, commands_left, deposit_left
from k3s_daas.errors import UntrustedKeyError
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.ledger import Abort, ExecutionOutcome
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.contract_world import POLICY, announced
from tests.unit.gateway_world import MakeWorld, SealTerms, World, header, status

PODS = "/api/v1/namespaces/default/pods"
LIST_PODS = OnChainAttributes("list", "", "v1", "pods", "", "default")


@pytest.fixture
def forgetful(make: MakeWorld) -> World:
    """Reads the chain's state for every command."""
    return make(admission_ttl_ms=1)


@pytest.fixture
def patient(make: MakeWorld) -> World:
    """Reads the chain's state once and keeps it for the whole test, however slow that is."""
    return make(admission_ttl_ms=3_600_000)


def first_cause(parsed: dict[str, object]) -> str:
    details = parsed["details"]
    assert isinstance(details, dict)
    return str(details["causes"][0]["reason"])


def used(world: World, *, commands: int = 0, deposit: int = 0) -> SealTerms:
    """A seal that has used this much in the present minute and day, which last for the whole test."""
    world.stop_clock_early_in_a_minute()
    minute, day = world.now_ms() // MINUTE_MS, world.now_ms() // DAY_MS
    return SealTerms(usage=UsageState(minute, commands, day, deposit))


# Rates


def test_what_is_left_counts_only_the_present_minute_and_day() -> None:
    now = 100 * DAY_MS + 5 * MINUTE_MS
    present = UsageState(now // MINUTE_MS, 7, now // DAY_MS, 9)
    assert commands_left(present, POLICY, now) == POLICY.commands_per_minute - 7
    assert deposit_left(present, POLICY, now) == POLICY.deposit_per_day - 9
    assert commands_left(present, POLICY, now + MINUTE_MS) == POLICY.commands_per_minute
    assert deposit_left(present, POLICY, now + DAY_MS) == POLICY.deposit_per_day


def test_a_deposit_is_for_the_texts_that_the_chain_stores() -> None:
    assert command_deposit("viewer", LIST_PODS) == (700 + 6 + 4 + 2 + 4 + 7) * 7_600


def test_a_seal_over_its_rate_is_told_when_to_come_back_and_costs_no_gas(world: World) -> None:
    world.set_seal(used(world, commands=POLICY.commands_per_minute))
    reply = world.send(PODS)
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (429, "TooManyRequests")
    assert first_cause(parsed) == "ERateExceeded"
    # The clock stands at 10 s, and the chain's may be 5 s behind it.
    assert header(reply, "Retry-After") == "55"
    assert world.chain.executed == []


def test_a_seal_over_its_deposit_is_not_told_to_retry(world: World) -> None:
    deposit = command_deposit("operator", LIST_PODS)
    world.set_seal(used(world, deposit=POLICY.deposit_per_day - deposit + 1))
    reply = world.send(PODS)
    assert (reply.status, first_cause(status(reply))) == (429, "EDepositExceeded")
    assert header(reply, "Retry-After") is None
    assert world.chain.executed == []
    world.set_seal(used(world, deposit=POLICY.deposit_per_day - deposit))
    assert world.send(PODS).status == 200


def test_counts_of_an_earlier_minute_are_over(world: World) -> None:
    world.stop_clock_early_in_a_minute()
    minute, day = world.now_ms() // MINUTE_MS, world.now_ms() // DAY_MS
    spent = UsageState(minute - 1, POLICY.commands_per_minute, day - 1, POLICY.deposit_per_day)
    world.set_seal(SealTerms(usage=spent))
    assert world.send(PODS).status == 200


def test_a_minute_that_has_just_ended_here_may_not_have_ended_on_chain(world: World) -> None:
    world.set_seal(used(world, commands=POLICY.commands_per_minute))
    # From 10 s to 2 s of the next minute: whoever got through now could abort, and cost gas.
    world.ahead_ms = 52_000
    reply = world.send(PODS)
    assert (reply.status, first_cause(status(reply)), header(reply, "Retry-After")) == (
        429,
        "ERateExceeded",
        "3",
    )
    assert world.chain.executed == []
    world.ahead_ms += 3_000
    assert world.send(PODS).status == 200


def test_a_day_that_has_just_ended_here_may_not_have_ended_on_chain(world: World) -> None:
    day = world.now_ms() // DAY_MS + 1
    world.stopped_at_ms = day * DAY_MS + 2_000
    usage = UsageState(0, 0, day - 1, POLICY.deposit_per_day)
    world.set_seal(SealTerms(usage=usage, expires_in_ms=3 * DAY_MS, session_expires_in_ms=3 * DAY_MS))
    token = world.token(now_ms=world.now_ms())
    assert first_cause(status(world.send(PODS, token=token))) == "EDepositExceeded"
    assert world.chain.executed == []
    world.ahead_ms = 3_000
    assert world.send(PODS, token=token).status == 200


def test_commands_that_the_cached_state_does_not_show_yet_count(patient: World) -> None:
    world = patient
    world.set_seal(used(world, commands=POLICY.commands_per_minute - 2))
    assert [world.send(PODS).status for _ in range(2)] == [200, 200]
    world.set_seal(used(world, commands=POLICY.commands_per_minute))
    # The state read at the first command is still in use: only the tally knows.
    assert world.send(PODS).status == 429
    assert len(world.chain.executed) == 2


def test_a_rate_that_only_the_contract_knows_of_is_told_alike(world: World) -> None:
    world.chain.outcomes.append(
        lambda data: ExecutionOutcome(
            transaction_digest(data), success=False, abort=Abort("seal", None, 324, 0), failure="aborted"
        )
    )
    reply = world.send(PODS)
    assert reply.status == 429
    assert 1 <= int(header(reply, "Retry-After") or "") <= 60


def test_a_tally_counts_each_seal_since_the_state_was_read() -> None:
    clock = iter([1.0, 2.0, 2.5, 9.0])
    tally = CommandTally(keep_s=5, capacity=2, monotonic=lambda: next(clock))
    for seal, deposit in ((b"a", 10), (b"a", 20), (b"b", 40)):
        tally.add(seal, deposit)
    assert tally.since(b"a", 0.0) == (2, 30)
    assert tally.since(b"a", 1.5) == (1, 20)
    assert tally.since(b"c", 0.0) == (0, 0)
    tally.add(b"c", 1)
    assert tally.since(b"a", 0.0) == (0, 0), "the seal that was quiet longest is forgotten"
    assert tally.since(b"b", 0.0) == (1, 40)


# Sessions


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (PODS, 200),
        ("/version", 200),
        ("/api/v1/namespaces/staging/pods", 403),
        ("/api/v1/pods", 403),
        ("/api/v1/nodes", 403),
    ],
)
def test_a_session_for_namespaces_reaches_them_and_discovery(world: World, target: str, code: int) -> None:
    world.set_seal(SealTerms(namespaces=("default", "dev")))
    reply = world.send(target)
    assert reply.status == code
    if code == 403:
        parsed = status(reply)
        assert first_cause(parsed) == "ESessionNamespace"
        assert "default, dev" in parsed["message"]
        assert world.chain.executed == []


# Keys


def test_an_executor_without_a_key_is_not_assigned_a_command(world: World) -> None:
    world.set_cluster(executors=[ExecutorState(world.executor.address, b"", 0, b"")])
    parsed = status(world.send(PODS))
    assert (parsed["code"], first_cause(parsed)) == (503, "EExecutorHasNoKey")
    assert world.chain.executed == []


def test_a_key_that_the_pinned_executor_did_not_sign_is_not_sealed_for(world: World) -> None:
    thief, key = FileSigner(Ed25519PrivateKey.generate()), SealingPrivateKey.generate()
    world.set_cluster(executors=[replace(announced(thief, key), address=world.executor.address)])
    parsed = status(world.send(PODS))
    assert (parsed["code"], first_cause(parsed)) == (502, "UntrustedKeyError")
    assert world.chain.executed == []


def test_a_rotated_key_is_used_as_soon_as_the_chain_shows_it(forgetful: World) -> None:
    assert forgetful.send(PODS).status == 200
    forgetful.chain.sealing_key = SealingPrivateKey.generate()
    forgetful.set_cluster(
        executors=[announced(forgetful.executor, forgetful.chain.sealing_key, generation=2)]
    )
    assert forgetful.send(PODS).status == 200


def test_an_older_key_than_one_seen_is_refused_until_the_newer_one_is_back(forgetful: World) -> None:
    old, new = (announced(forgetful.executor, forgetful.sealing_key, generation) for generation in (4, 5))
    forgetful.set_cluster(executors=[new])
    assert forgetful.send(PODS).status == 200
    forgetful.set_cluster(executors=[old])
    assert first_cause(status(forgetful.send(PODS))) == "UntrustedKeyError"
    assert len(forgetful.chain.executed) == 1
    forgetful.set_cluster(executors=[new])
    assert forgetful.send(PODS).status == 200


def test_one_generation_is_one_key(world: World) -> None:
    keys = SealingKeys(world.roots)
    first = announced(world.executor, SealingPrivateKey.generate(), generation=3)
    second = announced(world.executor, SealingPrivateKey.generate(), generation=3)
    assert keys.current(first).to_bytes() == first.hpke_key
    with pytest.raises(UntrustedKeyError, match="registered anew"):
        keys.current(second)
    assert keys.current(first).to_bytes() == first.hpke_key


# Answers


def test_an_answer_that_is_kept_elsewhere_is_not_guessed(world: World) -> None:
    world.chain.reference = b"bucket/key"
    reply = world.send(PODS)
    assert reply.status == 502
    assert "WireFormatError" in json.loads(world.logged[-1])["refused"]
