/// Commands: the decision whether a request may run, and the record of what came of it.
///
/// A request is a dynamic field of its seal. Its key is the request id, so an id is used once, and the field's address
/// is known off chain before the request exists. Bodies stay in the transactions' inputs or off chain: objects and
/// events hold hashes of ciphertext only. In the end the request is deleted, and nothing is left of it but its events.
module k3s_daas::k8s_gateway;

use k3s_daas::attributes::{Self, Attributes};
use k3s_daas::cluster::Cluster;
use k3s_daas::events;
use k3s_daas::payload::{Self, Payload};
use k3s_daas::policy::Policy;
use k3s_daas::request_id;
use k3s_daas::seal::SealToken;
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
/// The storage deposit is for those who paid it; others may reclaim 30 days later.
const ENotPayer: u64 = 411;
/// The reference has no bytes or too many, or the hash is none.
const EInvalidReference: u64 = 412;
/// More than one call may reclaim.
const ETooManyRequests: u64 = 413;

// === Constants ===

const MIN_STATUS_CODE: u16 = 200;
const MAX_STATUS_CODE: u16 = 599;

const IGNORED_UNKNOWN: u8 = 0;
const IGNORED_ANSWERED: u8 = 1;
const IGNORED_TOO_LATE: u8 = 2;

/// Largest number of requests that one call reclaims.
const MAX_RECLAIMED: u64 = 64;
/// For so long after it is due, a request's deposit is for the payers.
const PAYERS_TIME_MS: u64 = 2_592_000_000;

/// Metered bytes of an answered request without its texts, answered by the longest reference. The parts are in
/// `docs/contract.md`.
const REQUEST_BYTES: u64 = 700;
/// MIST of storage deposit for a byte: 100 units at a price of 76.
const DEPOSIT_PER_BYTE: u64 = 7_600;

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
    /// Where the ciphertext lies off chain; empty if it is in the transaction.
    response_reference: vector<u8>,
    answered_at_ms: u64,
}

// === Public Functions: commands ===

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
    authorize(
        cluster,
        seal,
        request_id,
        &session_key,
        secret_hash,
        not_before_ms,
        token_expires_at_ms,
        &claims_signature,
        &attributes,
        clock,
        ctx,
    );
    cluster.assert_assignable(executor);
    assert_deadlines(cluster.policy(), start_by_ms, finish_by_ms, answer_by_ms, clock);
    accept(
        cluster,
        seal,
        request_id,
        session_key,
        attributes,
        executor,
        start_by_ms,
        finish_by_ms,
        answer_by_ms,
        inline_payload(&payload, cluster.policy()),
        clock,
        ctx,
    );
}

/// The same for a body that lies off chain: the hash is the one that its ciphertext would have in a transaction.
public fun execute_kubectl_command_by_reference(
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
    payload_reference: vector<u8>,
    payload_hash: vector<u8>,
    payload_size: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
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
    authorize(
        cluster,
        seal,
        request_id,
        &session_key,
        secret_hash,
        not_before_ms,
        token_expires_at_ms,
        &claims_signature,
        &attributes,
        clock,
        ctx,
    );
    cluster.assert_assignable(executor);
    assert_deadlines(cluster.policy(), start_by_ms, finish_by_ms, answer_by_ms, clock);
    accept(
        cluster,
        seal,
        request_id,
        session_key,
        attributes,
        executor,
        start_by_ms,
        finish_by_ms,
        answer_by_ms,
        referenced_payload(payload_reference, payload_hash, payload_size),
        clock,
        ctx,
    );
}

// === Public Functions: responses ===

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
    assert_answerable(cluster, seal, &request_id, status_code);
    let payload = inline_payload(&response, cluster.policy());
    answer(cluster, seal, request_id, status_code, payload, clock, ctx);
}

/// The same for a body that lies off chain.
public fun store_k8s_response_by_reference(
    cluster: &Cluster,
    seal: &mut SealToken,
    request_id: vector<u8>,
    status_code: u16,
    response_reference: vector<u8>,
    response_hash: vector<u8>,
    response_size: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    assert_answerable(cluster, seal, &request_id, status_code);
    let payload = referenced_payload(response_reference, response_hash, response_size);
    answer(cluster, seal, request_id, status_code, payload, clock, ctx);
}

// === Public Functions: the end of requests ===

