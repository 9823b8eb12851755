/// Seal tokens: who may command a cluster, in which role, with what at stake, and through which sessions.
///
/// A seal is shared, because gateways and executors touch it for its owner; only the commands of one seal contend with
/// each other.
module k3s_daas::seal;

use k3s_daas::attributes::Attributes;
use k3s_daas::bond::{Self, Bond};
use k3s_daas::capability::{AccessCap, ClusterCap};
use k3s_daas::claims;
use k3s_daas::cluster::Cluster;
use k3s_daas::events;
use k3s_daas::session::{Self, Session};
use k3s_daas::usage::{Self, Usage};
use std::string::String;
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
/// The session is for other namespaces.
const ESessionNamespace: u64 = 323;
/// No more commands in this minute.
const ERateExceeded: u64 = 324;
/// No more storage deposit on this day.
const EDepositExceeded: u64 = 325;
/// More than there is, or than the share that may be slashed.
const ESlashTooMuch: u64 = 326;
/// Empty, or too long.
const EInvalidReason: u64 = 327;
/// Too many namespaces, or not names of namespaces.
const EInvalidScope: u64 = 328;

// === Constants ===

const MAX_SESSIONS: u64 = 8;
const MAX_REASON_BYTES: u64 = 256;

// === Structs ===

public struct SealToken has key {
    id: UID,
    cluster: ID,
    owner: address,
    role: String,
    bond: Bond,
    expires_at_ms: u64,
    revoked: bool,
    /// By ed25519 public key.
    sessions: VecMap<vector<u8>, Session>,
    usage: Usage,
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
        bond: bond::new(payment.into_balance(), policy.unbonding_ms(), policy.max_slash_bps()),
        expires_at_ms,
        revoked: false,
        sessions: vec_map::empty(),
        usage: usage::new(),
    };
    events::emit_seal_staked(seal.cluster, object::id(&seal), owner, role, amount);
    transfer::share_object(seal);
}

public fun add_stake(seal: &mut SealToken, payment: Coin<SUI>, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    assert!(!seal.revoked, ESealRevoked);
    let amount = payment.value();
    assert!(amount > 0, EZeroStake);
    seal.bond.add(payment.into_balance());
    events::emit_stake_added(seal.cluster, object::id(seal), amount);
}

/// The amount counts no more from now on, so writing may end at once. One unstaking at a time.
public fun start_unstaking(seal: &mut SealToken, amount: u64, clock: &Clock, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    assert!(amount > 0, EZeroStake);
    assert!(amount <= seal.bond.stake(), EUnstakeTooMuch);
    assert!(seal.bond.unbonding() == 0, EAlreadyUnstaking);
    seal.bond.unbond(amount, clock.timestamp_ms());
    events::emit_unstaking_started(seal.cluster, object::id(seal), amount, seal.bond.withdrawable_at_ms());
}

/// Everything that was unstaked, once its period is over. Neither pause, revocation nor expiry prevents it.
public fun withdraw(seal: &mut SealToken, clock: &Clock, ctx: &mut TxContext): Coin<SUI> {
    seal.assert_owned_by(ctx.sender());
    let amount = seal.bond.unbonding();
    assert!(amount > 0, ENothingToWithdraw);
    assert!(clock.timestamp_ms() >= seal.bond.withdrawable_at_ms(), EStillUnbonding);
    events::emit_stake_withdrawn(seal.cluster, object::id(seal), amount);
    seal.bond.withdraw().into_coin(ctx)
}

// === Public Functions: ownership ===

/// Gives the seal away with all that is at stake, to somebody who could have staked for its role. No session goes with
/// it: the old owner's keys must not command for the new one. What was requested stays the old owner's request.
public fun transfer_ownership(
    cluster: &Cluster,
    seal: &mut SealToken,
    new_owner: address,
    clock: &Clock,
    ctx: &TxContext,
) {
    cluster.assert_version();
    seal.assert_cluster(cluster);
    let old_owner = ctx.sender();
    seal.assert_owned_by(old_owner);
    let now_ms = clock.timestamp_ms();
    seal.assert_live(now_ms);
    assert_granted(cluster, new_owner, seal.role, now_ms);
    seal.owner = new_owner;
    seal.sessions = vec_map::empty();
    events::emit_ownership_transferred(seal.cluster, object::id(seal), old_owner, new_owner);
}

// === Public Functions: the cluster's side ===

