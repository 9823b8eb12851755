#[test_only]
module k3s_daas::cluster_tests;

use k3s_daas::cluster;
use k3s_daas::events;
use k3s_daas::world;
use std::unit_test::assert_eq;

const MAX_MEMBERS: u64 = 16;
const MAX_ROLES: u64 = 32;
const MAX_CAPABILITIES: u64 = 32;

// === Creation ===

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidName)]
fun a_cluster_is_named_like_a_dns_label() {
    let mut ctx = tx_context::dummy();
    let name = b"Prod".to_string();
    let cap = cluster::create(name, world::listener_namespace(), world::policy(), &mut ctx);
    world::discard(cap);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidName)]
fun so_is_the_listeners_namespace() {
    let mut ctx = tx_context::dummy();
    let cap = cluster::create(b"prod".to_string(), b"".to_string(), world::policy(), &mut ctx);
    world::discard(cap);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidPolicy)]
fun a_policy_without_commands_is_refused() {
    world::policy_with(0, 1);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidPolicy)]
fun unbonding_takes_thirty_days_at_most() {
    cluster::new_policy(1, 30 * world::day_ms() + 1, 0, 1, 1, 2, 3, 0, 0, 0, 0, 1, 1, 1);
}

// === Capabilities ===

#[test, expected_failure(abort_code = k3s_daas::cluster::ENotClusterCapability)]
fun the_administrator_of_another_cluster_cannot_set_the_policy() {
    let other = world::other_caps();
    let (mut w, caps) = world::begin();
    w.set_policy(&other, world::policy());
    world::discard(other);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ENotClusterCapability)]
fun nor_can_another_clusters_guard_pause_it() {
    let other = world::other_caps();
    let (mut w, caps) = world::begin();
    w.pause(&other);
    world::discard(other);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ENotClusterCapability)]
fun nor_can_another_clusters_administrator_migrate_it() {
    let other = world::other_caps();
    let (mut w, caps) = world::begin();
    w.set_version(0);
    w.migrate(&other);
    world::discard(other);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ECapabilityRevoked)]
fun a_revoked_capability_does_nothing() {
    let (mut w, caps) = world::begin();
    w.revoke_capability(&caps, world::members_cap_id(&caps));
    w.add_gateway(&caps, @0x1);
    w.end(caps);
}

#[test]
fun revoking_one_duty_leaves_the_others() {
    let (mut w, caps) = world::begin();
    w.revoke_capability(&caps, world::members_cap_id(&caps));
    w.pause(&caps);
    w.define_role(&caps, b"viewer", 0, 0, true);
    assert_eq!(world::count<events::CapabilityRevoked>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownCapability)]
fun a_capability_is_revoked_once() {
    let (mut w, caps) = world::begin();
    w.revoke_capability(&caps, world::pause_cap_id(&caps));
    w.revoke_capability(&caps, world::pause_cap_id(&caps));
    w.end(caps);
}

#[test]
fun a_revoked_capability_makes_room_for_another() {
    let (mut w, caps) = world::begin();
    issue(&mut w, &caps, MAX_CAPABILITIES - 3);
    w.revoke_capability(&caps, world::access_cap_id(&caps));
    issue(&mut w, &caps, 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ETooManyCapabilities)]
fun live_capabilities_are_few() {
    let (mut w, caps) = world::begin();
    issue(&mut w, &caps, MAX_CAPABILITIES - 2);
    w.end(caps);
}

fun issue(w: &mut world::World, caps: &world::Caps, count: u64) {
    count.do!(|i| {
        if (i % 3 == 0) world::discard(w.issue_pause_cap(caps))
        else if (i % 3 == 1) world::discard(w.issue_member_cap(caps))
        else world::discard(w.issue_access_cap(caps))
    });
}

// === Pause and version ===

#[test]
fun a_paused_cluster_goes_on_after_it_is_resumed() {
    let (mut w, caps) = world::begin();
    w.pause(&caps);
    w.resume(&caps);
    w.executed(1);
    assert_eq!(world::count<events::K8sAPIRequest>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EClusterPaused)]
fun a_paused_cluster_takes_no_command() {
    let (mut w, caps) = world::begin();
    w.pause(&caps);
    w.executed(1);
    w.end(caps);
}

#[test]
fun a_paused_cluster_takes_answers_and_gives_stake_back() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.pause(&caps);
    w.answer(world::executor(), id, 200);
    assert_eq!(world::count<events::K8sRequestProcessed>(), 1);
    w.start_unstaking(world::holder(), 400);
    w.pass(7 * world::day_ms());
    assert_eq!(w.withdraw(world::holder()), 400);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnsupportedVersion)]
fun a_cluster_of_another_version_takes_no_command() {
    let (mut w, caps) = world::begin();
    w.set_version(2);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnsupportedVersion)]
fun nor_is_it_administered() {
    let (mut w, caps) = world::begin();
    w.set_version(0);
    w.resume(&caps);
    w.end(caps);
}

#[test]
fun an_older_cluster_is_migrated_and_served() {
    let (mut w, caps) = world::begin();
    w.set_version(0);
    w.migrate(&caps);
    assert_eq!(world::count<events::ClusterMigrated>(), 1);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EAlreadyMigrated)]
