/// Every event of the package, and the only functions that emit them.
///
/// Events are public for ever: they name the verb, the resource and the object, never a body, a path or a secret.
module k3s_daas::events;

use k3s_daas::attributes::Attributes;
use std::string::String;
use sui::event;

// === Structs: commands ===

/// A command was accepted: the executor may run it until `start_by_ms`.
public struct K8sAPIRequest has copy, drop {
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    requester: address,
    role: String,
    priority: u8,
    gateway: address,
    executor: address,
    session_key: vector<u8>,
    verb: String,
    api_group: String,
    api_version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    non_resource_url: String,
    payload_hash: vector<u8>,
    payload_size: u64,
    /// Where the ciphertext lies off chain; empty if it is in the transaction.
    payload_reference: vector<u8>,
    accepted_at_ms: u64,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
}

/// The executor answered a command.
public struct K8sRequestProcessed has copy, drop {
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    requester: address,
    role: String,
    executor: address,
    verb: String,
    api_group: String,
    api_version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    non_resource_url: String,
    status_code: u16,
    request_hash: vector<u8>,
    response_hash: vector<u8>,
    response_size: u64,
    accepted_at_ms: u64,
    answered_at_ms: u64,
}

/// An answer changed nothing. Reasons: 0 unknown request, 1 already answered, 2 too late.
public struct ResponseIgnored has copy, drop {
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    executor: address,
    reason: u8,
}

/// Nobody answered a command in time, and it was deleted: what came of it is not known.
public struct RequestTimedOut has copy, drop {
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    requester: address,
    executor: address,
    answer_by_ms: u64,
    closed_at_ms: u64,
}

/// So many requests were deleted, of which so many had not been answered; so many ids were passed over.
public struct RequestsReclaimed has copy, drop {
    cluster: ID,
    seal: ID,
    by: address,
    reclaimed: u64,
    timed_out: u64,
    skipped: u64,
}

// === Structs: clusters ===

public struct ClusterCreated has copy, drop { cluster: ID, name: String, listener_namespace: String }

public struct PolicyChanged has copy, drop { cluster: ID }

public struct ClusterPaused has copy, drop { cluster: ID }

public struct ClusterResumed has copy, drop { cluster: ID }

public struct ClusterMigrated has copy, drop { cluster: ID, from_version: u64, to_version: u64 }

/// Duties: `pause`, `member`, `access`.
public struct CapabilityIssued has copy, drop { cluster: ID, capability: ID, duty: String }

public struct CapabilityRevoked has copy, drop { cluster: ID, capability: ID }

public struct GatewayAdded has copy, drop { cluster: ID, gateway: address }

public struct GatewayRemoved has copy, drop { cluster: ID, gateway: address }

public struct ExecutorAdded has copy, drop { cluster: ID, executor: address }

public struct ExecutorRemoved has copy, drop { cluster: ID, executor: address }

public struct KeyAnnounced has copy, drop { cluster: ID, executor: address, generation: u64, hpke_key: vector<u8> }

public struct RoleDefined has copy, drop { cluster: ID, role: String, priority: u8, stake: u64, open: bool }

public struct RoleRemoved has copy, drop { cluster: ID, role: String }

public struct RuleAdded has copy, drop { cluster: ID, role: String }

public struct GrantAdded has copy, drop { cluster: ID, holder: address, role: String, expires_at_ms: u64 }

public struct GrantRemoved has copy, drop { cluster: ID, holder: address, role: String }

// === Structs: seals ===

public struct SealStaked has copy, drop { cluster: ID, seal: ID, owner: address, role: String, amount: u64 }

public struct StakeAdded has copy, drop { cluster: ID, seal: ID, amount: u64 }

public struct UnstakingStarted has copy, drop { cluster: ID, seal: ID, amount: u64, withdrawable_at_ms: u64 }

public struct StakeWithdrawn has copy, drop { cluster: ID, seal: ID, amount: u64 }

public struct SealRevoked has copy, drop {
    cluster: ID,
    seal: ID,
    owner: address,
    withdrawable_at_ms: u64,
    reason: String,
}

