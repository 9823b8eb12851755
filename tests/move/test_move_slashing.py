"""Slashing and revocation: by whom, how much at most, and why."""

from __future__ import annotations

import pytest

from k3s_daas.bcs import Reader
from k3s_daas.contract import calls
from tests.move.harness import Chain, Receipt
from tests.move.test_move_stake import adding, unstaking, withdrawing, withdrawn
from tests.move.world import ENOUGH, POLICY, WRITE, Administration, Seal, World, administering

BOUND = ENOUGH * POLICY.max_slash_bps // 10_000
REASON = "the key was shared"


def slashing(world: World, seal: Seal, amount: int, reason: str = REASON) -> Administration:
    return administering(calls.slash, seal.ref, amount=amount, reason=reason, recipient=world.admin.address)


def slash(world: World, seal: Seal, amount: int) -> Receipt:
    return world.administer(slashing(world, seal, amount))


def held(world: World, seal: Seal) -> tuple[int, int]:
    """Stake and unbonding."""
    state = world.seal_state(seal)
    return state.stake, state.unbonding


def test_slashing_is_announced_and_pays_out(chain: Chain, world: World) -> None:
    seal = world.stake()
    receipt = slash(world, seal, 5)
    reader = Reader(receipt.event("SealSlashed"))
    assert (reader.address(), reader.address()) == (world.cluster.id, seal.ref.id)
    assert (reader.u64(), reader.string()) == (5, REASON)
    reader.finish()
    assert withdrawn(chain, receipt) == 5
    state = world.seal_state(seal)
    assert (state.stake, state.staked_total, state.slashed) == (ENOUGH - 5, ENOUGH, 5)


def test_no_more_than_the_bound_is_slashed_in_all(world: World) -> None:
    seal = world.stake()
    assert world.refuses_administration(slashing(world, seal, BOUND + 1)) == "ESlashTooMuch"
    slash(world, seal, BOUND - 1)
    assert world.refuses_administration(slashing(world, seal, 2)) == "ESlashTooMuch"
    slash(world, seal, 1)
    assert world.refuses_administration(slashing(world, seal, 1)) == "ESlashTooMuch"
    assert held(world, seal) == (ENOUGH - BOUND, 0)


@pytest.mark.parametrize("amount", [2**64 - 1, 2**63, ENOUGH + 1])
def test_no_amount_overflows(world: World, amount: int) -> None:
    seal = world.stake()
    slash(world, seal, 1)
    assert world.refuses_administration(slashing(world, seal, amount)) == "ESlashTooMuch"


def test_what_is_slashed_counts_no_more(world: World) -> None:
    seal = world.holder()
    slash(world, seal, 1)
    assert world.refuses(seal, attributes=WRITE) == "EStakeTooLow"
    world.execute(seal)


def test_stake_is_slashed_first_and_then_what_is_unbonding(chain: Chain, world: World) -> None:
    seal = world.stake()
    chain.run(seal.owner, unstaking(world, seal, ENOUGH - 10))
    due = world.seal_state(seal).withdrawable_at_ms
    slash(world, seal, 4)
    assert held(world, seal) == (6, ENOUGH - 10)
    slash(world, seal, 9)
    assert held(world, seal) == (0, ENOUGH - 13)
    assert world.seal_state(seal).withdrawable_at_ms == due
    assert world.refuses_administration(slashing(world, seal, BOUND - 12)) == "ESlashTooMuch"
    slash(world, seal, BOUND - 13)
    chain.clock.set(due)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == ENOUGH - BOUND


def test_revocation_widens_no_bound_and_ends_no_claim(chain: Chain, world: World) -> None:
    seal = world.stake()
    slash(world, seal, BOUND - 1)
    world.revoke(seal)
    assert world.refuses_administration(slashing(world, seal, 2)) == "ESlashTooMuch"
    slash(world, seal, 1)
    chain.clock.set(world.seal_state(seal).withdrawable_at_ms)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == ENOUGH - BOUND
    assert world.refuses_administration(slashing(world, seal, 1)) == "ESlashTooMuch"


