/// A cluster with a gateway, an executor, an open role and a holder's seal with one session, for the unit tests.
///
/// The scenario ends with the setting: objects are held from then on, so a test is one transaction, and whoever acts is
/// named in each call. Ids in a scenario are predictable, which is why `signed` can hold a signature for this seal.
#[test_only]
module k3s_daas::world;

use k3s_daas::capability::{AccessCap, ClusterCap, MemberCap, PauseCap};
use k3s_daas::cluster::{Self, Cluster};
use k3s_daas::k8s_gateway;
use k3s_daas::policy::Policy;
use k3s_daas::seal::{Self, SealToken};
use k3s_daas::signed;
use std::bcs;
use std::string::String;
use std::unit_test::{assert_eq, destroy};
use sui::clock::{Self, Clock};
use sui::coin::{Self, Coin};
use sui::event;
use sui::sui::SUI;
use sui::test_scenario::{Self, Scenario};

// === Constants ===

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
const MIN_WRITE_STAKE: u64 = 1_000;
const COMMANDS_PER_MINUTE: u64 = 4;
const HPKE_KEY_BYTES: u64 = 1_216;
const OTHER_TRANSACTION: u64 = 50;
const TIME_BYTES: u8 = 8;

// === Structs ===

public struct World {
    scenario: Scenario,
    clock: Clock,
    cluster: Cluster,
    seal: SealToken,
    /// Numbers the transactions after the scenario's.
    transactions: u64,
}

/// All capabilities over one cluster.
public struct Caps {
    admin: ClusterCap,
    pause: PauseCap,
    members: MemberCap,
    access: AccessCap,
}

/// The arguments of a command; `command` makes an acceptable one.
public struct Command has copy, drop {
    request_id: vector<u8>,
    session_key: vector<u8>,
    secret_hash: vector<u8>,
    not_before_ms: u64,
    token_expires_at_ms: u64,
    claims_signature: vector<u8>,
    attributes: vector<String>,
    executor: address,
    start_by_ms: u64,
    finish_by_ms: u64,
    answer_by_ms: u64,
    payload: vector<vector<u8>>,
}

// === Who there is ===

public fun admin(): address { @0xAD }

public fun holder(): address { @0xB0 }

public fun executor(): address { @0xE0 }

/// The one that the claims name.
public fun gateway(): address { signed::gateway() }

public fun stranger(): address { @0x57 }

public fun role(): String { b"operator".to_string() }

public fun listener_namespace(): String { b"daas-listener".to_string() }

public fun min_write_stake(): u64 { MIN_WRITE_STAKE }

public fun commands_per_minute(): u64 { COMMANDS_PER_MINUTE }

public fun start_ms(): u64 { signed::now_ms() }

public fun second_ms(): u64 { SECOND_MS }

public fun minute_ms(): u64 { MINUTE_MS }

public fun day_ms(): u64 { DAY_MS }

// === The setting ===

public fun policy(): Policy { policy_with(COMMANDS_PER_MINUTE, 1_000_000_000) }

/// Half of a stake can be slashed; seven days of unbonding; writes are kept an hour longer than reads.
public fun policy_with(commands_per_minute: u64, deposit_per_day: u64): Policy {
    cluster::new_policy(
        MIN_WRITE_STAKE,
        7 * DAY_MS,
        5_000,
        30 * DAY_MS,
        MINUTE_MS,
        10 * MINUTE_MS,
        30 * MINUTE_MS,
        60 * MINUTE_MS,
        120 * MINUTE_MS,
        MINUTE_MS,
        180 * MINUTE_MS,
        commands_per_minute,
        deposit_per_day,
        20_000,
    )
}

