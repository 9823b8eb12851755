"""Stake: what counts, what is on its way out, and that there is a way out of every state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3s_daas.bcs import Reader
from k3s_daas.contract import calls
from k3s_daas.contract.objects import SealState
from k3s_daas.sui.transactions import PtbBuilder
from tests.move.harness import Account, Chain, Compose, Receipt
from tests.move.world import DAY_MS, ENOUGH, POLICY, ROLE, WRITE, Seal, World, administering

PERIOD = POLICY.unbonding_ms


def amounts(chain: Chain, seal: Seal) -> tuple[int, int, int]:
    """Stake, unbonding, and when that may be withdrawn."""
    state = SealState.decode(chain.read(seal.ref.id))
    return state.stake, state.unbonding, state.withdrawable_at_ms


def unstaking(world: World, seal: Seal, amount: int) -> Compose:
    return lambda builder: calls.start_unstaking(builder, world.package, seal.ref, amount=amount)


def withdrawing(world: World, seal: Seal) -> Compose:
    return lambda builder: calls.withdraw(builder, world.package, seal.ref, recipient=seal.owner.address)


def adding(world: World, seal: Seal, owner: Account, amount: int) -> Compose:
    def compose(builder: PtbBuilder) -> None:
        coin = world.chain.owned(builder, owner.coin)
        calls.add_stake(builder, world.package, seal.ref, coin=coin, amount=amount)

    return compose


def withdrawn(chain: Chain, receipt: Receipt) -> int:
    [coin] = receipt.created("Coin")
    return int.from_bytes(chain.object(coin).contents[32:40], "little")


def test_staking_is_announced(chain: Chain, world: World) -> None:
    owner = chain.account()
    receipt = chain.run(owner, world.staking(owner, amount=5))
    reader = Reader(receipt.event("SealStaked"))
    [seal] = receipt.created("SealToken")
    assert (reader.address(), reader.address(), reader.address()) == (world.cluster.id, seal, owner.address)
    assert (reader.string(), reader.u64()) == (ROLE, 5)
    reader.finish()


def test_nothing_staked_is_no_stake(chain: Chain, world: World) -> None:
    owner = chain.account()
    assert chain.abort(owner, world.staking(owner, amount=0)) == "EZeroStake"


def test_a_role_must_exist_to_be_staked_for(chain: Chain, world: World) -> None:
    owner = chain.account()
    assert chain.abort(owner, world.staking(owner, role="nobody")) == "EUnknownRole"


@pytest.mark.parametrize("life_ms", [-1, 0, POLICY.max_seal_ms + 1, 2**63])
def test_a_seal_lives_as_long_as_the_policy_allows(chain: Chain, world: World, life_ms: int) -> None:
    owner = chain.account()
    staking = world.staking(owner, expires_at_ms=chain.now_ms + life_ms)
    assert chain.abort(owner, staking) == "EInvalidExpiry"


def test_stake_can_be_added_until_it_is_enough(chain: Chain, world: World) -> None:
    seal = world.holder(amount=ENOUGH - 1)
    assert world.refuses(seal, attributes=WRITE) == "EStakeTooLow"
    chain.run(seal.owner, adding(world, seal, seal.owner, 1))
    assert amounts(chain, seal)[0] == ENOUGH
    world.execute(seal, world.command(seal, attributes=WRITE))


def test_only_the_owner_adds_and_only_something(chain: Chain, world: World) -> None:
    seal = world.stake()
    stranger = chain.account()
    assert chain.abort(stranger, adding(world, seal, stranger, 1)) == "ENotOwner"
    assert chain.abort(seal.owner, adding(world, seal, seal.owner, 0)) == "EZeroStake"


def test_unstaked_stake_counts_no_more_and_comes_back_after_its_period(chain: Chain, world: World) -> None:
    seal = world.holder()
    world.execute(seal, world.command(seal, attributes=WRITE))
    chain.run(seal.owner, unstaking(world, seal, 1))
    assert world.refuses(seal, attributes=WRITE) == "EStakeTooLow"
    world.execute(seal)
    assert amounts(chain, seal) == (ENOUGH - 1, 1, chain.now_ms + PERIOD)
    chain.clock.advance(PERIOD - 1)
    assert chain.abort(seal.owner, withdrawing(world, seal)) == "EStillUnbonding"
    chain.clock.advance(1)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == 1
    assert amounts(chain, seal) == (ENOUGH - 1, 0, 0)
    assert chain.abort(seal.owner, withdrawing(world, seal)) == "ENothingToWithdraw"


def test_one_unstaking_at_a_time(chain: Chain, world: World) -> None:
    seal = world.stake()
    chain.run(seal.owner, unstaking(world, seal, 1))
    due = amounts(chain, seal)[2]
    chain.clock.advance(1_000)
    assert chain.abort(seal.owner, unstaking(world, seal, 1)) == "EAlreadyUnstaking"
    assert amounts(chain, seal)[2] == due
    chain.clock.advance(PERIOD)
    chain.run(seal.owner, withdrawing(world, seal))
    chain.run(seal.owner, unstaking(world, seal, ENOUGH - 1))
    chain.clock.advance(PERIOD)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == ENOUGH - 1


@pytest.mark.parametrize("amount", [ENOUGH + 1, 2**64 - 1])
def test_no_more_is_unstaked_than_is_staked(chain: Chain, world: World, amount: int) -> None:
    seal = world.stake()
    assert chain.abort(seal.owner, unstaking(world, seal, amount)) == "EUnstakeTooMuch"


def test_something_must_be_unstaked(chain: Chain, world: World) -> None:
    seal = world.stake()
    assert chain.abort(seal.owner, unstaking(world, seal, 0)) == "EZeroStake"


def test_only_the_owner_takes_stake_out(chain: Chain, world: World) -> None:
    seal = world.stake()
    for sender in (chain.account(), world.admin, world.gateway):
        assert chain.abort(sender, unstaking(world, seal, 1)) == "ENotOwner"
    chain.run(seal.owner, unstaking(world, seal, 1))
    chain.clock.advance(PERIOD)
    for sender in (chain.account(), world.admin, world.gateway):
        assert chain.abort(sender, withdrawing(world, seal)) == "ENotOwner"


def test_a_revoked_seal_gives_everything_back_once(chain: Chain, world: World) -> None:
    seal = world.stake()
    receipt = world.revoke(seal, "stolen")
    due = chain.now_ms + PERIOD
    expected = world.cluster.id + seal.ref.id + seal.owner.address + due.to_bytes(8, "little") + b"\6stolen"
    assert receipt.event("SealRevoked") == expected
    assert amounts(chain, seal) == (0, ENOUGH, due)
    chain.clock.advance(1_000)
    revoke_again = administering(calls.revoke, seal.ref, reason="again")
    assert world.refuses_administration(revoke_again) == "ESealRevoked"
    assert chain.abort(seal.owner, adding(world, seal, seal.owner, 1)) == "ESealRevoked"
    assert amounts(chain, seal) == (0, ENOUGH, due)
    chain.clock.set(due)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == ENOUGH


def test_what_was_unbonding_waits_with_the_rest_when_a_seal_is_revoked(chain: Chain, world: World) -> None:
    seal = world.stake()
    chain.run(seal.owner, unstaking(world, seal, 3))
    chain.clock.advance(PERIOD - 1)
    world.revoke(seal)
    assert amounts(chain, seal) == (0, ENOUGH, chain.now_ms + PERIOD)
    chain.clock.advance(PERIOD)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == ENOUGH


def test_revoking_a_seal_without_stake_delays_nothing(chain: Chain, world: World) -> None:
    seal = world.stake()
    chain.run(seal.owner, unstaking(world, seal, ENOUGH))
    due = amounts(chain, seal)[2]
    chain.clock.advance(1_000)
    world.revoke(seal)
    assert amounts(chain, seal) == (0, ENOUGH, due)


def test_stake_comes_out_of_an_expired_seal_of_a_paused_cluster(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.stake(expires_at_ms=chain.now_ms + 1)
    world.administer(administering(calls.pause))
    chain.clock.advance(DAY_MS)
    chain.run(seal.owner, unstaking(world, seal, ENOUGH))
    chain.clock.advance(PERIOD)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == ENOUGH


def test_a_later_policy_locks_no_stake_for_longer(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.stake()
    world.set_policy(unbonding_ms=30 * DAY_MS)
    chain.run(seal.owner, unstaking(world, seal, 1))
    assert amounts(chain, seal)[2] == chain.now_ms + PERIOD
    later = world.stake()
    chain.run(later.owner, unstaking(world, later, 1))
    assert amounts(chain, later)[2] == chain.now_ms + 30 * DAY_MS


def test_only_the_own_administrator_revokes(chain: Chain, world: World) -> None:
    seal = world.stake()
    other = World.create(chain)
    revoking = administering(calls.revoke, seal.ref, reason="lost")
    assert other.refuses_administration(revoking) == "EWrongCluster"
    in_their_name = replace(other, cluster=world.cluster)
    assert in_their_name.refuses_administration(revoking) == "ENotClusterCapability"
