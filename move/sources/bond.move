/// The money of a seal: what counts, what is on its way out, and how much of it may be slashed.
///
/// Nothing here asks who calls: see `seal`. What is held is always `staked_total` less `slashed`.
module k3s_daas::bond;

use sui::balance::{Self, Balance};
use sui::sui::SUI;

// === Constants ===

const BPS: u128 = 10_000;
const MAX_U64: u64 = 18_446_744_073_709_551_615;

// === Structs ===

/// Fields of a seal: in BCS they stand there one after the other.
public struct Bond has store {
    /// What counts for the minimum. Sums of MIST cannot overflow: all the SUI there is, 10^19 MIST, fits in a u64.
    stake: Balance<SUI>,
    /// What counts no more, and can be withdrawn from `withdrawable_at_ms` on.
    unbonding: Balance<SUI>,
    withdrawable_at_ms: u64,
    /// The policy's period and share at the staking: a later policy can neither lock this stake for longer nor slash
    /// more of it.
    unbonding_ms: u64,
    max_slash_bps: u64,
    /// All that was staked and not withdrawn; slashing does not lower it.
    staked_total: u64,
    /// All that was slashed.
    slashed: u64,
}

// === Public-Package Functions ===

public(package) fun new(payment: Balance<SUI>, unbonding_ms: u64, max_slash_bps: u64): Bond {
    Bond {
        staked_total: payment.value(),
        stake: payment,
        unbonding: balance::zero(),
        withdrawable_at_ms: 0,
        unbonding_ms,
        max_slash_bps,
        slashed: 0,
    }
}

public(package) fun add(self: &mut Bond, payment: Balance<SUI>) {
    self.staked_total = saturating_add(self.staked_total, payment.value());
    self.stake.join(payment);
}

/// Moves an amount out of the stake. What was unbonding before waits with it.
public(package) fun unbond(self: &mut Bond, amount: u64, now_ms: u64) {
    let part = self.stake.split(amount);
    self.unbonding.join(part);
    self.withdrawable_at_ms = now_ms + self.unbonding_ms;
}

/// All that was unbonding.
public(package) fun withdraw(self: &mut Bond): Balance<SUI> {
    self.withdrawable_at_ms = 0;
    self.staked_total = saturating_sub(self.staked_total, self.unbonding.value());
    self.unbonding.withdraw_all()
}

/// There is that much, and with it no more than the share is slashed: of what was staked and not withdrawn, so that
/// money that came and went does not widen it.
public(package) fun may_slash(self: &Bond, amount: u64): bool {
    let held = self.stake.value() + self.unbonding.value();
    let limit = (self.staked_total as u128) * (self.max_slash_bps as u128) / BPS;
    amount <= held && (self.slashed as u128) + (amount as u128) <= limit
}

/// Takes it from the stake first, then from what is unbonding.
public(package) fun slash(self: &mut Bond, amount: u64): Balance<SUI> {
    let staked = self.stake.value();
    let from_stake = if (amount < staked) amount else staked;
    let mut slashed = self.stake.split(from_stake);
    slashed.join(self.unbonding.split(amount - from_stake));
    if (self.unbonding.value() == 0) self.withdrawable_at_ms = 0;
    self.slashed = self.slashed + amount;
    slashed
}

public(package) fun stake(self: &Bond): u64 { self.stake.value() }

public(package) fun unbonding(self: &Bond): u64 { self.unbonding.value() }

public(package) fun withdrawable_at_ms(self: &Bond): u64 { self.withdrawable_at_ms }

// === Private Functions ===

/// Only money that goes round between owner and administrator could bring the total so far. Whatever it is, it must
/// never keep stake from coming in or going out: the limit of slashing stays on the safe side instead.
fun saturating_add(total: u64, amount: u64): u64 {
    if (amount > MAX_U64 - total) MAX_U64 else total + amount
}

fun saturating_sub(total: u64, amount: u64): u64 {
    if (amount > total) 0 else total - amount
}
