"""Stake has a way out of every state: random histories in the VM, beside a model of the rules.

After every step the seal holds what the model says, and after the last the owner takes out everything that
was not slashed, in at most two unbonding periods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k3s_daas.contract import calls
from tests.move.harness import Account, Chain, Compose
from tests.move.test_move_stake import adding, unstaking, withdrawing, withdrawn
from tests.move.world import DAY_MS, Seal, World, administering

MONTH_MS = 30 * DAY_MS
ROLE = "holders"
AMOUNTS = st.one_of(st.integers(0, 12), st.sampled_from([2**63, 2**64 - 1]))
STAKES = st.integers(1, 10)

STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 10)),
    st.tuples(st.just("unstake"), AMOUNTS),
    st.tuples(st.just("withdraw"), st.none()),
    st.tuples(st.just("slash"), AMOUNTS),
    st.tuples(st.just("revoke"), st.none()),
    st.tuples(st.just("transfer"), st.none()),
    st.tuples(
        st.just("policy"),
        st.fixed_dictionaries(
            {
                "unbonding_ms": st.sampled_from([0, 1, DAY_MS, MONTH_MS]),
                "max_slash_bps": st.sampled_from([0, 1, 3_333, 10_000]),
                "min_write_stake": st.sampled_from([0, 2**64 - 1]),
            }
        ),
    ),
    st.tuples(st.just("wait"), st.sampled_from([1, DAY_MS - 1, DAY_MS, MONTH_MS, 400 * DAY_MS])),
    st.tuples(st.just("cluster"), st.sampled_from(["pause", "resume", "remove_role"])),
)


@dataclass
class Model:
    """The rules of stake, written down a second time."""

    unbonding_ms: int
    max_slash_bps: int
    expires_at_ms: int
    stake: int
    unbonding: int = 0
    withdrawable_at_ms: int = 0
    staked_total: int = field(init=False)
    slashed: int = 0
    revoked: bool = False

    def __post_init__(self) -> None:
        self.staked_total = self.stake

    def add(self, amount: int) -> str | None:
        if self.revoked:
            return "ESealRevoked"
        if amount == 0:
            return "EZeroStake"
        self.stake += amount
        self.staked_total += amount
        return None

    def unstake(self, amount: int, now_ms: int) -> str | None:
        if amount == 0:
            return "EZeroStake"
        if amount > self.stake:
            return "EUnstakeTooMuch"
        if self.unbonding:
            return "EAlreadyUnstaking"
        self._unbond(amount, now_ms)
        return None

    def withdraw(self, now_ms: int) -> str | None:
        if not self.unbonding:
            return "ENothingToWithdraw"
        if now_ms < self.withdrawable_at_ms:
            return "EStillUnbonding"
        self.staked_total -= self.unbonding
        self.unbonding = self.withdrawable_at_ms = 0
        return None

    def slash(self, amount: int) -> str | None:
        if amount == 0:
            return "EZeroStake"
        if amount > self.stake + self.unbonding:
            return "ESlashTooMuch"
        if (self.slashed + amount) * 10_000 > self.staked_total * self.max_slash_bps:
            return "ESlashTooMuch"
        self.slashed += amount
        from_stake = min(amount, self.stake)
        self.stake -= from_stake
        self.unbonding -= amount - from_stake
        if not self.unbonding:
            self.withdrawable_at_ms = 0
        return None

    def revoke(self, now_ms: int) -> str | None:
        if self.revoked:
            return "ESealRevoked"
        self.revoked = True
        if self.stake:
            self._unbond(self.stake, now_ms)
        return None

    def transfer(self, now_ms: int, *, role_exists: bool) -> str | None:
        if self.revoked:
            return "ESealRevoked"
        if now_ms >= self.expires_at_ms:
            return "ESealExpired"
        return None if role_exists else "EUnknownRole"

    def _unbond(self, amount: int, now_ms: int) -> None:
        self.stake -= amount
        self.unbonding += amount
        self.withdrawable_at_ms = now_ms + self.unbonding_ms


class History:
    """One seal and its model, taken through the same steps."""

    def __init__(self, world: World, owners: list[Account], stake: int) -> None:
        self.world, self.chain, self._owners = world, world.chain, owners
        world.administer(administering(calls.resume))
        world.define_role(ROLE, [])
        self.role_exists = True
        self.seal = world.stake(owners[0], role=ROLE, amount=stake)
        state = world.seal_state(self.seal)
        self.model = Model(state.unbonding_ms, state.max_slash_bps, state.expires_at_ms, stake)
        self.paid_in, self.paid_out, self.slashed = stake, 0, 0

    def step(self, kind: str, value: Any) -> None:
        getattr(self, f"_{kind}")(value)
        self.check()

    def check(self) -> None:
        state, model = self.world.seal_state(self.seal), self.model
        known = (state.stake, state.unbonding, state.withdrawable_at_ms, state.staked_total, state.slashed)
        expected = (model.stake, model.unbonding, model.withdrawable_at_ms)
        assert known == (*expected, model.staked_total, model.slashed)
        assert (state.unbonding_ms, state.max_slash_bps) == (model.unbonding_ms, model.max_slash_bps)
        assert state.stake + state.unbonding == state.staked_total - state.slashed
        assert state.stake + state.unbonding == self.paid_in - self.paid_out - self.slashed
        assert state.withdrawable_at_ms <= self.chain.now_ms + model.unbonding_ms

    def take_everything_out(self) -> None:
        """Only by the owner's own calls, and by waiting."""
        began_ms = self.chain.now_ms
        while self.model.stake or self.model.unbonding:
            if self.model.unbonding:
                self.chain.clock.set(max(self.chain.now_ms, self.model.withdrawable_at_ms))
                self.step("withdraw", None)
            else:
                self.step("unstake", self.model.stake)
        assert self.chain.now_ms - began_ms <= 2 * self.model.unbonding_ms <= 2 * MONTH_MS
        assert self.paid_out == self.paid_in - self.slashed

    # Steps

    def _add(self, amount: int) -> None:
        owner = self.seal.owner
        if self._agrees(owner, adding(self.world, self.seal, owner, amount), self.model.add(amount)):
            self.paid_in += amount

    def _unstake(self, amount: int) -> None:
        refused = self.model.unstake(amount, self.chain.now_ms)
        self._agrees(self.seal.owner, unstaking(self.world, self.seal, amount), refused)

    def _withdraw(self, _: None) -> None:
        withdraw = withdrawing(self.world, self.seal)
        amount, refused = self.model.unbonding, self.model.withdraw(self.chain.now_ms)
        if refused is not None:
            assert self.chain.abort(self.seal.owner, withdraw) == refused
            return
        assert withdrawn(self.chain, self.chain.run(self.seal.owner, withdraw)) == amount
        self.paid_out += amount

    def _slash(self, amount: int) -> None:
        recipient = self.world.admin.address
        slashing = administering(
            calls.slash, self.seal.ref, amount=amount, reason="shared", recipient=recipient
        )
        if self._agrees(self.world.admin, self.world.administration(slashing), self.model.slash(amount)):
            self.slashed += amount

    def _revoke(self, _: None) -> None:
        revoking = self.world.administration(administering(calls.revoke, self.seal.ref, reason="lost"))
        self._agrees(self.world.admin, revoking, self.model.revoke(self.chain.now_ms))

    def _transfer(self, _: None) -> None:
        [other] = [owner for owner in self._owners if owner != self.seal.owner]
        refused = self.model.transfer(self.chain.now_ms, role_exists=self.role_exists)
        transferring = self.world.transferring(self.seal, other.address)
        if self._agrees(self.seal.owner, transferring, refused):
            self.seal = Seal(other, self.seal.ref, self.seal.session)

    def _policy(self, changes: dict[str, int]) -> None:
        self.world.set_policy(**changes)

    def _wait(self, duration_ms: int) -> None:
        self.chain.clock.advance(duration_ms)

    def _cluster(self, change: str) -> None:
        if change != "remove_role":
            self.world.administer(administering(getattr(calls, change)))
        elif self.role_exists:
            self.world.administer(administering(calls.remove_role, name=ROLE))
            self.role_exists = False

    def _agrees(self, sender: Account, calling: Compose, refused: str | None) -> bool:
        """Run it and compare: whether it was done."""
        if refused is None:
            self.chain.run(sender, calling)
            return True
        assert self.chain.abort(sender, calling) == refused
        return False


