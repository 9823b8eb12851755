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

// === Structs: clusters ===

public struct ClusterCreated has copy, drop { cluster: ID, name: String, listener_namespace: String }

public struct PolicyChanged has copy, drop { cluster: ID }

public struct ClusterPaused has copy, drop { cluster: ID }

public struct ClusterResumed has copy, drop { cluster: ID }

public struct GatewayAdded has copy, drop { cluster: ID, gateway: address }

public struct GatewayRemoved has copy, drop { cluster: ID, gateway: address }

public struct ExecutorAdded has copy, drop { cluster: ID, executor: address }

public struct ExecutorRemoved has copy, drop { cluster: ID, executor: address }

public struct RoleDefined has copy, drop { cluster: ID, role: String, priority: u8, stake: u64, open: bool }

public struct RuleAdded has copy, drop { cluster: ID, role: String }

public struct GrantAdded has copy, drop { cluster: ID, holder: address, role: String, expires_at_ms: u64 }

public struct GrantRemoved has copy, drop { cluster: ID, holder: address, role: String }

// === Structs: seals ===

public struct SealStaked has copy, drop { cluster: ID, seal: ID, owner: address, role: String, amount: u64 }

public struct StakeAdded has copy, drop { cluster: ID, seal: ID, amount: u64 }

public struct UnstakingStarted has copy, drop { cluster: ID, seal: ID, amount: u64, withdrawable_at_ms: u64 }

public struct StakeWithdrawn has copy, drop { cluster: ID, seal: ID, amount: u64 }

public struct SealRevoked has copy, drop { cluster: ID, seal: ID, owner: address, withdrawable_at_ms: u64 }

public struct SessionOpened has copy, drop {
    cluster: ID,
    seal: ID,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
}

public struct SessionClosed has copy, drop { cluster: ID, seal: ID, session_key: vector<u8> }

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

public(package) fun emit_role_defined(cluster: ID, role: String, priority: u8, stake: u64, open: bool) {
    event::emit(RoleDefined { cluster, role, priority, stake, open });
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

public(package) fun emit_seal_revoked(cluster: ID, seal: ID, owner: address, withdrawable_at_ms: u64) {
    event::emit(SealRevoked { cluster, seal, owner, withdrawable_at_ms });
}

public(package) fun emit_session_opened(
    cluster: ID,
    seal: ID,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
) {
    event::emit(SessionOpened { cluster, seal, session_key, expires_at_ms, read_only });
}

public(package) fun emit_session_closed(cluster: ID, seal: ID, session_key: vector<u8>) {
    event::emit(SessionClosed { cluster, seal, session_key });
}
