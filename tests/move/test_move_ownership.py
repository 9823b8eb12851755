"""Transfer of a seal: to whom, what goes with it, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.events import ApiRequested, RequestProcessed
from tests.move.harness import Account, Chain
from tests.move.world import DAY_MS, ENOUGH, Seal, World, administering

RULE: dict[str, Any] = {"verbs": ["get"], "api_groups": [""], "resources": ["pods"]}


def given(world: World, seal: Seal, new_owner: Account) -> Seal:
    """The seal as its new owner has it, with the same session key."""
    world.chain.run(seal.owner, world.transferring(seal, new_owner.address))
    return Seal(new_owner, seal.ref, seal.session)


def test_a_transfer_is_announced(chain: Chain, world: World) -> None:
    seal, new_owner = world.holder(), chain.account()
    receipt = chain.run(seal.owner, world.transferring(seal, new_owner.address))
    assert [name for name, _ in receipt.events] == ["OwnershipTransferred"]
    addresses = seal.ref.id + seal.owner.address + new_owner.address
    assert receipt.event("OwnershipTransferred") == world.cluster.id + addresses


def test_no_session_goes_with_the_seal(chain: Chain, world: World) -> None:
    seal = world.holder()
    token = world.token(seal)
    moved = given(world, seal, chain.account())
    assert world.seal_state(moved).sessions == {}
    command = world.command(moved, token)
    assert chain.abort(world.gateway, world.executing(moved, command)) == "EUnknownSession"
    opening = world.opening(seal.ref, seal.session_key)
    assert chain.abort(seal.owner, opening) == "ENotOwner"


def test_commands_are_the_new_owners_and_earlier_ones_stay_the_old_owners(chain: Chain, world: World) -> None:
    seal = world.holder()
    earlier = world.execute(seal)
    moved = given(world, seal, chain.account())
    world.open_session(moved)
    receipt = chain.run(world.gateway, world.executing(moved, world.command(moved)))
    assert ApiRequested.decode(receipt.event("K8sAPIRequest")).requester == moved.owner.address
    answer = RequestProcessed.decode(world.answer(moved, earlier.request_id).event("K8sRequestProcessed"))
    assert answer.requester == seal.owner.address


def test_the_stake_goes_with_the_seal(chain: Chain, world: World) -> None:
    seal = world.stake(amount=ENOUGH)
    chain.run(seal.owner, lambda builder: calls.start_unstaking(builder, world.package, seal.ref, amount=1))
    moved = given(world, seal, chain.account())
    chain.clock.set(world.seal_state(moved).withdrawable_at_ms)

    def withdraw(owner: Account) -> Any:
        return lambda builder: calls.withdraw(builder, world.package, seal.ref, recipient=owner.address)

    assert chain.abort(seal.owner, withdraw(seal.owner)) == "ENotOwner"
    chain.run(moved.owner, withdraw(moved.owner))


def test_only_the_owner_transfers(chain: Chain, world: World) -> None:
    seal = world.holder()
    for sender in (chain.account(), world.admin, world.gateway, world.executor):
        assert chain.abort(sender, world.transferring(seal, sender.address)) == "ENotOwner"
    assert world.seal_state(seal).owner == seal.owner.address


def test_the_new_owner_could_have_staked_for_the_role(chain: Chain) -> None:
    world = World.create(chain)
    world.define_role("auditor", [RULE], is_open=False)
    owner, granted, stranger = (chain.account() for _ in range(3))

    def grant(holder: Account, expires_at_ms: int) -> None:
        world.administer(
            administering(calls.grant, holder=holder.address, role="auditor", expires_at_ms=expires_at_ms)
        )

    grant(owner, chain.now_ms + DAY_MS)
    grant(granted, chain.now_ms + 1_000)
    seal = world.stake(owner, role="auditor")
    assert chain.abort(owner, world.transferring(seal, stranger.address)) == "ENotGranted"
    chain.clock.advance(1_000)
    assert chain.abort(owner, world.transferring(seal, granted.address)) == "EGrantExpired"
    grant(granted, chain.now_ms + DAY_MS)
    moved = given(world, seal, granted)
    world.open_session(moved)
    world.execute(moved)


def test_a_seal_whose_role_is_gone_stays_where_it_is(chain: Chain) -> None:
    world = World.create(chain)
    world.define_role("passing", [RULE])
    seal = world.stake(role="passing")
    world.administer(administering(calls.remove_role, name="passing"))
    assert chain.abort(seal.owner, world.transferring(seal, world.admin.address)) == "EUnknownRole"


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_seal_that_is_over_is_not_transferred(chain: Chain, world: World, end: str) -> None:
    seal = world.stake(expires_at_ms=chain.now_ms + 1_000)
    if end == "revoked":
        world.revoke(seal)
    chain.clock.advance(999)
    if end == "expired":
        given(world, world.stake(expires_at_ms=chain.now_ms + 1), chain.account())
        chain.clock.advance(1)
    refused = chain.abort(seal.owner, world.transferring(seal, world.admin.address))
    assert refused == {"revoked": "ESealRevoked", "expired": "ESealExpired"}[end]


def test_a_transfer_to_oneself_ends_the_sessions(chain: Chain, world: World) -> None:
    seal = world.holder()
    given(world, seal, seal.owner)
    assert world.refuses(seal) == "EUnknownSession"