public fun begin(): (World, Caps) {
    let mut scenario = test_scenario::begin(admin());
    let admin_cap = cluster::create(b"prod".to_string(), listener_namespace(), policy(), scenario.ctx());
    let mut clock = clock::create_for_testing(scenario.ctx());
    clock.set_for_testing(start_ms());

    scenario.next_tx(admin());
    let mut cluster: Cluster = scenario.take_shared();
    let caps = issue_caps(&mut cluster, admin_cap, &mut scenario);
    cluster.add_gateway(&caps.members, gateway());
    cluster.add_executor(&caps.members, executor());
    define_open_role(&mut cluster, &caps.access);
    test_scenario::return_shared(cluster);

    scenario.next_tx(executor());
    cluster = scenario.take_shared();
    cluster.announce_key(hpke_key(), 1, b"signature", scenario.ctx());
    test_scenario::return_shared(cluster);

    scenario.next_tx(holder());
    cluster = scenario.take_shared();
    let payment = coin::mint_for_testing(MIN_WRITE_STAKE, scenario.ctx());
    seal::stake(&cluster, role(), payment, start_ms() + 30 * DAY_MS, &clock, scenario.ctx());
    test_scenario::return_shared(cluster);

    scenario.next_tx(holder());
    cluster = scenario.take_shared();
    let mut seal: SealToken = scenario.take_shared();
    // Else the signature is for another seal.
    assert_eq!(object::id_address(&cluster), signed::cluster());
    assert_eq!(object::id_address(&seal), signed::seal());
    let session_ends_at_ms = start_ms() + 20 * DAY_MS;
    seal::open_session(
        &cluster,
        &mut seal,
        signed::session_key(),
        session_ends_at_ms,
        false,
        vector[],
        &clock,
        scenario.ctx(),
    );
    (World { scenario, clock, cluster, seal, transactions: 100 }, caps)
}

/// Capabilities over a cluster of somebody else, as `other_cluster` makes them.
public fun other_caps(): Caps {
    let (cluster, caps) = other_cluster();
    destroy(cluster);
    caps
}

/// A cluster of somebody else. To be made before the world, whose transactions have other numbers.
public fun other_cluster(): (Cluster, Caps) {
    let mut scenario = test_scenario::begin(stranger());
    OTHER_TRANSACTION.do!(|_| { scenario.next_tx(stranger()); });
    let admin = cluster::create(b"other".to_string(), listener_namespace(), policy(), scenario.ctx());
    scenario.next_tx(stranger());
    let mut cluster: Cluster = scenario.take_shared();
    let caps = issue_caps(&mut cluster, admin, &mut scenario);
    destroy(scenario);
    (cluster, caps)
}

public fun end(self: World, caps: Caps) {
    destroy(self);
    destroy(caps);
}

/// In place of what a successful call returned.
public fun discard<T>(value: T) { destroy(value); }

// === Looking ===

public fun cluster(self: &World): &Cluster { &self.cluster }

public fun seal(self: &World): &SealToken { &self.seal }

public fun clock(self: &World): &Clock { &self.clock }

public fun cluster_id(self: &World): ID { object::id(&self.cluster) }

public fun seal_id(self: &World): ID { object::id(&self.seal) }

public fun now_ms(self: &World): u64 { self.clock.timestamp_ms() }

public fun pause_cap_id(caps: &Caps): ID { object::id(&caps.pause) }

public fun members_cap_id(caps: &Caps): ID { object::id(&caps.members) }

public fun access_cap_id(caps: &Caps): ID { object::id(&caps.access) }

/// How many events of the type there were.
public fun count<T: copy + drop>(): u64 { event::events_by_type<T>().length() }

/// BCS of the last event of the type.
public fun last<T: copy + drop>(): vector<u8> {
    let events = event::events_by_type<T>();
    bcs::to_bytes(&events[events.length() - 1])
}

/// BCS of two ids, with which every event of a seal begins, and of a value after them.
public fun about_seal<T>(self: &World, value: &T): vector<u8> {
    let mut bytes = bcs::to_bytes(&self.cluster_id());
    bytes.append(bcs::to_bytes(&self.seal_id()));
    bytes.append(bcs::to_bytes(value));
    bytes
}

// === Time and chance ===

public fun pass(self: &mut World, ms: u64) { self.clock.increment_for_testing(ms); }

/// To the beginning of the next minute of the clock.
public fun pass_minute(self: &mut World) {
    let now_ms = self.now_ms();
    self.pass(MINUTE_MS - now_ms % MINUTE_MS);
}

/// As if another version of the package had made the cluster.
public fun set_version(self: &mut World, version: u64) { self.cluster.set_version_for_testing(version); }

fun ctx(self: &mut World, sender: address): TxContext {
    self.transactions = self.transactions + 1;
    tx_context::new_from_hint(sender, self.transactions, 0, 0, 0)
}

// === The cluster ===

public fun set_policy(self: &mut World, caps: &Caps, policy: Policy) {
    self.cluster.set_policy(&caps.admin, policy);
}

public fun issue_pause_cap(self: &mut World, caps: &Caps): PauseCap {
    let mut ctx = self.ctx(admin());
    self.cluster.issue_pause_cap(&caps.admin, &mut ctx)
}

