"""The administrator: what a cluster may be, who may change it, and what every change announces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.calls import Response
from k3s_daas.ids import new_request_id
from tests.move.harness import Chain, Compose
from tests.move.world import ANSWER, DAY_MS, HPKE_KEY, POLICY, ROLE, Administration, World, administering

RULE: dict[str, Any] = {"verbs": ["get"], "api_groups": [""], "resources": ["pods"]}
SOMEBODY = b"\7" * 32
DAY = DAY_MS


@pytest.fixture(scope="module")
def own(chain: Chain) -> World:
    """A cluster that these tests change, and leave as it was."""
    return World.create(chain)


@pytest.fixture(scope="module")
def other(chain: Chain) -> World:
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
    "ClusterPaused": calls.pause,
    "ClusterResumed": calls.resume,
    "GatewayAdded": administering(calls.add_gateway, SOMEBODY),
    "GatewayRemoved": administering(calls.remove_gateway, SOMEBODY),
    "ExecutorAdded": administering(calls.add_executor, executor=SOMEBODY, hpke_key=HPKE_KEY),
    "ExecutorRemoved": administering(calls.remove_executor, SOMEBODY),
    "RoleDefined": administering(calls.define_role, name="some", priority=2, stake=3, is_open=False),
    "RuleAdded": administering(calls.add_rule, role="some", **RULE),
    "GrantAdded": administering(calls.grant, holder=SOMEBODY, role="some", expires_at_ms=9),
    "GrantRemoved": administering(calls.remove_grant, holder=SOMEBODY, role="some"),
}


def test_every_change_is_announced(chain: Chain) -> None:
    world = World.create(chain)
    receipt = world.administer(*ADMINISTRATION.values())
    assert [name for name, _ in receipt.events] == list(ADMINISTRATION)
    some = b"\4some"
    told = {
        "GatewayAdded": SOMEBODY,
        "ExecutorRemoved": SOMEBODY,
        "RoleDefined": some + b"\2" + (3).to_bytes(8, "little") + b"\0",
        "RuleAdded": some,
        "GrantAdded": SOMEBODY + some + (9).to_bytes(8, "little"),
        "GrantRemoved": SOMEBODY + some,
    }
    for name, contents in told.items():
        assert receipt.event(name) == world.cluster.id + contents


@pytest.mark.parametrize("change", ADMINISTRATION)
def test_nothing_changes_with_another_clusters_capability(
    chain: Chain, own: World, other: World, change: str
) -> None:
    forged = replace(other, cluster=own.cluster)
    before = chain.object(own.cluster.id).contents
    assert forged.refuses_administration(ADMINISTRATION[change]) == "ENotClusterCapability"
    assert chain.object(own.cluster.id).contents == before


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
        {"response_ttl_ms": 30 * DAY + 1},
        {"max_inline_bytes": 0},
        {"max_inline_bytes": 120_001},
    ],
    ids=repr,
)
def test_a_policy_is_bounded(chain: Chain, own: World, changes: dict[str, int]) -> None:
    assert chain.abort(own.admin, creating(chain, policy=replace(POLICY, **changes))) == "EInvalidPolicy"


def test_policies_at_the_bounds_work(chain: Chain) -> None:
    widest = calls.Policy(2**64 - 1, 30 * DAY, 366 * DAY, 600_000, DAY, 2 * DAY, 30 * DAY, 120_000)
    narrowest = calls.Policy(0, 0, 1, 1, 2, 3, 0, 1)
    world = World.create(chain, widest)
    seal = world.holder(expires_at_ms=chain.now_ms + 366 * DAY)
    latest: dict[str, Any] = {"start_by_ms": 600_000, "finish_by_ms": DAY, "answer_by_ms": 2 * DAY}
    times: dict[str, Any] = {name: chain.now_ms + after for name, after in latest.items()}
    world.execute(seal, world.command(seal, **times))
    world.administer(
        administering(calls.revoke, seal.ref),
        administering(calls.set_policy, narrowest),
    )


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ([ADMINISTRATION["GatewayAdded"]] * 2, "EAlreadyRegistered"),
        ([ADMINISTRATION["ExecutorAdded"]] * 2, "EAlreadyRegistered"),
        ([ADMINISTRATION["GatewayRemoved"]], "EUnknownGateway"),
        ([ADMINISTRATION["ExecutorRemoved"]], "EUnknownExecutor"),
        ([ADMINISTRATION["RuleAdded"]], "EUnknownRole"),
        ([ADMINISTRATION["GrantAdded"]], "EUnknownRole"),
        ([ADMINISTRATION["GrantRemoved"]], "EUnknownGrant"),
    ],
)
def test_changes_that_make_no_sense_are_refused(
    own: World, changes: list[Administration], refused: str
) -> None:
    assert own.refuses_administration(*changes) == refused


@pytest.mark.parametrize("length", [0, 32, 1_215, 1_217])
def test_a_sealing_key_has_its_length(own: World, length: int) -> None:
    adding = administering(calls.add_executor, executor=SOMEBODY, hpke_key=bytes(length))
    assert own.refuses_administration(adding) == "EInvalidHpkeKey"


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
        lambda number: administering(calls.add_executor, executor=address(number), hpke_key=HPKE_KEY),
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


def test_another_version_of_the_package_is_left_alone(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = world.execute(seal)
    contents = chain.object(world.cluster.id).contents
    assert contents[32:40] == (1).to_bytes(8, "little")
    chain.forge(world.cluster.id, contents[:32] + (2).to_bytes(8, "little") + contents[40:])

    for change in ADMINISTRATION.values():
        assert world.refuses_administration(change) == "EUnsupportedVersion"
    revoking = administering(calls.revoke, seal.ref)
    assert world.refuses_administration(revoking) == "EUnsupportedVersion"
    assert world.refuses(seal, request_id=new_request_id(chain.now_ms)) == "EUnsupportedVersion"
    answering = world.answering(seal, Response(command.request_id, 200, ANSWER))
    assert chain.abort(world.executor, answering) == "EUnsupportedVersion"
    assert chain.abort(seal.owner, world.staking(seal.owner)) == "EUnsupportedVersion"
    assert chain.abort(seal.owner, world.opening(seal.ref, seal.session_key)) == "EUnsupportedVersion"


def test_the_ways_out_do_not_depend_on_the_version(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.stake(amount=5)
    contents = chain.object(world.cluster.id).contents
    chain.forge(world.cluster.id, contents[:32] + (2).to_bytes(8, "little") + contents[40:])
    chain.run(seal.owner, lambda builder: calls.start_unstaking(builder, world.package, seal.ref, amount=5))
    chain.clock.advance(POLICY.unbonding_ms)
    chain.run(
        seal.owner,
        lambda builder: calls.withdraw(builder, world.package, seal.ref, recipient=seal.owner.address),
    )
