/// A Kubernetes cluster as its administrator describes it on chain: policy, roles and grants, and who serves it.
///
/// The administrator is whoever holds the `ClusterCap`. Commands only read the cluster, so that commands of different
/// holders never contend.
module k3s_daas::cluster;

use k3s_daas::events;
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

// === Constants ===

const VERSION: u64 = 1;
const MAX_ROLES: u64 = 32;
/// Gateways, and executors; every command reads them all.
const MAX_MEMBERS: u64 = 16;
/// ML-KEM-768 encapsulation key and X25519 public key.
const HPKE_KEY_BYTES: u64 = 1_216;

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
    paused: bool,
}

public struct ClusterCap has key, store {
    id: UID,
    cluster: ID,
}

public struct GrantKey has copy, drop, store {
    holder: address,
    role: String,
}

public struct Grant has copy, drop, store {
    expires_at_ms: u64,
}

public struct Executor has copy, drop, store {
    /// Requests are sealed for it. Gateways take it only if it is pinned in their configuration too.
    hpke_key: vector<u8>,
}

// === Public Functions ===

public fun new_policy(
    min_write_stake: u64,
    unbonding_ms: u64,
    max_seal_ms: u64,
    max_start_ms: u64,
    max_finish_ms: u64,
    max_answer_ms: u64,
    response_ttl_ms: u64,
    max_inline_bytes: u64,
): Policy {
    let policy = policy::new(
        min_write_stake,
        unbonding_ms,
        max_seal_ms,
        max_start_ms,
        max_finish_ms,
        max_answer_ms,
        response_ttl_ms,
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
        paused: false,
    };
    let cap = ClusterCap { id: object::new(ctx), cluster: object::id(&cluster) };
    events::emit_cluster_created(cap.cluster, name, listener_namespace);
    transfer::share_object(cluster);
    cap
}

// === Admin Functions ===

/// Holds for what is done from now on: the unbonding period of a seal is the one at its staking.
public fun set_policy(cluster: &mut Cluster, cap: &ClusterCap, policy: Policy) {
    cluster.assert_administered_by(cap);
    cluster.policy = policy;
    events::emit_policy_changed(cap.cluster);
}

/// Stops new commands. Accepted ones can be answered, sessions and stake can be managed.
public fun pause(cluster: &mut Cluster, cap: &ClusterCap) {
    cluster.assert_administered_by(cap);
    cluster.paused = true;
    events::emit_cluster_paused(cap.cluster);
}

public fun resume(cluster: &mut Cluster, cap: &ClusterCap) {
    cluster.assert_administered_by(cap);
    cluster.paused = false;
    events::emit_cluster_resumed(cap.cluster);
}

public fun add_gateway(cluster: &mut Cluster, cap: &ClusterCap, gateway: address) {
    cluster.assert_administered_by(cap);
    assert!(!cluster.gateways.contains(&gateway), EAlreadyRegistered);
    assert!(cluster.gateways.length() < MAX_MEMBERS, ETooManyMembers);
    cluster.gateways.insert(gateway);
    events::emit_gateway_added(cap.cluster, gateway);
}

/// It can submit no command any more.
public fun remove_gateway(cluster: &mut Cluster, cap: &ClusterCap, gateway: address) {
    cluster.assert_administered_by(cap);
    cluster.assert_gateway(gateway);
    cluster.gateways.remove(&gateway);
    events::emit_gateway_removed(cap.cluster, gateway);
}

public fun add_executor(cluster: &mut Cluster, cap: &ClusterCap, executor: address, hpke_key: vector<u8>) {
    cluster.assert_administered_by(cap);
    assert!(hpke_key.length() == HPKE_KEY_BYTES, EInvalidHpkeKey);
    assert!(!cluster.executors.contains(&executor), EAlreadyRegistered);
    assert!(cluster.executors.length() < MAX_MEMBERS, ETooManyMembers);
    cluster.executors.insert(executor, Executor { hpke_key });
    events::emit_executor_added(cap.cluster, executor);
}

