"""The version gate: a cluster is served by one version of the package, and moves to the next only once."""

from __future__ import annotations

import re

import pytest

from infra.local.sui.compiler import compile_package, compile_sources, read_sources
from k3s_daas.contract import calls
from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.calls import Response
from k3s_daas.ids import new_request_id, to_hex
from tests.move.harness import ROOT, Chain
from tests.move.test_move_cluster import ADMINISTRATION
from tests.move.world import ANSWER, CLUSTER, ENOUGH, POLICY, Administration, World, administering

VERSION = 1
_AT = slice(32, 40)
"""Where the version stands in a cluster's contents."""


def become(world: World, version: int) -> None:
    """Leave the cluster as another version of the package would."""
    contents = bytearray(world.chain.object(world.cluster.id).contents)
    contents[_AT] = version.to_bytes(8, "little")
    world.chain.forge(world.cluster.id, bytes(contents))


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_a_cluster_of_another_version_is_left_alone(chain: Chain, version: int) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = world.execute(seal)
    assert world.state().version == VERSION
    become(world, version)
    before = chain.object(world.cluster.id).contents, chain.object(seal.ref.id).contents

    others: list[Administration] = [
        administering(calls.revoke, seal.ref, reason="lost"),
        administering(calls.slash, seal.ref, amount=1, reason="lost", recipient=world.admin.address),
        administering(calls.revoke_capability, world.capabilities["pause"]),
    ]
    for change in (*ADMINISTRATION.values(), *others):
        assert world.refuses_administration(change) == "EUnsupportedVersion"
    assert world.refuses(seal, request_id=new_request_id(chain.now_ms)) == "EUnsupportedVersion"
    for sender, calling in (
        (world.executor, world.answering(seal, Response(command.request_id, 200, ANSWER))),
        (world.executor, world.announcing(world.executor, generation=2)),
        (world.gateway, world.reclaiming(seal, command.request_id)),
        (seal.owner, world.staking(seal.owner)),
        (seal.owner, world.opening(seal.ref, seal.session_key)),
        (seal.owner, world.transferring(seal, world.admin.address)),
    ):
        assert chain.abort(sender, calling) == "EUnsupportedVersion"
    assert before == (chain.object(world.cluster.id).contents, chain.object(seal.ref.id).contents)


def test_a_cluster_of_an_earlier_version_is_migrated_once(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    become(world, VERSION - 1)
    receipt = world.administer(administering(calls.migrate))
    versions = (VERSION - 1).to_bytes(8, "little") + VERSION.to_bytes(8, "little")
    assert receipt.event("ClusterMigrated") == world.cluster.id + versions
    world.execute(seal)
    assert world.refuses_administration(administering(calls.migrate)) == "EAlreadyMigrated"


def test_a_cluster_of_a_later_version_does_not_come_back(chain: Chain) -> None:
    world = World.create(chain)
    become(world, VERSION + 1)
    assert world.refuses_administration(administering(calls.migrate)) == "EAlreadyMigrated"


def test_only_the_own_administrator_migrates(chain: Chain, world: World) -> None:
    own = World.create(chain)
    become(own, VERSION - 1)
    migrating = own.administration(
        administering(calls.migrate), capabilities={CLUSTER: world.capabilities[CLUSTER]}
    )
    assert chain.abort(world.admin, migrating) == "ENotClusterCapability"


def test_the_ways_out_do_not_depend_on_the_version(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder(amount=5)
    become(world, VERSION + 1)
    chain.run(seal.owner, lambda builder: calls.close_all_sessions(builder, world.package, seal.ref))
    chain.run(seal.owner, lambda builder: calls.start_unstaking(builder, world.package, seal.ref, amount=5))
    chain.clock.advance(POLICY.unbonding_ms)
    chain.run(
        seal.owner,
        lambda builder: calls.withdraw(builder, world.package, seal.ref, recipient=seal.owner.address),
    )


def test_an_upgraded_package_takes_a_cluster_over_for_good() -> None:
    """Two versions of the code on one chain: types and ids stay, and one version serves the cluster."""
    sources = read_sources(ROOT / "move")
    [gate] = re.findall(r"const VERSION: u64 = \d+;", sources["sources/cluster.move"])
    next_gate = gate.replace(str(VERSION), str(VERSION + 1))
    sources["sources/cluster.move"] = sources["sources/cluster.move"].replace(gate, next_gate)
    chain = Chain(compile_package(ROOT / "move"))
    try:
        world = World.create(chain)
        seal = world.holder()
        before, kind = world.execute(seal), chain.object(seal.ref.id).type_tag
        first = chain.package
        second = chain.upgrade(compile_sources(sources))

        def refuses(package: bytes) -> str | None:
            chain.package = package
            receipt = chain.submit(world.gateway, world.executing(seal, world.command(seal)))
            return chain.name_of(receipt)

        assert refuses(second) == "EUnsupportedVersion"
        world.administer(administering(calls.migrate))
        assert world.state().version == VERSION + 1
        assert refuses(first) == "EUnsupportedVersion"
        chain.package = second
        after = world.execute(seal)
        for command in (before, after):
            world.answer(seal, command.request_id)
            found = chain.object(request_object_id(first, seal.ref.id, command.request_id))
            assert f"{to_hex(first)}::k8s_gateway::RequestKey" in found.type_tag
        assert chain.object(seal.ref.id).type_tag == kind
        chain.package = first
        chain.run(seal.owner, lambda builder: calls.start_unstaking(builder, first, seal.ref, amount=ENOUGH))
    finally:
        chain.close()
