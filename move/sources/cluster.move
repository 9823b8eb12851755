/// A Kubernetes cluster as its administrator describes it on chain: policy, roles and grants, and who serves it.
///
/// The administrator is whoever holds the `ClusterCap`, and hands out a capability for each duty. Commands only read the
/// cluster, so that commands of different holders never contend.
module k3s_daas::cluster;

use k3s_daas::capability::{Self, AccessCap, ClusterCap, MemberCap, PauseCap};
use k3s_daas::events;
use k3s_daas::executor::{Self, Executor};
use k3s_daas::policy::{Self, Policy};
use k3s_daas::role::{Self, Role};
use k3s_daas::text;
use std::string::String;
use sui::table::{Self, Table};
use sui::vec_map::{Self, VecMap};
use sui::vec_set::{Self, VecSet};

// === Errors ===

/// The capability is another cluster's.
const ENotClusterCapability: u64 = 101;
const EClusterPaused: u64 = 102;
/// The cluster was made or migrated by another version of the package: call that one.
const EUnsupportedVersion: u64 = 103;
/// Not `[a-z0-9-]{1,63}`.
const EInvalidName: u64 = 104;
const EInvalidPolicy: u64 = 105;
const EUnknownRole: u64 = 106;
const ETooManyRoles: u64 = 107;
const EUnknownExecutor: u64 = 108;
const EUnknownGateway: u64 = 109;
const EAlreadyRegistered: u64 = 110;
const ETooManyMembers: u64 = 111;
/// Not the length of an MLKEM768-X25519 public key.
const EInvalidHpkeKey: u64 = 112;
/// There is no such grant to remove.
const EUnknownGrant: u64 = 113;
const ECapabilityRevoked: u64 = 114;
const ETooManyCapabilities: u64 = 115;
/// Not one of this cluster's live capabilities, so there is nothing to revoke.
const EUnknownCapability: u64 = 116;
/// The executor has announced no key yet: nothing can be sealed for it.
const EExecutorHasNoKey: u64 = 117;
/// Not the executor's present generation and one.
const EWrongGeneration: u64 = 118;
/// Empty, or longer than any signature.
const EInvalidKeySignature: u64 = 119;
/// The cluster is of this version already, or of a later one.
const EAlreadyMigrated: u64 = 120;

// === Constants ===

const VERSION: u64 = 1;
const MAX_ROLES: u64 = 32;
/// Gateways, and executors; every command reads them all.
const MAX_MEMBERS: u64 = 16;
/// Live ones of single duties.
const MAX_CAPABILITIES: u64 = 32;

// === Structs ===

public struct Cluster has key {
    id: UID,
    version: u64,
    name: String,
    /// Kubernetes namespace of the listener, closed to every role.
    listener_namespace: String,
    policy: Policy,
    roles: VecMap<String, Role>,
    grants: Table<GrantKey, Grant>,
    executors: VecMap<address, Executor>,
    gateways: VecSet<address>,
    /// Ids of the live capabilities of single duties.
    capabilities: VecSet<ID>,
    paused: bool,
}

public struct GrantKey has copy, drop, store {
    holder: address,
    role: String,
}

public struct Grant has copy, drop, store {
    expires_at_ms: u64,
}

// === Public Functions ===

public fun new_policy(
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
    let policy = policy::new(
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
    );
    assert!(policy.is_valid(), EInvalidPolicy);
    policy
}

/// Shares a new cluster, without roles and members, and returns the capability over it.
public fun create(name: String, listener_namespace: String, policy: Policy, ctx: &mut TxContext): ClusterCap {
    assert!(text::is_name(&name), EInvalidName);
    assert!(text::is_name(&listener_namespace), EInvalidName);
    let cluster = Cluster {
        id: object::new(ctx),
        version: VERSION,
        name,
        listener_namespace,
        policy,
        roles: vec_map::empty(),
        grants: table::new(ctx),
        executors: vec_map::empty(),
        gateways: vec_set::empty(),
        capabilities: vec_set::empty(),
        paused: false,
    };
    let cap = capability::new_cluster_cap(object::id(&cluster), ctx);
    events::emit_cluster_created(object::id(&cluster), name, listener_namespace);
    transfer::share_object(cluster);
    cap
}

// === Public Functions: the administrator ===

public fun issue_pause_cap(cluster: &mut Cluster, cap: &ClusterCap, ctx: &mut TxContext): PauseCap {
    cluster.assert_administered_by(cap);
    let issued = capability::new_pause_cap(object::id(cluster), ctx);
    cluster.enlist(object::id(&issued), b"pause".to_string());
    issued
}

public fun issue_member_cap(cluster: &mut Cluster, cap: &ClusterCap, ctx: &mut TxContext): MemberCap {
    cluster.assert_administered_by(cap);
    let issued = capability::new_member_cap(object::id(cluster), ctx);
    cluster.enlist(object::id(&issued), b"member".to_string());
    issued
}

public fun issue_access_cap(cluster: &mut Cluster, cap: &ClusterCap, ctx: &mut TxContext): AccessCap {
    cluster.assert_administered_by(cap);
    let issued = capability::new_access_cap(object::id(cluster), ctx);
    cluster.enlist(object::id(&issued), b"access".to_string());
    issued
}