public fun issue_member_cap(self: &mut World, caps: &Caps): MemberCap {
    let mut ctx = self.ctx(admin());
    self.cluster.issue_member_cap(&caps.admin, &mut ctx)
}

public fun issue_access_cap(self: &mut World, caps: &Caps): AccessCap {
    let mut ctx = self.ctx(admin());
    self.cluster.issue_access_cap(&caps.admin, &mut ctx)
}

public fun revoke_capability(self: &mut World, caps: &Caps, capability: ID) {
    self.cluster.revoke_capability(&caps.admin, capability);
}

public fun pause(self: &mut World, caps: &Caps) { self.cluster.pause(&caps.pause); }

public fun resume(self: &mut World, caps: &Caps) { self.cluster.resume(&caps.admin); }

public fun migrate(self: &mut World, caps: &Caps) { self.cluster.migrate(&caps.admin); }

public fun add_gateway(self: &mut World, caps: &Caps, gateway: address) {
    self.cluster.add_gateway(&caps.members, gateway);
}

public fun remove_gateway(self: &mut World, caps: &Caps, gateway: address) {
    self.cluster.remove_gateway(&caps.members, gateway);
}

public fun add_executor(self: &mut World, caps: &Caps, executor: address) {
    self.cluster.add_executor(&caps.members, executor);
}

public fun remove_executor(self: &mut World, caps: &Caps, executor: address) {
    self.cluster.remove_executor(&caps.members, executor);
}

public fun announce_key(
    self: &mut World,
    executor: address,
    hpke_key: vector<u8>,
    generation: u64,
    signature: vector<u8>,
) {
    let ctx = self.ctx(executor);
    self.cluster.announce_key(hpke_key, generation, signature, &ctx);
}

public fun hpke_key(): vector<u8> { bytes(HPKE_KEY_BYTES) }

public fun define_role(self: &mut World, caps: &Caps, name: vector<u8>, priority: u8, stake: u64, open: bool) {
    self.cluster.define_role(&caps.access, name.to_string(), priority, stake, open);
}

/// A rule about resources of the group "".
public fun add_rule(
    self: &mut World,
    caps: &Caps,
    role: vector<u8>,
    verbs: vector<vector<u8>>,
    resources: vector<vector<u8>>,
    namespaces: vector<vector<u8>>,
) {
    self
        .cluster
        .add_rule(
            &caps.access,
            role.to_string(),
            texts(verbs),
            vector[b"".to_string()],
            texts(resources),
            texts(namespaces),
            vector[],
            vector[],
        );
}

public fun remove_role(self: &mut World, caps: &Caps, name: vector<u8>) {
    self.cluster.remove_role(&caps.access, name.to_string());
}

public fun grant(self: &mut World, caps: &Caps, holder: address, role: vector<u8>, expires_at_ms: u64) {
    self.cluster.grant(&caps.access, holder, role.to_string(), expires_at_ms);
}

public fun remove_grant(self: &mut World, caps: &Caps, holder: address, role: vector<u8>) {
    self.cluster.remove_grant(&caps.access, holder, role.to_string());
}

/// The open role becomes one that needs a grant; its rule stays.
public fun close_role(self: &mut World, caps: &Caps) {
    self.define_role(caps, *role().as_bytes(), 1, 0, false);
    self.add_rule(caps, *role().as_bytes(), vector[b"*"], vector[b"*"], vector[]);
}

// === The seal ===

public fun stake(self: &mut World, owner: address, role: vector<u8>, amount: u64, expires_at_ms: u64) {
    let mut ctx = self.ctx(owner);
    let payment = coin::mint_for_testing(amount, &mut ctx);
    seal::stake(&self.cluster, role.to_string(), payment, expires_at_ms, &self.clock, &mut ctx);
}

public fun add_stake(self: &mut World, sender: address, amount: u64) {
    let mut ctx = self.ctx(sender);
    let payment = coin::mint_for_testing(amount, &mut ctx);
    self.seal.add_stake(payment, &ctx);
}

public fun start_unstaking(self: &mut World, sender: address, amount: u64) {
    let ctx = self.ctx(sender);
    self.seal.start_unstaking(amount, &self.clock, &ctx);
}

/// The amount that was paid out.
public fun withdraw(self: &mut World, sender: address): u64 {
    let mut ctx = self.ctx(sender);
    value(self.seal.withdraw(&self.clock, &mut ctx))
}

public fun transfer_ownership(self: &mut World, sender: address, new_owner: address) {
    let ctx = self.ctx(sender);
    seal::transfer_ownership(&self.cluster, &mut self.seal, new_owner, &self.clock, &ctx);
}