public struct SealSlashed has copy, drop { cluster: ID, seal: ID, amount: u64, reason: String }

/// All sessions of the seal ended with it.
public struct OwnershipTransferred has copy, drop { cluster: ID, seal: ID, old_owner: address, new_owner: address }

public struct SessionOpened has copy, drop {
    cluster: ID,
    seal: ID,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
    namespaces: vector<String>,
}

public struct SessionClosed has copy, drop { cluster: ID, seal: ID, session_key: vector<u8> }

/// All of the seal's, so many.
public struct SessionsClosed has copy, drop { cluster: ID, seal: ID, closed: u64 }

// === Public-Package Functions: commands ===

public(package) fun emit_api_request(
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    requester: address,
    role: String,
    priority: u8,
    gateway: address,
    executor: address,
    session_key: vector<u8>,
    attributes: &Attributes,
    payload_hash: vector<u8>,
    payload_size: u64,
    payload_reference: vector<u8>,
    accepted_at_ms: u64,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
) {
    event::emit(K8sAPIRequest {
        cluster,
        seal,
        request_id,
        requester,
        role,
        priority,
        gateway,
        executor,
        session_key,
        verb: *attributes.verb(),
        api_group: *attributes.api_group(),
        api_version: *attributes.api_version(),
        resource: *attributes.resource(),
        subresource: *attributes.subresource(),
        namespace: *attributes.namespace(),
        name: *attributes.name(),
        non_resource_url: *attributes.non_resource_url(),
        payload_hash,
        payload_size,
        payload_reference,
        accepted_at_ms,
        start_by_ms,
        finish_by_ms,
        answer_by_ms,
    });
}

public(package) fun emit_request_processed(
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    requester: address,
    role: String,
    executor: address,
    attributes: &Attributes,
    status_code: u16,
    request_hash: vector<u8>,
    response_hash: vector<u8>,
    response_size: u64,
    accepted_at_ms: u64,
    answered_at_ms: u64,
) {
    event::emit(K8sRequestProcessed {
        cluster,
        seal,
        request_id,
        requester,
        role,
        executor,
        verb: *attributes.verb(),
        api_group: *attributes.api_group(),
        api_version: *attributes.api_version(),
        resource: *attributes.resource(),
        subresource: *attributes.subresource(),
        namespace: *attributes.namespace(),
        name: *attributes.name(),
        non_resource_url: *attributes.non_resource_url(),
        status_code,
        request_hash,
        response_hash,
        response_size,
        accepted_at_ms,
        answered_at_ms,
    });
}

public(package) fun emit_response_ignored(
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    executor: address,
    reason: u8,
) {
    event::emit(ResponseIgnored { cluster, seal, request_id, executor, reason });
}

public(package) fun emit_request_timed_out(
    cluster: ID,
    seal: ID,
    request_id: vector<u8>,
    requester: address,
    executor: address,
    answer_by_ms: u64,
    closed_at_ms: u64,
) {
    event::emit(RequestTimedOut { cluster, seal, request_id, requester, executor, answer_by_ms, closed_at_ms });
}

public(package) fun emit_requests_reclaimed(
    cluster: ID,
    seal: ID,
    by: address,
    reclaimed: u64,
    timed_out: u64,
    skipped: u64,
) {
    event::emit(RequestsReclaimed { cluster, seal, by, reclaimed, timed_out, skipped });
}

// === Public-Package Functions: clusters ===

public(package) fun emit_cluster_created(cluster: ID, name: String, listener_namespace: String) {
    event::emit(ClusterCreated { cluster, name, listener_namespace });
}

public(package) fun emit_policy_changed(cluster: ID) {
    event::emit(PolicyChanged { cluster });
}

public(package) fun emit_cluster_paused(cluster: ID) {
    event::emit(ClusterPaused { cluster });
}

public(package) fun emit_cluster_resumed(cluster: ID) {
    event::emit(ClusterResumed { cluster });
}