/// Ends every command of the seal at once, for ever. What is at stake starts unbonding; what was unbonding before
/// waits with it, one period more at most, because a seal is revoked only once.
public fun revoke(
    cluster: &Cluster,
    cap: &AccessCap,
    seal: &mut SealToken,
    reason: String,
    clock: &Clock,
) {
    cluster.assert_access(cap);
    seal.assert_cluster(cluster);
    assert_reason(&reason);
    assert!(!seal.revoked, ESealRevoked);
    seal.revoked = true;
    let amount = seal.bond.stake();
    if (amount > 0) seal.bond.unbond(amount, clock.timestamp_ms());
    let withdrawable_at_ms = seal.bond.withdrawable_at_ms();
    events::emit_seal_revoked(seal.cluster, object::id(seal), seal.owner, withdrawable_at_ms, reason);
}

/// Takes stake away, unbonding stake too, revoked or not: in all no more than the share that the policy named when the
/// seal was staked. Nothing else of the seal changes.
public fun slash(
    cluster: &Cluster,
    cap: &ClusterCap,
    seal: &mut SealToken,
    amount: u64,
    reason: String,
    ctx: &mut TxContext,
): Coin<SUI> {
    cluster.assert_administered_by(cap);
    seal.assert_cluster(cluster);
    assert_reason(&reason);
    assert!(amount > 0, EZeroStake);
    assert!(seal.bond.may_slash(amount), ESlashTooMuch);
    events::emit_seal_slashed(seal.cluster, object::id(seal), amount, reason);
    seal.bond.slash(amount).into_coin(ctx)
}

// === Public Functions: sessions ===

/// Lets the session key sign for the seal, for reads only if so, and in these namespaces only if there are any. A key
/// that has a session already gets the new terms; ended sessions are dropped.
public fun open_session(
    cluster: &Cluster,
    seal: &mut SealToken,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
    namespaces: vector<String>,
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
    assert!(session::are_namespaces(&namespaces), EInvalidScope);
    seal.drop_sessions(&session_key, now_ms);
    assert!(seal.sessions.length() < MAX_SESSIONS, ETooManySessions);
    seal.sessions.insert(session_key, session::new(expires_at_ms, read_only, namespaces));
    let id = object::id(seal);
    events::emit_session_opened(seal.cluster, id, session_key, expires_at_ms, read_only, namespaces);
}

public fun close_session(seal: &mut SealToken, session_key: vector<u8>, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    assert!(seal.sessions.contains(&session_key), EUnknownSession);
    seal.sessions.remove(&session_key);
    events::emit_session_closed(seal.cluster, object::id(seal), session_key);
}

/// For the holder who does not know which key he lost.
public fun close_all_sessions(seal: &mut SealToken, ctx: &TxContext) {
    seal.assert_owned_by(ctx.sender());
    let closed = seal.sessions.length();
    seal.sessions = vec_map::empty();
    events::emit_sessions_closed(seal.cluster, object::id(seal), closed);
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
    assert!(self.sessions.get(session_key).is_live(now_ms), ESessionExpired);
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

/// The session was not opened for other namespaces only. Call it after `assert_claims`.
public(package) fun assert_session_reaches(self: &SealToken, session_key: &vector<u8>, attributes: &Attributes) {
    assert!(self.sessions.get(session_key).reaches(attributes), ESessionNamespace);
}

/// What a write needs beyond a read: a session that may write, and the stake. Call it after `assert_claims`.
public(package) fun assert_may_write(self: &SealToken, cluster: &Cluster, session_key: &vector<u8>) {
    assert!(!self.sessions.get(session_key).is_read_only(), ESessionReadOnly);
    let by_policy = cluster.policy().min_write_stake();
    let by_role = cluster.role(&self.role).stake();
    let minimum = if (by_policy > by_role) by_policy else by_role;
    assert!(self.bond.stake() >= minimum, EStakeTooLow);
}

/// Counts one command and its storage deposit, in MIST, against what the policy leaves to the seal.
public(package) fun count_command(self: &mut SealToken, cluster: &Cluster, deposit: u64, now_ms: u64) {
    let policy = cluster.policy();
    self.usage.advance(now_ms);
    assert!(self.usage.leaves_command(policy), ERateExceeded);
    assert!(self.usage.leaves_deposit(policy, deposit), EDepositExceeded);
    self.usage.add(deposit);
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

fun assert_reason(reason: &String) {
    assert!(!reason.is_empty() && reason.length() <= MAX_REASON_BYTES, EInvalidReason);
}

/// Drops the ended sessions and that of the key.
fun drop_sessions(self: &mut SealToken, session_key: &vector<u8>, now_ms: u64) {
    let mut i = 0;
    while (i < self.sessions.length()) {
        let (key, session) = self.sessions.get_entry_by_idx(i);
        if (key == session_key || !session.is_live(now_ms)) {
            self.sessions.remove_entry_by_idx(i);
        } else {
            i = i + 1;
        };
    };
}
