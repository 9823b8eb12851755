/// Commands: the decision whether a request may run, and the record of what came of it.
///
/// A request is a dynamic field of its seal. Its key is the request id, so an id is used once, and the field's address
/// is known off chain before the request exists. Bodies stay in the transactions' inputs: objects and events hold
/// hashes of ciphertext only.
module k3s_daas::k8s_gateway;

use k3s_daas::attributes::{Self, Attributes};
use k3s_daas::cluster::Cluster;
use k3s_daas::events;
use k3s_daas::policy::Policy;
use k3s_daas::seal::SealToken;
use std::hash;
use std::string::String;
use sui::clock::Clock;
use sui::dynamic_field;

// === Errors ===

/// The request id is used already. (For whoever submitted it, that is a success.)
const ERequestExists: u64 = 401;
/// Not 16 bytes.
const EInvalidRequestId: u64 = 402;
/// The time in the request id is not the time now.
const ERequestIdOutsideWindow: u64 = 403;
/// Too late to start the request.
const EStartByPassed: u64 = 404;
/// The three times are out of order, or later than the policy allows.
const EInvalidDeadlines: u64 = 405;
const EPayloadTooLarge: u64 = 406;
/// No payload, or an empty chunk in it: ciphertext is never empty.
const EEmptyPayload: u64 = 407;
const EMalformedAttributes: u64 = 408;
const ENotAssignedExecutor: u64 = 409;
/// Not the status of an HTTP response.
const EInvalidStatusCode: u64 = 410;

// === Constants ===

const REQUEST_ID_BYTES: u64 = 16;
/// A request id's first bytes are its time in ms, big-endian.
const REQUEST_ID_TIME_BYTES: u64 = 8;
const REQUEST_ID_MAX_AGE_MS: u64 = 60_000;
/// How far the clock that made the id may be ahead of the chain's.
const REQUEST_ID_MAX_AHEAD_MS: u64 = 5_000;

const MAX_CHUNK_BYTES: u64 = 16_000;
/// More cannot be needed: 8 of them are more than the largest payload that a policy allows.
const MAX_CHUNKS: u64 = 8;

const MIN_STATUS_CODE: u16 = 200;
const MAX_STATUS_CODE: u16 = 599;

const IGNORED_UNKNOWN: u8 = 0;
const IGNORED_ANSWERED: u8 = 1;
const IGNORED_TOO_LATE: u8 = 2;

// === Structs ===

public struct RequestKey has copy, drop, store { id: vector<u8> }

public struct Request has store {
    executor: address,
    gateway: address,
    requester: address,
    role: String,
    attributes: Attributes,
    priority: u8,
    request_hash: vector<u8>,
    request_size: u64,
    accepted_at_ms: u64,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
    expires_at_ms: u64,
    response: Option<Response>,
}

public struct Response has copy, drop, store {
    status_code: u16,
    response_hash: vector<u8>,
    response_size: u64,
    answered_at_ms: u64,
}

// === Public Functions ===

/// Accepts one command of the seal's owner, submitted by a registered gateway that was shown claims of a session key.
///
/// Either the resource attributes are set, or `non_resource_url`: then it is the *pattern* of the role's rule that
/// admits the path.
public fun execute_kubectl_command_with_id(
    cluster: &Cluster,
    seal: &mut SealToken,
    request_id: vector<u8>,
    session_key: vector<u8>,
    secret_hash: vector<u8>,
    not_before_ms: u64,
    token_expires_at_ms: u64,
    claims_signature: vector<u8>,
    verb: String,
    api_group: String,
    api_version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    non_resource_url: String,
    executor: address,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
    payload: vector<vector<u8>>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let now_ms = clock.timestamp_ms();
    let gateway = ctx.sender();
    let key = RequestKey { id: request_id };
    cluster.assert_version();
    seal.assert_cluster(cluster);
    cluster.assert_gateway(gateway);
    // Before all that time or an administrator may have changed since: whoever submits again learns that it is done.
    assert_unused(seal, key);
    assert_in_window(&request_id, now_ms);
    cluster.assert_not_paused();

    seal.assert_live(now_ms);
    seal.assert_claims(
        &session_key,
        secret_hash,
        not_before_ms,
        token_expires_at_ms,
        &claims_signature,
        gateway,
        now_ms,
    );
    seal.assert_owner_granted(cluster, now_ms);

    let attributes = attributes::new(
        verb,
        api_group,
        api_version,
        resource,
        subresource,
        namespace,
        name,
        non_resource_url,
    );
    assert!(attributes.is_well_formed(), EMalformedAttributes);
    let role = cluster.role(&seal.role());
    role.assert_admits(&attributes, cluster.listener_namespace());
    if (!attributes.is_read()) seal.assert_may_write(cluster, &session_key);

    cluster.assert_executor(executor);
    let policy = cluster.policy();
    assert_deadlines(policy, start_by_ms, finish_by_ms, answer_by_ms, now_ms);
    let (request_hash, request_size) = digest(&payload, policy);

    let request = Request {
        executor,
        gateway,
        requester: seal.owner(),
        role: seal.role(),
        attributes,
        priority: role.priority(),
        request_hash,
        request_size,
        accepted_at_ms: now_ms,
        start_by_ms,
        finish_by_ms,
        answer_by_ms,
        expires_at_ms: answer_by_ms + policy.response_ttl_ms(),
        response: option::none(),
    };
    request.announce(cluster, seal, request_id, session_key);
    dynamic_field::add(seal.uid_mut(), key, request);
}