/// Deletes those of the requests that are due, and passes over the others and those that do not exist: several payers
/// may be at it. The storage deposit goes to whoever pays for the transaction, so it is open to registered gateways
/// and executors first, and to everybody 30 days later.
public fun reclaim(
    cluster: &Cluster,
    seal: &mut SealToken,
    request_ids: vector<vector<u8>>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    cluster.assert_version();
    seal.assert_cluster(cluster);
    let count = request_ids.length();
    assert!(count <= MAX_RECLAIMED, ETooManyRequests);
    let now_ms = clock.timestamp_ms();
    let by = ctx.sender();
    let is_payer = cluster.is_gateway(by) || cluster.is_executor(by);
    let mut reclaimed = 0;
    let mut timed_out = 0;
    let mut i = 0;
    while (i < count) {
        let key = RequestKey { id: request_ids[i] };
        if (is_due(seal, key, now_ms, is_payer)) {
            if (delete(seal, key, object::id(cluster), now_ms)) timed_out = timed_out + 1;
            reclaimed = reclaimed + 1;
        };
        i = i + 1;
    };
    // Others leave no trace of calls that did nothing.
    assert!(is_payer || reclaimed > 0, ENotPayer);
    let skipped = count - reclaimed;
    events::emit_requests_reclaimed(
        object::id(cluster),
        object::id(seal),
        by,
        reclaimed,
        timed_out,
        skipped,
    );
}

// === Private Functions: commands ===

/// The sender may submit this for the seal, now.
fun authorize(
    cluster: &Cluster,
    seal: &SealToken,
    request_id: vector<u8>,
    session_key: &vector<u8>,
    secret_hash: vector<u8>,
    not_before_ms: u64,
    token_expires_at_ms: u64,
    claims_signature: &vector<u8>,
    attributes: &Attributes,
    clock: &Clock,
    ctx: &TxContext,
) {
    let now_ms = clock.timestamp_ms();
    let gateway = ctx.sender();
    cluster.assert_version();
    seal.assert_cluster(cluster);
    cluster.assert_gateway(gateway);
    // Before all that time or an administrator may have changed since: whoever submits again learns that it is done.
    assert!(request_id::is_well_formed(&request_id), EInvalidRequestId);
    assert!(!dynamic_field::exists_(seal.uid(), RequestKey { id: request_id }), ERequestExists);
    assert!(request_id::is_in_window(&request_id, now_ms), ERequestIdOutsideWindow);
    cluster.assert_not_paused();

    seal.assert_live(now_ms);
    seal.assert_claims(
        session_key,
        secret_hash,
        not_before_ms,
        token_expires_at_ms,
        claims_signature,
        gateway,
        now_ms,
    );
    seal.assert_owner_granted(cluster, now_ms);

    assert!(attributes.is_well_formed(), EMalformedAttributes);
    cluster.role(&seal.role()).assert_admits(attributes, cluster.listener_namespace());
    seal.assert_session_reaches(session_key, attributes);
    if (!attributes.is_read()) seal.assert_may_write(cluster, session_key);
}

fun assert_deadlines(
    policy: &Policy,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
    clock: &Clock,
) {
    let now_ms = clock.timestamp_ms();
    assert!(now_ms <= start_by_ms, EStartByPassed);
    let in_order = start_by_ms < finish_by_ms && finish_by_ms < answer_by_ms;
    let in_bounds = start_by_ms <= now_ms + policy.max_start_ms()
        && finish_by_ms <= now_ms + policy.max_finish_ms()
        && answer_by_ms <= now_ms + policy.max_answer_ms();
    assert!(in_order && in_bounds, EInvalidDeadlines);
}

/// Records and announces what was authorized.
fun accept(
    cluster: &Cluster,
    seal: &mut SealToken,
    request_id: vector<u8>,
    session_key: vector<u8>,
    attributes: Attributes,
    executor: address,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
    payload: Payload,
    clock: &Clock,
    ctx: &TxContext,
) {
    let now_ms = clock.timestamp_ms();
    let priority = cluster.role(&seal.role()).priority();
    let request = Request {
        executor,
        gateway: ctx.sender(),
        requester: seal.owner(),
        role: seal.role(),
        attributes,
        priority,
        request_hash: payload.hash(),
        request_size: payload.size(),
        accepted_at_ms: now_ms,
        start_by_ms,
        finish_by_ms,
        answer_by_ms,
        expires_at_ms: answer_by_ms + cluster.policy().ttl_ms(attributes.is_read(), priority),
        response: option::none(),
    };
    seal.count_command(cluster, request.deposit(), now_ms);
    request.announce(cluster, seal, request_id, session_key, payload.reference());
    dynamic_field::add(seal.uid_mut(), RequestKey { id: request_id }, request);
}

/// Estimate of the MIST that payers advance until the request is reclaimed; never less than what they do.
fun deposit(self: &Request): u64 {
    (REQUEST_BYTES + self.role.length() + self.attributes.text_bytes()) * DEPOSIT_PER_BYTE
}

fun announce(
    self: &Request,
    cluster: &Cluster,
    seal: &SealToken,
    request_id: vector<u8>,
    session_key: vector<u8>,
    payload_reference: vector<u8>,
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
        payload_reference,
        self.accepted_at_ms,
        self.start_by_ms,
        self.finish_by_ms,
        self.answer_by_ms,
    );
}

