"""Executors: registered by the cluster, useful once they announced a key, and only the latest key counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from k3s_daas.bcs import Reader
from k3s_daas.contract import calls
from k3s_daas.contract.keys import announcement
from k3s_daas.sui.signers import verify_personal_message
from tests.move.harness import Account, Chain, Compose
from tests.move.world import HPKE_KEY, World, administering

NEXT_KEY = HPKE_KEY[::-1]


@pytest.fixture
def newcomer(chain: Chain, world: World) -> Iterator[Account]:
    """An executor without a key."""
    executor = chain.account()
    world.administer(administering(calls.add_executor, executor.address))
    yield executor
    if executor.address in world.state().executors:
        world.administer(administering(calls.remove_executor, executor.address))


def announcing(world: World, **changes: Any) -> Compose:
    terms: dict[str, Any] = {"hpke_key": HPKE_KEY, "generation": 1, "signature": b"signature"} | changes
    return lambda builder: calls.announce_key(builder, world.package, world.cluster, **terms)


def test_an_executor_without_a_key_is_assigned_nothing(chain: Chain, world: World, newcomer: Account) -> None:
    seal = world.holder()
    assert world.refuses(seal, executor=newcomer.address) == "EExecutorHasNoKey"
    chain.run(newcomer, world.announcing(newcomer))
    world.execute(seal, world.command(seal, executor=newcomer.address))


def test_an_announced_key_is_one_that_the_executor_signed(
    chain: Chain, world: World, newcomer: Account
) -> None:
    receipt = chain.run(newcomer, world.announcing(newcomer, NEXT_KEY))
    found = world.state().executors[newcomer.address]
    assert (found.hpke_key, found.generation) == (NEXT_KEY, 1)
    message = announcement(world.cluster.id, newcomer.address, 1, found.hpke_key)
    verify_personal_message(message, found.signature, newcomer.signer.public_key)
    reader = Reader(receipt.event("KeyAnnounced"))
    assert (reader.address(), reader.address()) == (world.cluster.id, newcomer.address)
    assert (reader.u64(), reader.byte_vector()) == (1, NEXT_KEY)
    reader.finish()


def test_generations_grow_by_one(chain: Chain, world: World, newcomer: Account) -> None:
    for generation in (0, 2, 2**64 - 1):
        refused = chain.abort(newcomer, world.announcing(newcomer, generation=generation))
        assert refused == "EWrongGeneration"
    chain.run(newcomer, world.announcing(newcomer))
    for generation in (0, 1, 3):
        refused = chain.abort(newcomer, world.announcing(newcomer, NEXT_KEY, generation))
        assert refused == "EWrongGeneration"
    chain.run(newcomer, world.announcing(newcomer, NEXT_KEY, 2))
    found = world.state().executors[newcomer.address]
    assert (found.hpke_key, found.generation) == (NEXT_KEY, 2)


def test_only_a_registered_executor_announces(chain: Chain, world: World) -> None:
    for sender in (chain.account(), world.admin, world.gateway):
        assert chain.abort(sender, world.announcing(sender)) == "EUnknownExecutor"


def test_nobody_announces_for_another(chain: Chain, world: World, newcomer: Account) -> None:
    before = world.state().executors[world.executor.address]
    chain.run(newcomer, world.announcing(newcomer))
    assert chain.abort(newcomer, world.announcing(world.executor, NEXT_KEY, 3)) == "EWrongGeneration"
    assert world.state().executors[world.executor.address] == before


@pytest.mark.parametrize("length", [0, 32, 1_215, 1_217])
def test_a_sealing_key_has_its_length(chain: Chain, world: World, newcomer: Account, length: int) -> None:
    assert chain.abort(newcomer, announcing(world, hpke_key=bytes(length))) == "EInvalidHpkeKey"


@pytest.mark.parametrize("length", [0, 201])
def test_a_signature_has_bytes_and_a_limit(
    chain: Chain, world: World, newcomer: Account, length: int
) -> None:
    assert chain.abort(newcomer, announcing(world, signature=bytes(length))) == "EInvalidKeySignature"


@pytest.mark.parametrize("length", [1, 200])
def test_signatures_of_all_schemes_fit(chain: Chain, world: World, newcomer: Account, length: int) -> None:
    chain.run(newcomer, announcing(world, signature=bytes(length)))


def test_an_executor_that_comes_back_has_no_key(chain: Chain, world: World, newcomer: Account) -> None:
    chain.run(newcomer, world.announcing(newcomer))
    world.administer(
        administering(calls.remove_executor, newcomer.address),
        administering(calls.add_executor, newcomer.address),
    )
    assert world.state().executors[newcomer.address].generation == 0
    assert world.refuses(world.holder(), executor=newcomer.address) == "EExecutorHasNoKey"


def test_a_removed_executor_announces_no_more(chain: Chain, world: World, newcomer: Account) -> None:
    chain.run(newcomer, world.announcing(newcomer))
    world.administer(administering(calls.remove_executor, newcomer.address))
    assert chain.abort(newcomer, world.announcing(newcomer, NEXT_KEY, 2)) == "EUnknownExecutor"


def test_an_executor_of_another_cluster_announces_nothing_here(chain: Chain, world: World) -> None:
    other = World.create(chain)
    here = replace(other, cluster=world.cluster)
    assert chain.abort(other.executor, here.announcing(other.executor, NEXT_KEY, 2)) == "EUnknownExecutor"