/// Records the assigned executor's answer, once, until `answer_by_ms`. An answer that comes for nothing changes
/// nothing and says so in an event, so that it does not abort the others in its transaction.
public fun store_k8s_response(
    cluster: &Cluster,
    seal: &mut SealToken,
    request_id: vector<u8>,
    status_code: u16,
    response: vector<vector<u8>>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let now_ms = clock.timestamp_ms();
    let executor = ctx.sender();
    let key = RequestKey { id: request_id };
    cluster.assert_version();
    seal.assert_cluster(cluster);
    assert!(request_id.length() == REQUEST_ID_BYTES, EInvalidRequestId);
    assert!(status_code >= MIN_STATUS_CODE && status_code <= MAX_STATUS_CODE, EInvalidStatusCode);
    let (response_hash, response_size) = digest(&response, cluster.policy());

    let (cluster_id, seal_id) = (object::id(cluster), object::id(seal));
    if (!dynamic_field::exists_(seal.uid(), key)) {
        // Only executors may leave traces of requests that never were.
        assert!(cluster.is_executor(executor), ENotAssignedExecutor);
        events::emit_response_ignored(cluster_id, seal_id, request_id, executor, IGNORED_UNKNOWN);
        return
    };
    let request: &mut Request = dynamic_field::borrow_mut(seal.uid_mut(), key);
    assert!(request.executor == executor, ENotAssignedExecutor);
    if (request.response.is_some()) {
        events::emit_response_ignored(cluster_id, seal_id, request_id, executor, IGNORED_ANSWERED);
        return
    };
    if (now_ms > request.answer_by_ms) {
        events::emit_response_ignored(cluster_id, seal_id, request_id, executor, IGNORED_TOO_LATE);
        return
    };
    request.response.fill(Response { status_code, response_hash, response_size, answered_at_ms: now_ms });
    request.expires_at_ms = now_ms + cluster.policy().response_ttl_ms();
    events::emit_request_processed(
        cluster_id,
        seal_id,
        request_id,
        request.requester,
        request.role,
        executor,
        &request.attributes,
        status_code,
        request.request_hash,
        response_hash,
        response_size,
        request.accepted_at_ms,
        now_ms,
    );
}

// === Private Functions ===

fun announce(
    self: &Request,
    cluster: &Cluster,
    seal: &SealToken,
    request_id: vector<u8>,
    session_key: vector<u8>,
) {
    events::emit_api_request(
        object::id(cluster),
        object::id(seal),
        request_id,
        self.requester,
        self.role,
        self.priority,
        self.gateway,
        self.executor,
        session_key,
        &self.attributes,
        self.request_hash,
        self.request_size,
        self.accepted_at_ms,
        self.start_by_ms,
        self.finish_by_ms,
        self.answer_by_ms,
    );
}

fun assert_unused(seal: &SealToken, key: RequestKey) {
    assert!(key.id.length() == REQUEST_ID_BYTES, EInvalidRequestId);
    assert!(!dynamic_field::exists_(seal.uid(), key), ERequestExists);
}

/// With it an id need be remembered only as long as its window lasts.
fun assert_in_window(request_id: &vector<u8>, now_ms: u64) {
    let mut time_ms = 0u64;
    let mut i = 0;
    while (i < REQUEST_ID_TIME_BYTES) {
        time_ms = (time_ms << 8) | (request_id[i] as u64);
        i = i + 1;
    };
    // In this order: a time near the end of u64 never reaches the sum.
    let in_window = time_ms <= now_ms + REQUEST_ID_MAX_AHEAD_MS && time_ms + REQUEST_ID_MAX_AGE_MS >= now_ms;
    assert!(in_window, ERequestIdOutsideWindow);
}

fun assert_deadlines(policy: &Policy, start_by_ms: u64, finish_by_ms: u64, answer_by_ms: u64, now_ms: u64) {
    assert!(now_ms <= start_by_ms, EStartByPassed);
    let in_order = start_by_ms < finish_by_ms && finish_by_ms < answer_by_ms;
    let in_bounds = start_by_ms <= now_ms + policy.max_start_ms()
        && finish_by_ms <= now_ms + policy.max_finish_ms()
        && answer_by_ms <= now_ms + policy.max_answer_ms();
    assert!(in_order && in_bounds, EInvalidDeadlines);
}

/// SHA3-256 of the concatenated SHA3-256 of the chunks, and their size in bytes. (Chunks are never concatenated: that
/// would cost far more gas than hashing them.)
fun digest(chunks: &vector<vector<u8>>, policy: &Policy): (vector<u8>, u64) {
    let count = chunks.length();
    assert!(count > 0, EEmptyPayload);
    assert!(count <= MAX_CHUNKS, EPayloadTooLarge);
    let mut size = 0;
    let mut hashes = vector[];
    let mut i = 0;
    while (i < count) {
        let chunk = &chunks[i];
        let length = chunk.length();
        assert!(length > 0, EEmptyPayload);
        assert!(length <= MAX_CHUNK_BYTES, EPayloadTooLarge);
        size = size + length;
        hashes.append(hash::sha3_256(*chunk));
        i = i + 1;
    };
    assert!(size <= policy.max_inline_bytes(), EPayloadTooLarge);
    (hash::sha3_256(hashes), size)
}