/// From now on that capability can do nothing, whoever holds it.
public fun revoke_capability(cluster: &mut Cluster, cap: &ClusterCap, capability: ID) {
    cluster.assert_administered_by(cap);
    assert!(cluster.capabilities.contains(&capability), EUnknownCapability);
    cluster.capabilities.remove(&capability);
    events::emit_capability_revoked(object::id(cluster), capability);
}

/// Holds for what is done from now on: unbonding period and slashing of a seal are those at its staking.
public fun set_policy(cluster: &mut Cluster, cap: &ClusterCap, policy: Policy) {
    cluster.assert_administered_by(cap);
    cluster.policy = policy;
    events::emit_policy_changed(object::id(cluster));
}

public fun resume(cluster: &mut Cluster, cap: &ClusterCap) {
    cluster.assert_administered_by(cap);
    cluster.paused = false;
    events::emit_cluster_resumed(object::id(cluster));
}

/// After an upgrade of the package: this version takes the cluster over, and the earlier ones refuse it from now on.
/// There is no way back.
public fun migrate(cluster: &mut Cluster, cap: &ClusterCap) {
    assert!(cap.cluster() == object::id(cluster), ENotClusterCapability);
    let from_version = cluster.version;
    assert!(from_version < VERSION, EAlreadyMigrated);
    cluster.version = VERSION;
    events::emit_cluster_migrated(object::id(cluster), from_version, VERSION);
}

// === Public Functions: duties ===

/// Stops new commands, until the administrator resumes. Accepted ones can be answered, sessions and stake managed.
public fun pause(cluster: &mut Cluster, cap: &PauseCap) {
    cluster.assert_live_capability(cap.cluster(), object::id(cap));
    cluster.paused = true;
    events::emit_cluster_paused(object::id(cluster));
}

public fun add_gateway(cluster: &mut Cluster, cap: &MemberCap, gateway: address) {
    cluster.assert_live_capability(cap.cluster(), object::id(cap));
    assert!(!cluster.gateways.contains(&gateway), EAlreadyRegistered);
    assert!(cluster.gateways.length() < MAX_MEMBERS, ETooManyMembers);
    cluster.gateways.insert(gateway);
    events::emit_gateway_added(object::id(cluster), gateway);
}

/// It can submit no command any more.
public fun remove_gateway(cluster: &mut Cluster, cap: &MemberCap, gateway: address) {
    cluster.assert_live_capability(cap.cluster(), object::id(cap));
    cluster.assert_gateway(gateway);
    cluster.gateways.remove(&gateway);
    events::emit_gateway_removed(object::id(cluster), gateway);
}

/// It can be assigned commands as soon as it has announced its key.
public fun add_executor(cluster: &mut Cluster, cap: &MemberCap, executor: address) {
    cluster.assert_live_capability(cap.cluster(), object::id(cap));
    assert!(!cluster.executors.contains(&executor), EAlreadyRegistered);
    assert!(cluster.executors.length() < MAX_MEMBERS, ETooManyMembers);
    cluster.executors.insert(executor, executor::new());
    events::emit_executor_added(object::id(cluster), executor);
}

/// No command is assigned to it any more. It can still answer what it was assigned: what ran is to be recorded.
public fun remove_executor(cluster: &mut Cluster, cap: &MemberCap, executor: address) {
    cluster.assert_live_capability(cap.cluster(), object::id(cap));
    cluster.assert_executor(executor);
    cluster.executors.remove(&executor);
    events::emit_executor_removed(object::id(cluster), executor);
}

/// A role of that name is replaced, and has no rules then: its seals can do nothing until rules are added.
public fun define_role(
    cluster: &mut Cluster,
    cap: &AccessCap,
    name: String,
    priority: u8,
    stake: u64,
    open: bool,
) {
    cluster.assert_access(cap);
    assert!(text::is_name(&name), EInvalidName);
    let role = role::new(priority, stake, open);
    if (cluster.roles.contains(&name)) {
        *cluster.roles.get_mut(&name) = role;
    } else {
        assert!(cluster.roles.length() < MAX_ROLES, ETooManyRoles);
        cluster.roles.insert(name, role);
    };
    events::emit_role_defined(object::id(cluster), name, priority, stake, open);
}

/// No namespaces, or `*`, mean all namespaces and cluster scope; names restrict the rule to these.
public fun add_rule(
    cluster: &mut Cluster,
    cap: &AccessCap,
    role: String,
    verbs: vector<String>,
    api_groups: vector<String>,
    resources: vector<String>,
    namespaces: vector<String>,
    resource_names: vector<String>,
    non_resource_urls: vector<String>,
) {
    cluster.assert_access(cap);
    cluster.assert_role(&role);
    cluster
        .roles
        .get_mut(&role)
        .add_rule(verbs, api_groups, resources, namespaces, resource_names, non_resource_urls);
    events::emit_rule_added(object::id(cluster), role);
}

