"""What one seal may use up, and how long its requests are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import PayloadReference
from k3s_daas.contract.objects import RequestState
from tests.move.harness import Chain
from tests.move.world import DAY_MS, PAYLOAD, READ, ROLE, WRITE, Seal, World, administering

MINUTE_MS = 60_000
MIST_PER_BYTE = 7_600
REQUEST_BYTES = 700


@pytest.fixture(scope="module")
def own(chain: Chain) -> World:
    """A cluster whose policy these tests change."""
    return World.create(chain)


def request_of(world: World, seal: Seal, command: calls.Command) -> RequestState:
    field = request_object_id(world.package, seal.ref.id, command.request_id)
    return RequestState.decode(world.chain.read(field))


def at_the_beginning_of_a_minute(chain: Chain) -> None:
    chain.clock.advance(MINUTE_MS - chain.now_ms % MINUTE_MS)


def at_the_beginning_of_a_day(chain: Chain) -> None:
    chain.clock.advance(DAY_MS - chain.now_ms % DAY_MS)


# Commands in a minute


def test_commands_are_counted_by_the_minute_of_the_clock(chain: Chain, own: World) -> None:
    own.set_policy(commands_per_minute=3)
    seal = own.holder()
    at_the_beginning_of_a_minute(chain)
    chain.clock.advance(MINUTE_MS - 1)
    for attributes in (READ, WRITE, READ):
        own.execute(seal, own.command(seal, attributes=attributes))
    assert own.refuses(seal) == "ERateExceeded"
    usage = own.seal_state(seal).usage
    assert (usage.minute, usage.commands) == (chain.now_ms // MINUTE_MS, 3)
    chain.clock.advance(1)
    own.execute(seal)
    assert own.seal_state(seal).usage.commands == 1
    own.set_policy(commands_per_minute=1_000)


def test_refused_commands_count_for_nothing(own: World) -> None:
    own.set_policy(commands_per_minute=1)
    seal = own.holder(read_only=True)
    for _ in range(3):
        assert own.refuses(seal, attributes=WRITE) == "ESessionReadOnly"
    own.execute(seal)
    assert own.refuses(seal) == "ERateExceeded"
    own.set_policy(commands_per_minute=1_000)


def test_a_rate_is_the_seals_own(chain: Chain, own: World) -> None:
    own.set_policy(commands_per_minute=1)
    at_the_beginning_of_a_minute(chain)
    for seal in (own.holder(), own.holder()):
        own.execute(seal)
        assert own.refuses(seal) == "ERateExceeded"
    own.set_policy(commands_per_minute=1_000)


def test_a_used_id_is_reported_beyond_the_rate_too(own: World) -> None:
    own.set_policy(commands_per_minute=1)
    seal = own.holder()
    command = own.execute(seal)
    assert own.chain.abort(own.gateway, own.executing(seal, command)) == "ERequestExists"
    own.set_policy(commands_per_minute=1_000)


# Deposit in a day

ATTRIBUTES = {
    "a read": READ,
    "long texts": OnChainAttributes("v" * 32, "g" * 253, "w" * 63, "r" * 63, "s" * 63, "n" * 63, "o" * 253),
    "a URL": OnChainAttributes("get", non_resource_url="/api/*"),
}


def estimate(attributes: OnChainAttributes) -> int:
    """The deposit as `docs/contract.md` states it."""
    texts = sum(len(text.encode()) for text in attributes.values())
    return (REQUEST_BYTES + len(ROLE) + texts) * MIST_PER_BYTE


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_the_estimate_is_a_little_more_than_what_payers_advance(world: World, kind: str) -> None:
    seal = world.holder()
    command = world.execute(seal, world.command(seal, attributes=ATTRIBUTES[kind]))
    counted = world.seal_state(seal).usage.deposit
    assert counted == estimate(ATTRIBUTES[kind])
    longest = PayloadReference(b"r" * 128, bytes(32), 1)
    world.answer(seal, command.request_id, payload=longest)
    field = request_object_id(world.package, seal.ref.id, command.request_id)
    advanced = world.chain.object(field).storage_rebate
    assert 0 <= counted - advanced <= 40 * MIST_PER_BYTE


def test_a_seal_costs_the_payers_the_same_before_and_after_its_commands(chain: Chain, world: World) -> None:
    seal = world.holder()
    before = chain.object(seal.ref.id).storage_rebate
    world.execute(seal)
    assert chain.object(seal.ref.id).storage_rebate == before


def test_deposits_are_counted_by_the_day_of_the_clock(chain: Chain, own: World) -> None:
    one = estimate(READ)
    own.set_policy(deposit_per_day=2 * one)
    seal = own.stake()
    at_the_beginning_of_a_day(chain)
    own.open_session(seal, expires_at_ms=chain.now_ms + 2 * DAY_MS)
    own.execute(seal)
    chain.clock.advance(DAY_MS - 1)
    own.execute(seal)
    assert own.refuses(seal) == "EDepositExceeded"
    usage = own.seal_state(seal).usage
    assert (usage.day, usage.deposit) == (chain.now_ms // DAY_MS, 2 * one)
    chain.clock.advance(1)
    own.execute(seal)
    assert own.seal_state(seal).usage.deposit == one
    own.set_policy(deposit_per_day=10**12)


def test_one_mist_too_few_is_too_few(own: World) -> None:
    own.set_policy(deposit_per_day=estimate(READ) - 1)
    seal = own.holder()
    assert own.refuses(seal) == "EDepositExceeded"
    own.set_policy(deposit_per_day=estimate(READ))
    own.execute(seal)
    own.set_policy(deposit_per_day=10**12)


def test_a_limit_that_was_lowered_below_what_is_used_holds(own: World) -> None:
    seal = own.holder()
    own.execute(seal)
    own.set_policy(deposit_per_day=1)
    assert own.refuses(seal) == "EDepositExceeded"
    own.set_policy(deposit_per_day=2**64 - 1)
    own.execute(seal)
    own.set_policy(deposit_per_day=10**12)


# How long requests are kept

READ_TTL_MS, WRITE_TTL_MS, STEP_MS, MAX_TTL_MS = 10_000, 20_000, 3_000, 40_000
TTLS = [
    (READ, 0, 10_000),
    (WRITE, 0, 20_000),
    (READ, 4, 22_000),
    (WRITE, 4, 32_000),
    (READ, 9, 37_000),
    (WRITE, 9, 40_000),
    (OnChainAttributes("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"), 0, 10_000),
    (replace(READ, subresource="proxy"), 0, 20_000),
]


@pytest.fixture(scope="module")
def keeping(chain: Chain) -> World:
    world = World.create(chain)
    world.set_policy(
        read_ttl_ms=READ_TTL_MS, write_ttl_ms=WRITE_TTL_MS, ttl_per_priority_ms=STEP_MS, max_ttl_ms=MAX_TTL_MS
    )
    everything = {"verbs": ["*"], "api_groups": ["*"], "resources": ["*", "pods/proxy"]}
    for priority in (0, 4, 9):
        name = f"priority-{priority}"
        world.administer(
            administering(calls.define_role, name=name, priority=priority, stake=0, is_open=True),
            administering(calls.add_rule, role=name, **everything),
        )
    return world


@pytest.mark.parametrize(("attributes", "priority", "ttl_ms"), TTLS, ids=repr)
def test_requests_are_kept_by_verb_and_priority(
    chain: Chain, keeping: World, attributes: OnChainAttributes, priority: int, ttl_ms: int
) -> None:
    seal = keeping.holder(role=f"priority-{priority}")
    command = keeping.execute(seal, keeping.command(seal, attributes=attributes, payload=PAYLOAD))
    assert request_of(keeping, seal, command).expires_at_ms == command.answer_by_ms + ttl_ms
    chain.clock.advance(500)
    keeping.answer(seal, command.request_id)
    assert request_of(keeping, seal, command).expires_at_ms == chain.now_ms + ttl_ms


def test_an_answer_is_kept_as_the_policy_says_when_it_comes(chain: Chain, own: World) -> None:
    seal = own.holder()
    command = own.execute(seal)
    own.set_policy(read_ttl_ms=5, ttl_per_priority_ms=2)
    own.answer(seal, command.request_id)
    assert request_of(own, seal, command).expires_at_ms == chain.now_ms + 7


def test_priority_is_the_one_of_the_role_when_the_command_came(own: World) -> None:
    seal = own.holder()
    first = own.execute(seal)
    own.administer(
        administering(calls.define_role, name=ROLE, priority=7, stake=0, is_open=True),
        administering(calls.add_rule, role=ROLE, verbs=["*"], api_groups=["*"], resources=["*"]),
    )
    second = own.execute(seal)
    assert [request_of(own, seal, command).priority for command in (first, second)] == [1, 7]