public fun revoke(self: &mut World, caps: &Caps, reason: vector<u8>) {
    seal::revoke(&self.cluster, &caps.access, &mut self.seal, reason.to_string(), &self.clock);
}

/// By the capabilities of another cluster over that cluster.
public fun revoke_from(self: &mut World, cluster: &Cluster, caps: &Caps) {
    seal::revoke(cluster, &caps.access, &mut self.seal, b"spam".to_string(), &self.clock);
}

/// The amount that was taken.
public fun slash(self: &mut World, caps: &Caps, amount: u64, reason: vector<u8>): u64 {
    let mut ctx = self.ctx(admin());
    let reason = reason.to_string();
    value(seal::slash(&self.cluster, &caps.admin, &mut self.seal, amount, reason, &mut ctx))
}

public fun open_session(
    self: &mut World,
    sender: address,
    session_key: vector<u8>,
    expires_at_ms: u64,
    read_only: bool,
    namespaces: vector<vector<u8>>,
) {
    let ctx = self.ctx(sender);
    let namespaces = texts(namespaces);
    seal::open_session(
        &self.cluster,
        &mut self.seal,
        session_key,
        expires_at_ms,
        read_only,
        namespaces,
        &self.clock,
        &ctx,
    );
}

/// The session whose key signed gets new terms.
public fun reopen_session(self: &mut World, read_only: bool, namespaces: vector<vector<u8>>) {
    let expires_at_ms = self.now_ms() + DAY_MS;
    self.open_session(holder(), signed::session_key(), expires_at_ms, read_only, namespaces);
}

public fun close_session(self: &mut World, sender: address, session_key: vector<u8>) {
    let ctx = self.ctx(sender);
    self.seal.close_session(session_key, &ctx);
}

public fun close_all_sessions(self: &mut World, sender: address) {
    let ctx = self.ctx(sender);
    self.seal.close_all_sessions(&ctx);
}

// === Commands ===

/// A read that is acceptable at the present time, as often as the number differs.
public fun command(self: &World, number: u8): Command {
    let now_ms = self.now_ms();
    Command {
        request_id: request_id(now_ms, number),
        session_key: signed::session_key(),
        secret_hash: signed::secret_hash(),
        not_before_ms: signed::not_before_ms(),
        token_expires_at_ms: signed::expires_at_ms(),
        claims_signature: signed::signature(),
        attributes: texts(vector[b"get", b"", b"v1", b"pods", b"", b"shop", b"web", b""]),
        executor: executor(),
        start_by_ms: now_ms + 20 * SECOND_MS,
        finish_by_ms: now_ms + 5 * MINUTE_MS,
        answer_by_ms: now_ms + 20 * MINUTE_MS,
        payload: vector[b"sealed ", b"request"],
    }
}

/// The time in the first 8 bytes, big-endian.
public fun request_id(time_ms: u64, number: u8): vector<u8> {
    let mut id = vector[];
    TIME_BYTES.do!(|i| id.push_back(((time_ms >> (8 * (TIME_BYTES - 1 - i))) & 0xff) as u8));
    TIME_BYTES.do!(|_| id.push_back(number));
    id
}

public fun with_request_id(mut self: Command, request_id: vector<u8>): Command {
    self.request_id = request_id;
    self
}

public fun with_session_key(mut self: Command, session_key: vector<u8>): Command {
    self.session_key = session_key;
    self
}

public fun with_claims(mut self: Command, not_before_ms: u64, expires_at_ms: u64, secret_hash: vector<u8>): Command {
    self.not_before_ms = not_before_ms;
    self.token_expires_at_ms = expires_at_ms;
    self.secret_hash = secret_hash;
    self
}

/// Verb, group, version, resource, subresource, namespace, name, URL.
public fun with_attributes(mut self: Command, attributes: vector<vector<u8>>): Command {
    self.attributes = texts(attributes);
    self
}

/// Deletes what the acceptable one gets.
public fun writing(self: Command): Command {
    self.with_attributes(vector[b"delete", b"", b"v1", b"pods", b"", b"shop", b"web", b""])
}

public fun with_executor(mut self: Command, executor: address): Command {
    self.executor = executor;
    self
}

public fun with_times(mut self: Command, start_by_ms: u64, finish_by_ms: u64, answer_by_ms: u64): Command {
    self.start_by_ms = start_by_ms;
    self.finish_by_ms = finish_by_ms;
    self.answer_by_ms = answer_by_ms;
    self
}