fun a_cluster_of_this_version_is_not_migrated() {
    let (mut w, caps) = world::begin();
    w.migrate(&caps);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EAlreadyMigrated)]
fun a_newer_cluster_does_not_go_back() {
    let (mut w, caps) = world::begin();
    w.set_version(2);
    w.migrate(&caps);
    w.end(caps);
}

// === Members ===

#[test, expected_failure(abort_code = k3s_daas::cluster::EAlreadyRegistered)]
fun a_gateway_is_added_once() {
    let (mut w, caps) = world::begin();
    w.add_gateway(&caps, world::gateway());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EAlreadyRegistered)]
fun an_executor_is_added_once() {
    let (mut w, caps) = world::begin();
    w.add_executor(&caps, world::executor());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ETooManyMembers)]
fun gateways_are_few() {
    let (mut w, caps) = world::begin();
    MAX_MEMBERS.do!(|i| w.add_gateway(&caps, sui::address::from_u256((1_000 + i) as u256)));
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ETooManyMembers)]
fun executors_are_few() {
    let (mut w, caps) = world::begin();
    MAX_MEMBERS.do!(|i| w.add_executor(&caps, sui::address::from_u256((1_000 + i) as u256)));
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownGateway)]
fun a_removed_gateway_submits_nothing() {
    let (mut w, caps) = world::begin();
    w.remove_gateway(&caps, world::gateway());
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownGateway)]
fun only_a_gateway_can_be_removed_as_one() {
    let (mut w, caps) = world::begin();
    w.remove_gateway(&caps, world::stranger());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownExecutor)]
fun a_removed_executor_is_assigned_nothing() {
    let (mut w, caps) = world::begin();
    w.remove_executor(&caps, world::executor());
    w.executed(1);
    w.end(caps);
}

// === Keys of executors ===

#[test]
fun a_key_is_rotated_by_its_executor() {
    let (mut w, caps) = world::begin();
    w.announce_key(world::executor(), world::hpke_key(), 2, b"signature");
    assert_eq!(world::count<events::KeyAnnounced>(), 1);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EExecutorHasNoKey)]
fun an_executor_without_a_key_is_assigned_nothing() {
    let (mut w, caps) = world::begin();
    w.add_executor(&caps, @0x1);
    let command = w.command(1).with_executor(@0x1);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownExecutor)]
fun nobody_else_announces_a_key() {
    let (mut w, caps) = world::begin();
    w.announce_key(world::stranger(), world::hpke_key(), 1, b"signature");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidHpkeKey)]
fun a_key_has_its_length() {
    let (mut w, caps) = world::begin();
    w.announce_key(world::executor(), world::bytes(1_215), 2, b"signature");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EWrongGeneration)]
fun a_generation_does_not_come_back() {
    let (mut w, caps) = world::begin();
    w.announce_key(world::executor(), world::hpke_key(), 1, b"signature");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EWrongGeneration)]
fun no_generation_is_skipped() {
    let (mut w, caps) = world::begin();
    w.announce_key(world::executor(), world::hpke_key(), 3, b"signature");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidKeySignature)]
fun a_key_comes_with_a_signature() {
    let (mut w, caps) = world::begin();
    w.announce_key(world::executor(), world::hpke_key(), 2, b"");
    w.end(caps);
}

// === Roles and grants ===

#[test, expected_failure(abort_code = k3s_daas::cluster::EInvalidName)]
fun a_role_is_named_like_a_dns_label() {
    let (mut w, caps) = world::begin();
    w.define_role(&caps, b"system:masters", 0, 0, true);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ETooManyRoles)]
fun roles_are_few() {
    let (mut w, caps) = world::begin();
    MAX_ROLES.do!(|i| {
        let mut name = b"role-";
        name.append(*i.to_string().as_bytes());
        w.define_role(&caps, name, 0, 0, true);
    });
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownRole)]
fun a_rule_belongs_to_a_role() {
    let (mut w, caps) = world::begin();
    w.add_rule(&caps, b"viewer", vector[b"get"], vector[b"pods"], vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownRole)]
fun a_removed_role_ends_the_commands_of_its_seals() {
    let (mut w, caps) = world::begin();
    w.remove_role(&caps, b"operator");
    w.executed(1);
    w.end(caps);
}

#[test]
fun a_removed_role_can_be_defined_again() {
    let (mut w, caps) = world::begin();
    w.remove_role(&caps, b"operator");
    w.close_role(&caps);
    w.grant(&caps, world::holder(), b"operator", world::start_ms() + 1);
    w.executed(1);
    assert_eq!(world::count<events::RoleRemoved>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownGrant)]
fun only_a_grant_can_be_removed() {
    let (mut w, caps) = world::begin();
    w.remove_grant(&caps, world::holder(), b"operator");
    w.end(caps);
}

#[test]
fun a_second_grant_replaces_the_first() {
    let (mut w, caps) = world::begin();
    w.grant(&caps, world::holder(), b"operator", 1);
    w.grant(&caps, world::holder(), b"operator", world::start_ms() + 1);
    w.close_role(&caps);
    w.executed(1);
    w.remove_grant(&caps, world::holder(), b"operator");
    assert_eq!(world::count<events::GrantAdded>(), 2);
    assert_eq!(world::count<events::GrantRemoved>(), 1);
    w.end(caps);
}