// === Private Functions: payloads ===

fun inline_payload(chunks: &vector<vector<u8>>, policy: &Policy): Payload {
    assert!(payload::fits(chunks, policy.max_inline_bytes()), EPayloadTooLarge);
    assert!(!payload::has_gap(chunks), EEmptyPayload);
    payload::inline(chunks)
}

fun referenced_payload(reference: vector<u8>, hash: vector<u8>, size: u64): Payload {
    assert!(payload::is_reference(&reference, &hash), EInvalidReference);
    assert!(size > 0, EEmptyPayload);
    assert!(payload::is_referable(size), EPayloadTooLarge);
    payload::referenced(reference, hash, size)
}

// === Private Functions: responses ===

fun assert_answerable(cluster: &Cluster, seal: &SealToken, request_id: &vector<u8>, status_code: u16) {
    cluster.assert_version();
    seal.assert_cluster(cluster);
    assert!(request_id::is_well_formed(request_id), EInvalidRequestId);
    assert!(status_code >= MIN_STATUS_CODE && status_code <= MAX_STATUS_CODE, EInvalidStatusCode);
}

fun answer(
    cluster: &Cluster,
    seal: &mut SealToken,
    request_id: vector<u8>,
    status_code: u16,
    payload: Payload,
    clock: &Clock,
    ctx: &TxContext,
) {
    let now_ms = clock.timestamp_ms();
    let executor = ctx.sender();
    let key = RequestKey { id: request_id };
    let (cluster_id, seal_id) = (object::id(cluster), object::id(seal));
    if (!dynamic_field::exists_(seal.uid(), key)) {
        // Only executors may leave traces of requests that never were.
        assert!(cluster.is_executor(executor), ENotAssignedExecutor);
        events::emit_response_ignored(cluster_id, seal_id, request_id, executor, IGNORED_UNKNOWN);
        return
    };
    let present: &Request = dynamic_field::borrow(seal.uid(), key);
    assert!(present.executor == executor, ENotAssignedExecutor);
    if (present.response.is_some()) {
        events::emit_response_ignored(cluster_id, seal_id, request_id, executor, IGNORED_ANSWERED);
        return
    };
    if (now_ms > present.answer_by_ms) {
        events::emit_response_ignored(cluster_id, seal_id, request_id, executor, IGNORED_TOO_LATE);
        return
    };
    // Only now: readers find the answer's ciphertext through the transaction that changed the request last.
    let request: &mut Request = dynamic_field::borrow_mut(seal.uid_mut(), key);
    request.response.fill(Response {
        status_code,
        response_hash: payload.hash(),
        response_size: payload.size(),
        response_reference: payload.reference(),
        answered_at_ms: now_ms,
    });
    request.expires_at_ms = now_ms + cluster.policy().ttl_ms(request.attributes.is_read(), request.priority);
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
        payload.hash(),
        payload.size(),
        request.accepted_at_ms,
        now_ms,
    );
}

// === Private Functions: the end of requests ===

/// There is such a request, and its time is over. Aborts if it is so for the payers only, and the sender is none.
fun is_due(seal: &SealToken, key: RequestKey, now_ms: u64, is_payer: bool): bool {
    if (!dynamic_field::exists_(seal.uid(), key)) return false;
    let request: &Request = dynamic_field::borrow(seal.uid(), key);
    let due_at_ms = request.due_at_ms(&key.id);
    if (now_ms < due_at_ms) return false;
    assert!(is_payer || now_ms - due_at_ms >= PAYERS_TIME_MS, ENotPayer);
    true
}

/// An answered request is kept for its readers, an unanswered one until it can be answered no more, and each until
/// its id cannot be used again.
fun due_at_ms(self: &Request, request_id: &vector<u8>): u64 {
    let mut due_at_ms = request_id::end_of_window_ms(request_id);
    if (due_at_ms < self.expires_at_ms) due_at_ms = self.expires_at_ms;
    let answered = self.response.is_some();
    if (!answered && due_at_ms <= self.answer_by_ms) due_at_ms = self.answer_by_ms + 1;
    due_at_ms
}

/// Says whether it had not been answered.
fun delete(seal: &mut SealToken, key: RequestKey, cluster: ID, now_ms: u64): bool {
    let seal_id = object::id(seal);
    let Request { executor, requester, answer_by_ms, response, .. } =
        dynamic_field::remove<RequestKey, Request>(seal.uid_mut(), key);
    if (response.is_some()) return false;
    events::emit_request_timed_out(cluster, seal_id, key.id, requester, executor, answer_by_ms, now_ms);
    true
}