public fun with_payload(mut self: Command, payload: vector<vector<u8>>): Command {
    self.payload = payload;
    self
}

public fun id(self: &Command): vector<u8> { self.request_id }

public fun execute(self: &mut World, sender: address, command: Command) {
    let mut ctx = self.ctx(sender);
    k8s_gateway::execute_kubectl_command_with_id(
        &self.cluster,
        &mut self.seal,
        command.request_id,
        command.session_key,
        command.secret_hash,
        command.not_before_ms,
        command.token_expires_at_ms,
        command.claims_signature,
        command.attributes[0],
        command.attributes[1],
        command.attributes[2],
        command.attributes[3],
        command.attributes[4],
        command.attributes[5],
        command.attributes[6],
        command.attributes[7],
        command.executor,
        command.start_by_ms,
        command.finish_by_ms,
        command.answer_by_ms,
        command.payload,
        &self.clock,
        &mut ctx,
    );
}

public fun execute_by_reference(
    self: &mut World,
    command: Command,
    reference: vector<u8>,
    hash: vector<u8>,
    size: u64,
) {
    let mut ctx = self.ctx(gateway());
    k8s_gateway::execute_kubectl_command_by_reference(
        &self.cluster,
        &mut self.seal,
        command.request_id,
        command.session_key,
        command.secret_hash,
        command.not_before_ms,
        command.token_expires_at_ms,
        command.claims_signature,
        command.attributes[0],
        command.attributes[1],
        command.attributes[2],
        command.attributes[3],
        command.attributes[4],
        command.attributes[5],
        command.attributes[6],
        command.attributes[7],
        command.executor,
        command.start_by_ms,
        command.finish_by_ms,
        command.answer_by_ms,
        reference,
        hash,
        size,
        &self.clock,
        &mut ctx,
    );
}

/// The acceptable command of that number, executed: its request id.
public fun executed(self: &mut World, number: u8): vector<u8> {
    let command = self.command(number);
    self.execute(gateway(), command);
    command.request_id
}

// === Responses ===

public fun answer(self: &mut World, sender: address, request_id: vector<u8>, status_code: u16) {
    self.answer_with(sender, request_id, status_code, vector[b"sealed response"]);
}

public fun answer_with(
    self: &mut World,
    sender: address,
    request_id: vector<u8>,
    status_code: u16,
    response: vector<vector<u8>>,
) {
    let mut ctx = self.ctx(sender);
    k8s_gateway::store_k8s_response(
        &self.cluster,
        &mut self.seal,
        request_id,
        status_code,
        response,
        &self.clock,
        &mut ctx,
    );
}

public fun answer_by_reference(
    self: &mut World,
    request_id: vector<u8>,
    reference: vector<u8>,
    hash: vector<u8>,
    size: u64,
) {
    let mut ctx = self.ctx(executor());
    k8s_gateway::store_k8s_response_by_reference(
        &self.cluster,
        &mut self.seal,
        request_id,
        200,
        reference,
        hash,
        size,
        &self.clock,
        &mut ctx,
    );
}

public fun reclaim(self: &mut World, sender: address, request_ids: vector<vector<u8>>) {
    let mut ctx = self.ctx(sender);
    k8s_gateway::reclaim(&self.cluster, &mut self.seal, request_ids, &self.clock, &mut ctx);
}

// === Helpers ===

public fun bytes(length: u64): vector<u8> { vector::tabulate!(length, |i| (i % 256) as u8) }

public fun texts(all: vector<vector<u8>>): vector<String> { all.map!(|one| one.to_string()) }

fun issue_caps(cluster: &mut Cluster, admin: ClusterCap, scenario: &mut Scenario): Caps {
    let pause = cluster.issue_pause_cap(&admin, scenario.ctx());
    let members = cluster.issue_member_cap(&admin, scenario.ctx());
    let access = cluster.issue_access_cap(&admin, scenario.ctx());
    Caps { admin, pause, members, access }
}

fun define_open_role(cluster: &mut Cluster, access: &AccessCap) {
    let anything = vector[b"*".to_string()];
    cluster.define_role(access, role(), 1, 0, true);
    cluster.add_rule(access, role(), anything, anything, anything, vector[], vector[], vector[]);
    let discovery = vector[b"/openapi/*".to_string()];
    cluster.add_rule(access, role(), vector[b"get".to_string()], vector[], vector[], vector[], vector[], discovery);
}

fun value(coin: Coin<SUI>): u64 { coin::burn_for_testing(coin) }