def test_money_that_came_and_went_does_not_widen_the_bound(chain: Chain, world: World) -> None:
    seal = world.stake()
    for _ in range(3):
        chain.run(seal.owner, adding(world, seal, seal.owner, ENOUGH))
        chain.run(seal.owner, unstaking(world, seal, ENOUGH))
        chain.clock.advance(POLICY.unbonding_ms)
        chain.run(seal.owner, withdrawing(world, seal))
    assert world.seal_state(seal).staked_total == ENOUGH
    assert world.refuses_administration(slashing(world, seal, BOUND + 1)) == "ESlashTooMuch"
    chain.run(seal.owner, adding(world, seal, seal.owner, ENOUGH))
    slash(world, seal, 2 * BOUND)


def test_money_that_went_takes_its_share_of_the_bound_with_it(chain: Chain, world: World) -> None:
    seal = world.stake()
    slash(world, seal, BOUND)
    chain.run(seal.owner, unstaking(world, seal, ENOUGH // 2))
    chain.clock.advance(POLICY.unbonding_ms)
    chain.run(seal.owner, withdrawing(world, seal))
    assert world.refuses_administration(slashing(world, seal, 1)) == "ESlashTooMuch"


def test_a_later_policy_slashes_no_more_of_this_stake(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.stake()
    world.set_policy(max_slash_bps=10_000)
    chain.run(seal.owner, adding(world, seal, seal.owner, ENOUGH))
    assert world.refuses_administration(slashing(world, seal, 2 * BOUND + 1)) == "ESlashTooMuch"
    later = world.stake()
    slash(world, later, ENOUGH)
    assert held(world, later) == (0, 0)
    assert chain.abort(later.owner, withdrawing(world, later)) == "ENothingToWithdraw"
    chain.run(later.owner, adding(world, later, later.owner, ENOUGH))


def test_a_policy_without_slashing_slashes_nothing(chain: Chain) -> None:
    world = World.create(chain)
    world.set_policy(max_slash_bps=0)
    seal = world.stake()
    assert world.refuses_administration(slashing(world, seal, 1)) == "ESlashTooMuch"


def test_the_bound_is_rounded_down(chain: Chain, world: World) -> None:
    seal = world.stake(amount=3)
    assert world.refuses_administration(slashing(world, seal, 1)) == "ESlashTooMuch"
    chain.run(seal.owner, adding(world, seal, seal.owner, 1))
    slash(world, seal, 1)


def test_all_of_what_is_unbonding_can_be_gone(chain: Chain) -> None:
    """Then the next unstaking begins as if there had been none."""
    world = World.create(chain)
    world.set_policy(max_slash_bps=10_000)
    seal = world.stake(amount=10)
    chain.run(seal.owner, unstaking(world, seal, 10))
    slash(world, seal, 10)
    assert world.seal_state(seal).withdrawable_at_ms == 0
    chain.run(seal.owner, adding(world, seal, seal.owner, 7))
    chain.run(seal.owner, unstaking(world, seal, 7))
    chain.clock.advance(POLICY.unbonding_ms)
    assert withdrawn(chain, chain.run(seal.owner, withdrawing(world, seal))) == 7


def test_something_must_be_slashed(world: World) -> None:
    seal = world.stake()
    assert world.refuses_administration(slashing(world, seal, 0)) == "EZeroStake"


@pytest.mark.parametrize("reason", ["", "r" * 257, "ü" * 129], ids=["none", "too long", "too many bytes"])
def test_reasons_are_given_in_a_few_words(world: World, reason: str) -> None:
    seal = world.stake()
    assert world.refuses_administration(slashing(world, seal, 1, reason)) == "EInvalidReason"
    revoking = administering(calls.revoke, seal.ref, reason=reason)
    assert world.refuses_administration(revoking) == "EInvalidReason"


def test_the_longest_reason_is_given(world: World) -> None:
    seal = world.stake()
    receipt = world.administer(
        slashing(world, seal, 1, "ü" * 128), administering(calls.revoke, seal.ref, reason="r" * 256)
    )
    assert [name for name, _ in receipt.events] == ["SealSlashed", "SealRevoked"]
