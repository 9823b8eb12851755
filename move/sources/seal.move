/// Seal tokens: who may command a cluster, in which role, with what at stake, and through which sessions.
///
/// A seal belongs to one holder for ever. It is shared, because gateways and executors touch it for the holder; only
/// the commands of one seal contend with each other.
module k3s_daas::seal;

use k3s_daas::claims;
use k3s_daas::cluster::{Cluster, ClusterCap};
use k3s_daas::events;
use std::string::String;
use sui::balance::{Self, Balance};
use sui::clock::Clock;
use sui::coin::Coin;
use sui::sui::SUI;
use sui::vec_map::{Self, VecMap};

// === Errors ===

/// Only the seal's owner may do this.
const ENotOwner: u64 = 301;
/// The seal is another cluster's.
const EWrongCluster: u64 = 302;
const ENotGranted: u64 = 303;
const EGrantExpired: u64 = 304;
const ESealRevoked: u64 = 305;
const ESealExpired: u64 = 306;
/// Writing asks for more at stake.
const EStakeTooLow: u64 = 307;
const EZeroStake: u64 = 308;
const ENothingToWithdraw: u64 = 309;
const EStillUnbonding: u64 = 310;
const EUnknownSession: u64 = 311;
const ESessionExpired: u64 = 312;
const ESessionReadOnly: u64 = 313;
/// Not an ed25519 public key, or one under which anybody can sign.
const EInvalidSessionKey: u64 = 314;
const ETooManySessions: u64 = 315;
/// The session key did not sign these claims for this gateway.
const EInvalidClaimsSignature: u64 = 316;
const EClaimsNotYetValid: u64 = 317;
const EClaimsExpired: u64 = 318;
/// The claims' window is empty or too long, or their hash is none.
const EInvalidClaims: u64 = 319;
/// In the past, or later than allowed.
const EInvalidExpiry: u64 = 320;
const EUnstakeTooMuch: u64 = 321;
/// Withdraw first what was unstaked before.
const EAlreadyUnstaking: u64 = 322;

// === Constants ===

const MAX_SESSIONS: u64 = 8;

// === Structs ===

public struct SealToken has key {
    id: UID,
    cluster: ID,
    owner: address,
    role: String,
    /// What counts for the minimum. Sums of MIST cannot overflow: all the SUI there is, 10^19 MIST, fits in a u64.
    stake: Balance<SUI>,
    /// What counts no more, and can be withdrawn from `withdrawable_at_ms` on.
    unbonding: Balance<SUI>,
    withdrawable_at_ms: u64,
    /// The policy's period when the seal was staked: a later policy cannot lock this stake for longer.
    unbonding_ms: u64,
    expires_at_ms: u64,
    revoked: bool,
    /// By ed25519 public key.
    sessions: VecMap<vector<u8>, Session>,
}

public struct Session has copy, drop, store {
    expires_at_ms: u64,
    read_only: bool,
}

// === Public Functions: stake ===

/// Shares a seal owned by the sender. The amount may be below what writing asks for: such a seal can read.
public fun stake(
    cluster: &Cluster,
    role: String,
    payment: Coin<SUI>,
    expires_at_ms: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    cluster.assert_version();
    let now_ms = clock.timestamp_ms();
    let owner = ctx.sender();
    assert_granted(cluster, owner, role, now_ms);
    let policy = cluster.policy();
    assert!(expires_at_ms > now_ms && expires_at_ms <= now_ms + policy.max_seal_ms(), EInvalidExpiry);
    let amount = payment.value();
    assert!(amount > 0, EZeroStake);
    let seal = SealToken {
        id: object::new(ctx),
        cluster: object::id(cluster),
        owner,
        role,
        stake: payment.into_balance(),
        unbonding: balance::zero(),
        withdrawable_at_ms: 0,
        unbonding_ms: policy.unbonding_ms(),
        expires_at_ms,
        revoked: false,
        sessions: vec_map::empty(),
    };
    events::emit_seal_staked(seal.cluster, object::id(&seal), owner, role, amount);
    transfer::share_object(seal);
}

public fun add_stake(seal: &mut SealToken, payment: Coin<SUI>, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    assert!(!seal.revoked, ESealRevoked);
    let amount = payment.value();
    assert!(amount > 0, EZeroStake);
    seal.stake.join(payment.into_balance());
    events::emit_stake_added(seal.cluster, object::id(seal), amount);
}

/// The amount counts no more from now on, so writing may end at once. One unstaking at a time.
public fun start_unstaking(seal: &mut SealToken, amount: u64, clock: &Clock, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    assert!(amount > 0, EZeroStake);
    assert!(amount <= seal.stake.value(), EUnstakeTooMuch);
    assert!(seal.unbonding.value() == 0, EAlreadyUnstaking);
    seal.unbond(amount, clock.timestamp_ms());
    events::emit_unstaking_started(seal.cluster, object::id(seal), amount, seal.withdrawable_at_ms);
}

/// Everything that was unstaked, once its period is over. Neither pause, revocation nor expiry prevents it.
public fun withdraw(seal: &mut SealToken, clock: &Clock, ctx: &mut TxContext): Coin<SUI> {
    seal.assert_owned_by(ctx.sender());
    let amount = seal.unbonding.value();
    assert!(amount > 0, ENothingToWithdraw);
    assert!(clock.timestamp_ms() >= seal.withdrawable_at_ms, EStillUnbonding);
    seal.withdrawable_at_ms = 0;
    events::emit_stake_withdrawn(seal.cluster, object::id(seal), amount);
    seal.unbonding.withdraw_all().into_coin(ctx)
}