/// Ends the commands of its seals, until a role of that name is defined again. Its grants stay: remove those too.
public fun remove_role(cluster: &mut Cluster, cap: &AccessCap, name: String) {
    cluster.assert_access(cap);
    cluster.assert_role(&name);
    cluster.roles.remove(&name);
    events::emit_role_removed(object::id(cluster), name);
}

/// Lets the holder stake for the role and use it until then. A second grant replaces the first.
public fun grant(cluster: &mut Cluster, cap: &AccessCap, holder: address, role: String, expires_at_ms: u64) {
    cluster.assert_access(cap);
    cluster.assert_role(&role);
    let key = GrantKey { holder, role };
    if (cluster.grants.contains(key)) {
        cluster.grants.borrow_mut(key).expires_at_ms = expires_at_ms;
    } else {
        cluster.grants.add(key, Grant { expires_at_ms });
    };
    events::emit_grant_added(object::id(cluster), holder, role, expires_at_ms);
}

/// Ends the holder's commands in that role at once, unless the role is open.
public fun remove_grant(cluster: &mut Cluster, cap: &AccessCap, holder: address, role: String) {
    cluster.assert_access(cap);
    let key = GrantKey { holder, role };
    assert!(cluster.grants.contains(key), EUnknownGrant);
    cluster.grants.remove(key);
    events::emit_grant_removed(object::id(cluster), holder, role);
}

// === Public Functions: executors ===

/// The sender's first key, or a new one instead of the present. The signature is not checked here: gateways check it
/// against the signing key that they have pinned.
public fun announce_key(
    cluster: &mut Cluster,
    hpke_key: vector<u8>,
    generation: u64,
    signature: vector<u8>,
    ctx: &TxContext,
) {
    cluster.assert_version();
    let executor = ctx.sender();
    cluster.assert_executor(executor);
    assert!(executor::is_hpke_key(&hpke_key), EInvalidHpkeKey);
    assert!(executor::is_signature(&signature), EInvalidKeySignature);
    let present = cluster.executors.get_mut(&executor);
    assert!(present.is_next(generation), EWrongGeneration);
    present.announce(hpke_key, generation, signature);
    events::emit_key_announced(object::id(cluster), executor, generation, hpke_key);
}

// === Public-Package Functions ===

/// Every function that is given a cluster asserts this first.
public(package) fun assert_version(self: &Cluster) {
    assert!(self.version == VERSION, EUnsupportedVersion);
}

public(package) fun assert_administered_by(self: &Cluster, cap: &ClusterCap) {
    self.assert_version();
    assert!(cap.cluster() == object::id(self), ENotClusterCapability);
}

public(package) fun assert_access(self: &Cluster, cap: &AccessCap) {
    self.assert_live_capability(cap.cluster(), object::id(cap));
}

public(package) fun assert_not_paused(self: &Cluster) {
    assert!(!self.paused, EClusterPaused);
}

public(package) fun assert_gateway(self: &Cluster, gateway: address) {
    assert!(self.is_gateway(gateway), EUnknownGateway);
}

public(package) fun assert_executor(self: &Cluster, executor: address) {
    assert!(self.is_executor(executor), EUnknownExecutor);
}

/// It is registered, and requests can be sealed for it.
public(package) fun assert_assignable(self: &Cluster, executor: address) {
    self.assert_executor(executor);
    assert!(self.executors.get(&executor).has_key(), EExecutorHasNoKey);
}

public(package) fun assert_role(self: &Cluster, role: &String) {
    assert!(self.roles.contains(role), EUnknownRole);
}

public(package) fun is_gateway(self: &Cluster, gateway: address): bool {
    self.gateways.contains(&gateway)
}

public(package) fun is_executor(self: &Cluster, executor: address): bool {
    self.executors.contains(&executor)
}

public(package) fun listener_namespace(self: &Cluster): &String { &self.listener_namespace }

public(package) fun policy(self: &Cluster): &Policy { &self.policy }

public(package) fun role(self: &Cluster, name: &String): &Role {
    self.assert_role(name);
    self.roles.get(name)
}

/// When the holder's grant ends; nothing if there is none.
public(package) fun grant_expiry(self: &Cluster, holder: address, role: String): Option<u64> {
    let key = GrantKey { holder, role };
    if (self.grants.contains(key)) option::some(self.grants.borrow(key).expires_at_ms) else option::none()
}

// === Private Functions ===

/// The capability of a single duty is this cluster's, and was not revoked.
fun assert_live_capability(self: &Cluster, cluster: ID, capability: ID) {
    self.assert_version();
    assert!(cluster == object::id(self), ENotClusterCapability);
    assert!(self.capabilities.contains(&capability), ECapabilityRevoked);
}

fun enlist(self: &mut Cluster, capability: ID, duty: String) {
    assert!(self.capabilities.length() < MAX_CAPABILITIES, ETooManyCapabilities);
    self.capabilities.insert(capability);
    events::emit_capability_issued(object::id(self), capability, duty);
}

// === Test Functions ===

#[test_only]
public fun set_version_for_testing(self: &mut Cluster, version: u64) { self.version = version; }