@pytest.fixture(scope="module")
def own(chain: Chain) -> World:
    return World.create(chain)


@pytest.fixture(scope="module")
def owners(chain: Chain) -> list[Account]:
    return [chain.account(), chain.account()]


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    stake=STAKES,
    policy=st.fixed_dictionaries(
        {
            "unbonding_ms": st.sampled_from([0, DAY_MS, MONTH_MS]),
            "max_slash_bps": st.sampled_from([0, 2_500, 10_000]),
        }
    ),
    steps=st.lists(STEPS, min_size=3, max_size=14),
)
def test_everything_that_was_not_slashed_comes_out(
    own: World, owners: list[Account], stake: int, policy: dict[str, int], steps: list[tuple[str, Any]]
) -> None:
    own.set_policy(**policy)
    history = History(own, owners, stake)
    history.check()
    for kind, value in steps:
        history.step(kind, value)
    history.take_everything_out()


# The histories in which stake was once lost, or nearly: each of them always.
TRAPS: dict[str, list[tuple[str, Any]]] = {
    "revoked while unbonding": [("unstake", 4), ("wait", DAY_MS), ("revoke", None)],
    "revoked without stake": [("unstake", 10), ("revoke", None)],
    "revoked twice": [("revoke", None), ("wait", 1), ("revoke", None), ("add", 1)],
    "slashed while unbonding": [("unstake", 9), ("slash", 2), ("slash", 1)],
    "slashed after revocation": [("revoke", None), ("slash", 2)],
    "a longer period afterwards": [("policy", {"unbonding_ms": MONTH_MS}), ("unstake", 3), ("add", 2)],
    "expired, paused, its role gone": [
        ("cluster", "pause"),
        ("cluster", "remove_role"),
        ("wait", 400 * DAY_MS),
        ("transfer", None),
    ],
    "transferred while unbonding": [("unstake", 5), ("transfer", None), ("wait", 2 * DAY_MS)],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_way_out_of_every_trap(own: World, owners: list[Account], trap: str) -> None:
    own.set_policy(unbonding_ms=DAY_MS, max_slash_bps=2_500)
    history = History(own, owners, stake=10)
    for kind, value in TRAPS[trap]:
        history.step(kind, value)
    history.take_everything_out()


@pytest.mark.parametrize("staked_total", [0, 2**64 - 1], ids=["too small", "at the end of u64"])
def test_no_count_of_what_was_staked_keeps_stake_inside(
    chain: Chain, own: World, owners: list[Account], staked_total: int
) -> None:
    """The count cannot come so far with the SUI there is; if it did, it would limit nothing but slashing."""
    own.set_policy(unbonding_ms=0, max_slash_bps=0)
    history = History(own, owners, stake=10)
    contents = chain.object(history.seal.ref.id).contents
    bond = (10).to_bytes(8, "little") + bytes(32) + (10).to_bytes(8, "little") + bytes(8)
    assert contents.count(bond) == 1
    forged = bond[:40] + staked_total.to_bytes(8, "little") + bytes(8)
    chain.forge(history.seal.ref.id, contents.replace(bond, forged))
    owner = history.seal.owner
    chain.run(owner, adding(own, history.seal, owner, 5))
    chain.run(owner, unstaking(own, history.seal, 15))
    assert withdrawn(chain, chain.run(owner, withdrawing(own, history.seal))) == 15