/// Ends every command of the seal at once, for ever. What is at stake starts unbonding; what was unbonding before
/// waits with it, one period more at most, because a seal is revoked only once.
public fun revoke(cluster: &Cluster, cap: &ClusterCap, seal: &mut SealToken, clock: &Clock) {
    cluster.assert_administered_by(cap);
    seal.assert_cluster(cluster);
    assert!(!seal.revoked, ESealRevoked);
    seal.revoked = true;
    let amount = seal.stake.value();
    if (amount > 0) seal.unbond(amount, clock.timestamp_ms());
    events::emit_seal_revoked(seal.cluster, object::id(seal), seal.owner, seal.withdrawable_at_ms);
}

// === Public Functions: sessions ===

/// Lets the session key sign for the seal. A key that has a session already gets the new terms; ended sessions are
/// dropped.
public fun open_session(
    cluster: &Cluster,
    seal: &mut SealToken,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
    clock: &Clock,
    ctx: &TxContext,
) {
    cluster.assert_version();
    seal.assert_cluster(cluster);
    seal.assert_owned_by(ctx.sender());
    let now_ms = clock.timestamp_ms();
    seal.assert_live(now_ms);
    assert!(claims::is_session_key(&session_key), EInvalidSessionKey);
    assert!(expires_at_ms > now_ms && expires_at_ms <= seal.expires_at_ms, EInvalidExpiry);
    seal.drop_sessions(&session_key, now_ms);
    assert!(seal.sessions.length() < MAX_SESSIONS, ETooManySessions);
    seal.sessions.insert(session_key, Session { expires_at_ms, read_only });
    events::emit_session_opened(seal.cluster, object::id(seal), session_key, expires_at_ms, read_only);
}

public fun close_session(seal: &mut SealToken, session_key: vector<u8>, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    assert!(seal.sessions.contains(&session_key), EUnknownSession);
    seal.sessions.remove(&session_key);
    events::emit_session_closed(seal.cluster, object::id(seal), session_key);
}

// === Public-Package Functions ===

public(package) fun assert_cluster(self: &SealToken, cluster: &Cluster) {
    assert!(self.cluster == object::id(cluster), EWrongCluster);
}

/// Neither revoked nor expired.
public(package) fun assert_live(self: &SealToken, now_ms: u64) {
    assert!(!self.revoked, ESealRevoked);
    assert!(now_ms < self.expires_at_ms, ESealExpired);
}

/// The owner's grant still holds: removing it ends a seal's commands.
public(package) fun assert_owner_granted(self: &SealToken, cluster: &Cluster, now_ms: u64) {
    assert_granted(cluster, self.owner, self.role, now_ms);
}

/// The session exists, its key signed these claims for this gateway, and the claims hold now.
public(package) fun assert_claims(
    self: &SealToken,
    session_key: &vector<u8>,
    secret_hash: vector<u8>,
    not_before_ms: u64,
    token_expires_at_ms: u64,
    claims_signature: &vector<u8>,
    gateway: address,
    now_ms: u64,
) {
    assert!(self.sessions.contains(session_key), EUnknownSession);
    assert!(now_ms < self.sessions.get(session_key).expires_at_ms, ESessionExpired);
    let claims = claims::new(
        self.cluster.to_address(),
        self.id.to_address(),
        gateway,
        not_before_ms,
        token_expires_at_ms,
        secret_hash,
    );
    assert!(claims.is_well_formed(), EInvalidClaims);
    assert!(now_ms >= not_before_ms, EClaimsNotYetValid);
    assert!(now_ms < token_expires_at_ms, EClaimsExpired);
    assert!(claims.is_signed_by(session_key, claims_signature), EInvalidClaimsSignature);
}

/// What a write needs beyond a read: a session that may write, and the stake. Call it after `assert_claims`.
public(package) fun assert_may_write(self: &SealToken, cluster: &Cluster, session_key: &vector<u8>) {
    assert!(!self.sessions.get(session_key).read_only, ESessionReadOnly);
    let by_policy = cluster.policy().min_write_stake();
    let by_role = cluster.role(&self.role).stake();
    let minimum = if (by_policy > by_role) by_policy else by_role;
    assert!(self.stake.value() >= minimum, EStakeTooLow);
}

public(package) fun owner(self: &SealToken): address { self.owner }

public(package) fun role(self: &SealToken): String { self.role }

/// The requests of a seal are dynamic fields of it.
public(package) fun uid(self: &SealToken): &UID { &self.id }

public(package) fun uid_mut(self: &mut SealToken): &mut UID { &mut self.id }

// === Private Functions ===

fun assert_owned_by(self: &SealToken, sender: address) {
    assert!(self.owner == sender, ENotOwner);
}

fun assert_granted(cluster: &Cluster, holder: address, role: String, now_ms: u64) {
    if (cluster.role(&role).is_open()) return;
    let expiry = cluster.grant_expiry(holder, role);
    assert!(expiry.is_some(), ENotGranted);
    assert!(now_ms < *expiry.borrow(), EGrantExpired);
}

fun unbond(self: &mut SealToken, amount: u64, now_ms: u64) {
    let part = self.stake.split(amount);
    self.unbonding.join(part);
    self.withdrawable_at_ms = now_ms + self.unbonding_ms;
}

/// Drops the ended sessions and that of the key.
fun drop_sessions(self: &mut SealToken, session_key: &vector<u8>, now_ms: u64) {
    let mut i = 0;
    while (i < self.sessions.length()) {
        let (key, session) = self.sessions.get_entry_by_idx(i);
        if (key == session_key || session.expires_at_ms <= now_ms) {
            self.sessions.remove_entry_by_idx(i);
        } else {
            i = i + 1;
        };
    };
}
