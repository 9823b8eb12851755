"""Capabilities: one for each duty, good for one cluster, until they are revoked."""

from __future__ import annotations

import pytest

from k3s_daas.contract import calls
from tests.move.harness import Chain
from tests.move.test_move_cluster import ADMINISTRATION, SOMEBODY
from tests.move.world import (
    ACCESS,
    CLUSTER,
    MEMBER,
    PAUSE,
    Administration,
    World,
    administering,
    issuing,
)

DUTIES: tuple[calls.Duty, ...] = ("pause", "member", "access")
RESERVED: dict[str, Administration] = {
    "revoke_capability": administering(calls.revoke_capability, SOMEBODY),
    "migrate": administering(calls.migrate),
    "member": issuing("member", SOMEBODY),
    "pause": issuing("pause", SOMEBODY),
}
"""What the administrator does beside what `ADMINISTRATION` has."""
TAKES = {
    **{name: call.duty for name, call in ADMINISTRATION.items()},
    **{name: call.duty for name, call in RESERVED.items()},
}
CALLS = ADMINISTRATION | RESERVED


@pytest.fixture(scope="module")
def own(chain: Chain) -> World:
    """A cluster that these tests change, and leave as it was."""
    return World.create(chain)


def issue(world: World, duty: calls.Duty) -> bytes:
    [capability] = world.administer(issuing(duty, world.admin.address)).created(f"{duty.title()}Cap")
    return capability


@pytest.mark.parametrize("change", CALLS)
def test_nothing_changes_with_another_clusters_capability(
    chain: Chain, world: World, own: World, change: str
) -> None:
    before = chain.object(own.cluster.id).contents
    theirs = World(chain, world.admin, own.cluster, world.capabilities, own.gateway, own.executor)
    assert theirs.refuses_administration(CALLS[change]) == "ENotClusterCapability"
    assert chain.object(own.cluster.id).contents == before


@pytest.mark.parametrize("change", [name for name, duty in TAKES.items() if duty != CLUSTER])
def test_a_revoked_capability_can_do_nothing(chain: Chain, own: World, change: str) -> None:
    duty = CALLS[change].duty
    capability = issue(own, duty)  # type: ignore[arg-type]  # not CLUSTER, by the list above
    own.administer(administering(calls.revoke_capability, capability))
    calling = own.administration(CALLS[change], capabilities={duty: capability})
    assert chain.abort(own.admin, calling) == "ECapabilityRevoked"


def test_a_duty_is_done_by_whoever_holds_its_capability(chain: Chain, own: World) -> None:
    watcher, before = chain.account(), own.state().capabilities
    receipt = own.administer(*(issuing(duty, watcher.address) for duty in DUTIES))
    held: dict[str, bytes] = {duty: receipt.created(f"{duty.title()}Cap")[0] for duty in DUTIES}
    assert own.state().capabilities == before | set(held.values())
    work = [call for call in ADMINISTRATION.values() if call.duty != CLUSTER]
    chain.run(watcher, own.administration(*work, capabilities=held))
    assert own.state().paused
    own.administer(
        administering(calls.resume),
        *(administering(calls.revoke_capability, capability) for capability in held.values()),
    )
    assert own.state().capabilities == before


def test_pausing_cannot_be_undone_by_its_capability(own: World) -> None:
    duties = {name: call.duty for name, call in CALLS.items()}
    assert (duties["ClusterPaused"], duties["ClusterResumed"]) == (PAUSE, CLUSTER)
    assert {name for name, duty in duties.items() if duty == PAUSE} == {"ClusterPaused"}
    assert {name for name, duty in duties.items() if duty == MEMBER} == {
        "GatewayAdded",
        "GatewayRemoved",
        "ExecutorAdded",
        "ExecutorRemoved",
    }
    assert {name for name, duty in duties.items() if duty == ACCESS} == {
        "RoleDefined",
        "RoleRemoved",
        "RuleAdded",
        "GrantAdded",
        "GrantRemoved",
    }


def test_revoking_is_announced_and_done_once(own: World) -> None:
    capability = issue(own, "pause")
    revoking = administering(calls.revoke_capability, capability)
    receipt = own.administer(revoking)
    assert receipt.event("CapabilityRevoked") == own.cluster.id + capability
    assert own.refuses_administration(revoking) == "EUnknownCapability"


def test_what_is_not_issued_cannot_be_revoked(world: World, own: World) -> None:
    for capability in (own.capabilities[CLUSTER], world.capabilities[PAUSE], SOMEBODY):
        refused = own.refuses_administration(administering(calls.revoke_capability, capability))
        assert refused == "EUnknownCapability"


def test_revoking_one_leaves_the_others(chain: Chain, own: World) -> None:
    first, second = issue(own, "pause"), issue(own, "pause")
    own.administer(administering(calls.revoke_capability, first))
    pausing = own.administration(administering(calls.pause), capabilities={PAUSE: second})
    chain.run(own.admin, pausing)
    own.administer(administering(calls.resume), administering(calls.revoke_capability, second))


def test_a_cluster_has_at_most_32_live_capabilities(chain: Chain) -> None:
    world = World.create(chain)
    more = 32 - len(world.state().capabilities)
    world.administer(*(issuing("pause", SOMEBODY) for _ in range(more)))
    for duty in DUTIES:
        assert world.refuses_administration(issuing(duty, SOMEBODY)) == "ETooManyCapabilities"
    world.administer(administering(calls.revoke_capability, world.capabilities[PAUSE]))
    issue(world, "member")