public(package) fun emit_cluster_migrated(cluster: ID, from_version: u64, to_version: u64) {
    event::emit(ClusterMigrated { cluster, from_version, to_version });
}

public(package) fun emit_capability_issued(cluster: ID, capability: ID, duty: String) {
    event::emit(CapabilityIssued { cluster, capability, duty });
}

public(package) fun emit_capability_revoked(cluster: ID, capability: ID) {
    event::emit(CapabilityRevoked { cluster, capability });
}

public(package) fun emit_gateway_added(cluster: ID, gateway: address) {
    event::emit(GatewayAdded { cluster, gateway });
}

public(package) fun emit_gateway_removed(cluster: ID, gateway: address) {
    event::emit(GatewayRemoved { cluster, gateway });
}

public(package) fun emit_executor_added(cluster: ID, executor: address) {
    event::emit(ExecutorAdded { cluster, executor });
}

public(package) fun emit_executor_removed(cluster: ID, executor: address) {
    event::emit(ExecutorRemoved { cluster, executor });
}

public(package) fun emit_key_announced(cluster: ID, executor: address, generation: u64, hpke_key: vector<u8>) {
    event::emit(KeyAnnounced { cluster, executor, generation, hpke_key });
}

public(package) fun emit_role_defined(cluster: ID, role: String, priority: u8, stake: u64, open: bool) {
    event::emit(RoleDefined { cluster, role, priority, stake, open });
}

public(package) fun emit_role_removed(cluster: ID, role: String) {
    event::emit(RoleRemoved { cluster, role });
}

public(package) fun emit_rule_added(cluster: ID, role: String) {
    event::emit(RuleAdded { cluster, role });
}

public(package) fun emit_grant_added(cluster: ID, holder: address, role: String, expires_at_ms: u64) {
    event::emit(GrantAdded { cluster, holder, role, expires_at_ms });
}

public(package) fun emit_grant_removed(cluster: ID, holder: address, role: String) {
    event::emit(GrantRemoved { cluster, holder, role });
}

// === Public-Package Functions: seals ===

public(package) fun emit_seal_staked(cluster: ID, seal: ID, owner: address, role: String, amount: u64) {
    event::emit(SealStaked { cluster, seal, owner, role, amount });
}

public(package) fun emit_stake_added(cluster: ID, seal: ID, amount: u64) {
    event::emit(StakeAdded { cluster, seal, amount });
}

public(package) fun emit_unstaking_started(cluster: ID, seal: ID, amount: u64, withdrawable_at_ms: u64) {
    event::emit(UnstakingStarted { cluster, seal, amount, withdrawable_at_ms });
}

public(package) fun emit_stake_withdrawn(cluster: ID, seal: ID, amount: u64) {
    event::emit(StakeWithdrawn { cluster, seal, amount });
}

public(package) fun emit_seal_revoked(
    cluster: ID,
    seal: ID,
    owner: address,
    withdrawable_at_ms: u64,
    reason: String,
) {
    event::emit(SealRevoked { cluster, seal, owner, withdrawable_at_ms, reason });
}

public(package) fun emit_seal_slashed(cluster: ID, seal: ID, amount: u64, reason: String) {
    event::emit(SealSlashed { cluster, seal, amount, reason });
}

public(package) fun emit_ownership_transferred(cluster: ID, seal: ID, old_owner: address, new_owner: address) {
    event::emit(OwnershipTransferred { cluster, seal, old_owner, new_owner });
}

public(package) fun emit_session_opened(
    cluster: ID,
    seal: ID,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
    namespaces: vector<String>,
) {
    event::emit(SessionOpened { cluster, seal, session_key, expires_at_ms, read_only, namespaces });
}

public(package) fun emit_session_closed(cluster: ID, seal: ID, session_key: vector<u8>) {
    event::emit(SessionClosed { cluster, seal, session_key });
}

public(package) fun emit_sessions_closed(cluster: ID, seal: ID, closed: u64) {
    event::emit(SessionsClosed { cluster, seal, closed });
}
