"""The administrator: what a cluster may be, who may change it, and what every change announces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from k3s_daas.contract import calls
from tests.move.harness import Chain, Compose
from tests.move.world import DAY_MS, POLICY, ROLE, Administration, World, administering, issuing

RULE: dict[str, Any] = {"verbs": ["get"], "api_groups": [""], "resources": ["pods"]}
SOMEBODY = b"\7" * 32
DAY = DAY_MS


@pytest.fixture(scope="module")
def own(chain: Chain) -> World:
    """A cluster that these tests change, and leave as it was."""
    return World.create(chain)


def creating(chain: Chain, **changes: Any) -> Compose:
    terms: dict[str, Any] = {
        "name": "test",
        "listener_namespace": "daas",
        "policy": POLICY,
        "admin": SOMEBODY,
    } | changes
    return lambda builder: calls.create_cluster(builder, chain.package, **terms)


ADMINISTRATION: dict[str, Administration] = {
    "PolicyChanged": administering(calls.set_policy, POLICY),
    "ClusterPaused": administering(calls.pause),
    "ClusterResumed": administering(calls.resume),
    "GatewayAdded": administering(calls.add_gateway, SOMEBODY),
    "GatewayRemoved": administering(calls.remove_gateway, SOMEBODY),
    "ExecutorAdded": administering(calls.add_executor, SOMEBODY),
    "ExecutorRemoved": administering(calls.remove_executor, SOMEBODY),
    "RoleDefined": administering(calls.define_role, name="some", priority=2, stake=3, is_open=False),
    "RuleAdded": administering(calls.add_rule, role="some", **RULE),
    "GrantAdded": administering(calls.grant, holder=SOMEBODY, role="some", expires_at_ms=9),
    "GrantRemoved": administering(calls.remove_grant, holder=SOMEBODY, role="some"),
    "RoleRemoved": administering(calls.remove_role, name="some"),
    "CapabilityIssued": issuing("access", SOMEBODY),
}


def test_every_change_is_announced(chain: Chain) -> None:
    world = World.create(chain)
    receipt = world.administer(*ADMINISTRATION.values())
    assert [name for name, _ in receipt.events] == list(ADMINISTRATION)
    some = b"\4some"
    [capability] = receipt.created("AccessCap")
    told = {
        "PolicyChanged": b"",
        "GatewayAdded": SOMEBODY,
        "GatewayRemoved": SOMEBODY,
        "ExecutorAdded": SOMEBODY,
        "ExecutorRemoved": SOMEBODY,
        "RoleDefined": some + b"\2" + (3).to_bytes(8, "little") + b"\0",
        "RuleAdded": some,
        "GrantAdded": SOMEBODY + some + (9).to_bytes(8, "little"),
        "GrantRemoved": SOMEBODY + some,
        "RoleRemoved": some,
        "CapabilityIssued": capability + b"\6access",
    }
    for name, contents in told.items():
        assert receipt.event(name) == world.cluster.id + contents


@pytest.mark.parametrize("name", ["", "a" * 64, "Test", "a.b", "a_b", "a b", "ä"])
def test_names_are_dns_labels(chain: Chain, own: World, name: str) -> None:
    admin = own.admin
    assert chain.abort(admin, creating(chain, name=name)) == "EInvalidName"
    assert chain.abort(admin, creating(chain, listener_namespace=name)) == "EInvalidName"
    defining = administering(calls.define_role, name=name, priority=0, stake=0, is_open=True)
    assert own.refuses_administration(defining) == "EInvalidName"


def test_the_longest_names_are_accepted(chain: Chain, own: World) -> None:
    longest = "az-09" + "x" * 58
    chain.run(own.admin, creating(chain, name=longest, listener_namespace=longest))


@pytest.mark.parametrize(
    "changes",
    [
        {"unbonding_ms": 30 * DAY + 1},
        {"unbonding_ms": 2**64 - 1},
        {"max_seal_ms": 0},
        {"max_seal_ms": 366 * DAY + 1},
        {"max_start_ms": 0},
        {"max_start_ms": 600_001, "max_finish_ms": 700_000},
        {"max_finish_ms": POLICY.max_start_ms},
        {"max_finish_ms": DAY + 1, "max_answer_ms": 2 * DAY},
        {"max_answer_ms": POLICY.max_finish_ms},
        {"max_answer_ms": 2 * DAY + 1},
        {"max_slash_bps": 10_001},
        {"read_ttl_ms": 30 * DAY + 1},
        {"write_ttl_ms": 30 * DAY + 1},
        {"ttl_per_priority_ms": 30 * DAY + 1},
        {"ttl_per_priority_ms": 2**64 - 1},
        {"max_ttl_ms": 30 * DAY + 1},
        {"commands_per_minute": 0},
        {"deposit_per_day": 0},
        {"max_inline_bytes": 0},
        {"max_inline_bytes": 120_001},
    ],
    ids=repr,
)
def test_a_policy_is_bounded(chain: Chain, own: World, changes: dict[str, int]) -> None:
    assert chain.abort(own.admin, creating(chain, policy=replace(POLICY, **changes))) == "EInvalidPolicy"


def test_policies_at_the_bounds_work(chain: Chain) -> None:
    month, most = 30 * DAY, 2**64 - 1
    widest = calls.Policy(
        min_write_stake=most,
        unbonding_ms=month,
        max_slash_bps=10_000,
        max_seal_ms=366 * DAY,
        max_start_ms=600_000,
        max_finish_ms=DAY,
        max_answer_ms=2 * DAY,
        read_ttl_ms=month,
        write_ttl_ms=month,
        ttl_per_priority_ms=month,
        max_ttl_ms=month,
        commands_per_minute=most,
        deposit_per_day=most,
        max_inline_bytes=120_000,
    )
    world = World.create(chain, widest)
    world.administer(administering(calls.define_role, name="top", priority=9, stake=0, is_open=True))
    world.administer(administering(calls.add_rule, role="top", **RULE))
    seal = world.holder(role="top", expires_at_ms=chain.now_ms + 366 * DAY)
    latest: dict[str, Any] = {"start_by_ms": 600_000, "finish_by_ms": DAY, "answer_by_ms": 2 * DAY}
    times: dict[str, Any] = {name: chain.now_ms + after for name, after in latest.items()}
    command = world.execute(seal, world.command(seal, **times))
    world.answer(seal, command.request_id)
    world.revoke(seal)
    narrowest = calls.Policy(0, 0, 0, 1, 1, 2, 3, 0, 0, 0, 0, 1, 1, 1)
    world.administer(administering(calls.set_policy, narrowest))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ([ADMINISTRATION["GatewayAdded"]] * 2, "EAlreadyRegistered"),
        ([ADMINISTRATION["ExecutorAdded"]] * 2, "EAlreadyRegistered"),
        ([ADMINISTRATION["GatewayRemoved"]], "EUnknownGateway"),
        ([ADMINISTRATION["ExecutorRemoved"]], "EUnknownExecutor"),
        ([ADMINISTRATION["RuleAdded"]], "EUnknownRole"),
        ([ADMINISTRATION["GrantAdded"]], "EUnknownRole"),
        ([ADMINISTRATION["RoleRemoved"]], "EUnknownRole"),
        ([ADMINISTRATION["GrantRemoved"]], "EUnknownGrant"),
    ],
)
def test_changes_that_make_no_sense_are_refused(
    own: World, changes: list[Administration], refused: str
) -> None:
    assert own.refuses_administration(*changes) == refused


def test_a_priority_has_one_digit(own: World) -> None:
    def define(priority: int) -> Administration:
        return administering(calls.define_role, name="prior", priority=priority, stake=0, is_open=True)

    own.administer(define(9))
    assert own.refuses_administration(define(10)) == "EInvalidPriority"


def address(number: int) -> bytes:
    return number.to_bytes(32, "big")


FILLERS: dict[str, tuple[int, Callable[[int], Administration], str]] = {
    "gateways": (
        16,
        lambda number: administering(calls.add_gateway, address(number)),
        "ETooManyMembers",
    ),
    "executors": (
        16,
        lambda number: administering(calls.add_executor, address(number)),
        "ETooManyMembers",
    ),
    "roles": (
        32,
        lambda number: administering(
            calls.define_role, name=f"role-{number}", priority=0, stake=0, is_open=True
        ),
        "ETooManyRoles",
    ),
}


@pytest.mark.parametrize("kind", FILLERS)
def test_collections_are_bounded(chain: Chain, kind: str) -> None:
    limit, add, refused = FILLERS[kind]
    world = World.create(chain)
    world.administer(*(add(number) for number in range(1, limit)))
    assert world.refuses_administration(add(limit)) == refused


def test_a_full_cluster_can_still_redefine_a_role(chain: Chain) -> None:
    world = World.create(chain)
    world.administer(*(FILLERS["roles"][1](number) for number in range(1, 32)))
    world.define_role(ROLE, [RULE])
    world.execute(world.holder())


def test_a_removed_role_ends_the_commands_of_its_seals(chain: Chain, own: World) -> None:
    own.define_role("passing", [RULE])
    seal = own.holder(role="passing")
    own.execute(seal)
    own.administer(administering(calls.remove_role, name="passing"))
    assert own.refuses(seal) == "EUnknownRole"
    assert chain.abort(seal.owner, own.staking(seal.owner, role="passing")) == "EUnknownRole"
    own.define_role("passing", [RULE])
    own.execute(seal)
