/// What a cluster's administrator may tune, within bounds that hold for every cluster: with them no sum of times can
/// overflow, and no stake can be locked for longer than 30 days.
module k3s_daas::policy;

// === Constants ===

const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;

const MAX_UNBONDING_MS: u64 = 30 * DAY_MS;
/// Everything.
const MAX_SLASH_BPS: u64 = 10_000;
const MAX_SEAL_MS: u64 = 366 * DAY_MS;
const MAX_START_MS: u64 = 600 * SECOND_MS;
const MAX_FINISH_MS: u64 = DAY_MS;
const MAX_ANSWER_MS: u64 = 2 * DAY_MS;
const MAX_TTL_MS: u64 = 30 * DAY_MS;
/// A transaction has 128 KiB, signatures and the other inputs included.
const MAX_INLINE_BYTES: u64 = 120_000;

// === Structs ===

public struct Policy has copy, drop, store {
    /// MIST that a seal must have at stake to write; a role may ask for more.
    min_write_stake: u64,
    /// From the start of unstaking, or from revocation, until the stake may be withdrawn.
    unbonding_ms: u64,
    /// Share of a seal's stake that may be slashed in all, in hundredths of a percent.
    max_slash_bps: u64,
    /// Longest life of a seal.
    max_seal_ms: u64,
    /// How far ahead of the chain's clock the three times of a request may lie.
    max_start_ms: u64,
    max_finish_ms: u64,
    max_answer_ms: u64,
    /// How long an answered request is kept: so long for reads or writes, longer with each step of the role's priority,
    /// and never longer than the maximum.
    read_ttl_ms: u64,
    write_ttl_ms: u64,
    ttl_per_priority_ms: u64,
    max_ttl_ms: u64,
    /// Of one seal, in a minute of the clock.
    commands_per_minute: u64,
    /// MIST of storage deposit that the payers advance for one seal's commands, in a day of the clock.
    deposit_per_day: u64,
    /// Largest ciphertext in a transaction, each way.
    max_inline_bytes: u64,
}

// === Public-Package Functions ===

/// Checks nothing: see `is_valid`.
public(package) fun new(
    min_write_stake: u64,
    unbonding_ms: u64,
    max_slash_bps: u64,
    max_seal_ms: u64,
    max_start_ms: u64,
    max_finish_ms: u64,
    max_answer_ms: u64,
    read_ttl_ms: u64,
    write_ttl_ms: u64,
    ttl_per_priority_ms: u64,
    max_ttl_ms: u64,
    commands_per_minute: u64,
    deposit_per_day: u64,
    max_inline_bytes: u64,
): Policy {
    Policy {
        min_write_stake,
        unbonding_ms,
        max_slash_bps,
        max_seal_ms,
        max_start_ms,
        max_finish_ms,
        max_answer_ms,
        read_ttl_ms,
        write_ttl_ms,
        ttl_per_priority_ms,
        max_ttl_ms,
        commands_per_minute,
        deposit_per_day,
        max_inline_bytes,
    }
}

/// A rate of zero is refused: whoever wants no commands pauses the cluster.
public(package) fun is_valid(self: &Policy): bool {
    self.unbonding_ms <= MAX_UNBONDING_MS
        && self.max_slash_bps <= MAX_SLASH_BPS
        && self.max_seal_ms > 0 && self.max_seal_ms <= MAX_SEAL_MS
        && self.max_start_ms > 0 && self.max_start_ms <= MAX_START_MS
        && self.max_start_ms < self.max_finish_ms && self.max_finish_ms <= MAX_FINISH_MS
        && self.max_finish_ms < self.max_answer_ms && self.max_answer_ms <= MAX_ANSWER_MS
        && self.read_ttl_ms <= MAX_TTL_MS
        && self.write_ttl_ms <= MAX_TTL_MS
        && self.ttl_per_priority_ms <= MAX_TTL_MS
        && self.max_ttl_ms <= MAX_TTL_MS
        && self.commands_per_minute > 0
        && self.deposit_per_day > 0
        && self.max_inline_bytes > 0 && self.max_inline_bytes <= MAX_INLINE_BYTES
}

/// How long a request is kept once it is answered.
public(package) fun ttl_ms(self: &Policy, is_read: bool, priority: u8): u64 {
    let base_ms = if (is_read) self.read_ttl_ms else self.write_ttl_ms;
    let wanted_ms = base_ms + (priority as u64) * self.ttl_per_priority_ms;
    if (wanted_ms < self.max_ttl_ms) wanted_ms else self.max_ttl_ms
}

public(package) fun min_write_stake(self: &Policy): u64 { self.min_write_stake }

public(package) fun unbonding_ms(self: &Policy): u64 { self.unbonding_ms }

public(package) fun max_slash_bps(self: &Policy): u64 { self.max_slash_bps }

public(package) fun max_seal_ms(self: &Policy): u64 { self.max_seal_ms }

public(package) fun max_start_ms(self: &Policy): u64 { self.max_start_ms }

public(package) fun max_finish_ms(self: &Policy): u64 { self.max_finish_ms }

public(package) fun max_answer_ms(self: &Policy): u64 { self.max_answer_ms }

public(package) fun commands_per_minute(self: &Policy): u64 { self.commands_per_minute }

public(package) fun deposit_per_day(self: &Policy): u64 { self.deposit_per_day }

public(package) fun max_inline_bytes(self: &Policy): u64 { self.max_inline_bytes }