/// No command is assigned to it any more. It can still answer what it was assigned: what ran is to be recorded.
public fun remove_executor(cluster: &mut Cluster, cap: &ClusterCap, executor: address) {
    cluster.assert_administered_by(cap);
    cluster.assert_executor(executor);
    cluster.executors.remove(&executor);
    events::emit_executor_removed(cap.cluster, executor);
}

/// A role of that name is replaced, and has no rules then: its seals can do nothing until rules are added.
public fun define_role(
    cluster: &mut Cluster,
    cap: &ClusterCap,
    name: String,
    priority: u8,
    stake: u64,
    open: bool,
) {
    cluster.assert_administered_by(cap);
    assert!(text::is_name(&name), EInvalidName);
    let role = role::new(priority, stake, open);
    if (cluster.roles.contains(&name)) {
        *cluster.roles.get_mut(&name) = role;
    } else {
        assert!(cluster.roles.length() < MAX_ROLES, ETooManyRoles);
        cluster.roles.insert(name, role);
    };
    events::emit_role_defined(cap.cluster, name, priority, stake, open);
}

/// No namespaces, or `*`, mean all namespaces and cluster scope; names restrict the rule to these.
public fun add_rule(
    cluster: &mut Cluster,
    cap: &ClusterCap,
    role: String,
    verbs: vector<String>,
    api_groups: vector<String>,
    resources: vector<String>,
    namespaces: vector<String>,
    resource_names: vector<String>,
    non_resource_urls: vector<String>,
) {
    cluster.assert_administered_by(cap);
    cluster.assert_role(&role);
    cluster
        .roles
        .get_mut(&role)
        .add_rule(verbs, api_groups, resources, namespaces, resource_names, non_resource_urls);
    events::emit_rule_added(cap.cluster, role);
}

/// Lets the holder stake for the role and use it until then. A second grant replaces the first.
public fun grant(cluster: &mut Cluster, cap: &ClusterCap, holder: address, role: String, expires_at_ms: u64) {
    cluster.assert_administered_by(cap);
    cluster.assert_role(&role);
    let key = GrantKey { holder, role };
    if (cluster.grants.contains(key)) {
        cluster.grants.borrow_mut(key).expires_at_ms = expires_at_ms;
    } else {
        cluster.grants.add(key, Grant { expires_at_ms });
    };
    events::emit_grant_added(cap.cluster, holder, role, expires_at_ms);
}

/// Ends the holder's commands in that role at once, unless the role is open.
public fun remove_grant(cluster: &mut Cluster, cap: &ClusterCap, holder: address, role: String) {
    cluster.assert_administered_by(cap);
    let key = GrantKey { holder, role };
    assert!(cluster.grants.contains(key), EUnknownGrant);
    cluster.grants.remove(key);
    events::emit_grant_removed(cap.cluster, holder, role);
}

// === Public-Package Functions ===

/// Every function that is given a cluster asserts this first.
public(package) fun assert_version(self: &Cluster) {
    assert!(self.version == VERSION, EUnsupportedVersion);
}

public(package) fun assert_administered_by(self: &Cluster, cap: &ClusterCap) {
    self.assert_version();
    assert!(cap.cluster == object::id(self), ENotClusterCapability);
}

public(package) fun assert_not_paused(self: &Cluster) {
    assert!(!self.paused, EClusterPaused);
}

public(package) fun assert_gateway(self: &Cluster, gateway: address) {
    assert!(self.gateways.contains(&gateway), EUnknownGateway);
}

public(package) fun assert_executor(self: &Cluster, executor: address) {
    assert!(self.is_executor(executor), EUnknownExecutor);
}

public(package) fun assert_role(self: &Cluster, role: &String) {
    assert!(self.roles.contains(role), EUnknownRole);
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
