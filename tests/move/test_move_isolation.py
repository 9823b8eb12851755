"""Several clusters under one package: none can touch another's seals, requests or capabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.calls import Response
from k3s_daas.ids import new_request_id
from tests.move.harness import Account, Chain, Compose
from tests.move.world import ANSWER, DAY_MS, Administration, Seal, World, administering


class Two(NamedTuple):
    """Ours, with a seal and a request; theirs, which serves with the same gateway and executor."""

    ours: World
    theirs: World
    seal: Seal
    command: calls.Command


@pytest.fixture(scope="module")
def two(chain: Chain) -> Two:
    ours, theirs = World.create(chain), World.create(chain)
    theirs.administer(
        administering(calls.add_gateway, ours.gateway.address),
        administering(calls.add_executor, ours.executor.address),
    )
    chain.run(ours.executor, theirs.announcing(ours.executor))
    seal = ours.holder()
    return Two(ours, theirs, seal, ours.execute(seal))


Attempt = Callable[[Two], tuple[Account, Compose]]


def through_their_cluster(two: Two) -> World:
    """Their cluster with our members."""
    return replace(two.theirs, gateway=two.ours.gateway, executor=two.ours.executor)


def commanding(two: Two) -> tuple[Account, Compose]:
    there = through_their_cluster(two)
    return two.ours.gateway, there.executing(two.seal, there.command(two.seal))


ATTEMPTS: dict[str, Attempt] = {
    "command": commanding,
    "answer": lambda two: (
        two.ours.executor,
        two.theirs.answering(two.seal, Response(two.command.request_id, 200, ANSWER)),
    ),
    "answer for nothing": lambda two: (
        two.ours.executor,
        two.theirs.answering(two.seal, Response(new_request_id(two.ours.chain.now_ms), 200, ANSWER)),
    ),
    "reclaim": lambda two: (
        two.ours.gateway,
        two.theirs.reclaiming(two.seal, two.command.request_id),
    ),
    "open a session": lambda two: (
        two.seal.owner,
        two.theirs.opening(two.seal.ref, two.seal.session_key),
    ),
    "transfer": lambda two: (
        two.seal.owner,
        two.theirs.transferring(two.seal, two.theirs.admin.address),
    ),
    "revoke": lambda two: (
        two.theirs.admin,
        two.theirs.administration(administering(calls.revoke, two.seal.ref, reason="ours")),
    ),
    "slash": lambda two: (
        two.theirs.admin,
        two.theirs.administration(
            administering(
                calls.slash, two.seal.ref, amount=1, reason="ours", recipient=two.theirs.admin.address
            )
        ),
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_seal_is_reached_through_its_own_cluster_only(chain: Chain, two: Two, attempt: str) -> None:
    before = chain.object(two.seal.ref.id).contents
    sender, calling = ATTEMPTS[attempt](two)
    assert chain.abort(sender, calling) == "EWrongCluster"
    assert chain.object(two.seal.ref.id).contents == before


@pytest.mark.parametrize("what", ["revoke", "slash"])
def test_their_capability_does_nothing_to_our_seal(chain: Chain, two: Two, what: str) -> None:
    call = {
        "revoke": administering(calls.revoke, two.seal.ref, reason="ours"),
        "slash": administering(
            calls.slash, two.seal.ref, amount=1, reason="ours", recipient=two.theirs.admin.address
        ),
    }[what]
    in_our_name = replace(two.theirs, cluster=two.ours.cluster)
    assert in_our_name.refuses_administration(call) == "ENotClusterCapability"


def test_members_of_another_cluster_are_nobody_here(chain: Chain, two: Two) -> None:
    gateway, executor = two.theirs.gateway, two.theirs.executor
    assert two.ours.refuses(two.seal, gateway) == "EUnknownGateway"
    assert two.ours.refuses(two.seal, executor=executor.address) == "EUnknownExecutor"
    answering = two.ours.answering(two.seal, Response(two.command.request_id, 200, ANSWER))
    assert chain.abort(executor, answering) == "ENotAssignedExecutor"
    chain.clock.set(two.command.answer_by_ms + DAY_MS)
    for payer in (gateway, executor):
        reclaiming = two.ours.reclaiming(two.seal, two.command.request_id)
        assert chain.abort(payer, reclaiming) == "ENotPayer"


def test_claims_for_a_seal_of_ours_are_none_for_a_seal_of_theirs(chain: Chain, two: Two) -> None:
    there = through_their_cluster(two)
    seal = two.theirs.stake()
    seal = Seal(seal.owner, seal.ref, two.seal.session)
    chain.run(seal.owner, two.theirs.opening(seal.ref, seal.session_key))
    token = two.ours.token(two.seal)
    refused = chain.abort(two.ours.gateway, there.executing(seal, there.command(seal, token)))
    assert refused == "EInvalidClaimsSignature"


def test_a_grant_of_theirs_is_none_of_ours(chain: Chain, two: Two) -> None:
    holder = chain.account()
    for world in (two.ours, two.theirs):
        world.define_role("auditor", [], is_open=False)
    granting = administering(calls.grant, holder=holder.address, role="auditor", expires_at_ms=2**63)
    two.theirs.administer(granting)
    assert chain.abort(holder, two.ours.staking(holder, role="auditor")) == "ENotGranted"
    two.theirs.stake(holder, role="auditor")


def test_a_pause_of_theirs_stops_nothing_of_ours(chain: Chain) -> None:
    ours, theirs = World.create(chain), World.create(chain)
    theirs.administer(administering(calls.pause))
    ours.execute(ours.holder())


@pytest.mark.parametrize(
    ("call", "held"),
    [
        (administering(calls.pause), "cluster"),
        (administering(calls.resume), "pause"),
        (administering(calls.migrate), "access"),
        (administering(calls.add_gateway, b"\7" * 32), "access"),
        (administering(calls.remove_role, name="operator"), "member"),
        (administering(calls.remove_role, name="operator"), "cluster"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.call.__name__,
)
def test_a_capability_of_another_duty_is_another_type(
    chain: Chain, two: Two, call: Administration, held: str
) -> None:
    capability = two.ours.capabilities[held]
    calling = two.ours.administration(call, capabilities={call.duty: capability})
    receipt = chain.submit(two.ours.admin, calling)
    assert receipt.failure is not None
    assert receipt.aborted is None
