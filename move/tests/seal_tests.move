#[test_only]
module k3s_daas::seal_tests;

use k3s_daas::events;
use k3s_daas::world;
use std::unit_test::assert_eq;

const UNBONDING_DAYS: u64 = 7;

// === Staking ===

#[test]
fun anybody_stakes_for_an_open_role() {
    let (mut w, caps) = world::begin();
    w.stake(world::stranger(), b"operator", 1, world::start_ms() + 1);
    assert_eq!(world::count<events::SealStaked>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EZeroStake)]
fun nothing_is_no_stake() {
    let (mut w, caps) = world::begin();
    w.stake(world::stranger(), b"operator", 0, world::start_ms() + 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EZeroStake)]
fun nor_is_it_an_addition() {
    let (mut w, caps) = world::begin();
    w.add_stake(world::holder(), 0);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidExpiry)]
fun a_seal_does_not_end_before_it_begins() {
    let (mut w, caps) = world::begin();
    w.stake(world::stranger(), b"operator", 1, world::start_ms());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidExpiry)]
fun a_seal_lives_as_long_as_the_policy_lets_it() {
    let (mut w, caps) = world::begin();
    w.stake(world::stranger(), b"operator", 1, world::start_ms() + 30 * world::day_ms() + 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownRole)]
fun nobody_stakes_for_a_role_that_is_none() {
    let (mut w, caps) = world::begin();
    w.stake(world::stranger(), b"viewer", 1, world::start_ms() + 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotGranted)]
fun a_closed_role_asks_for_a_grant() {
    let (mut w, caps) = world::begin();
    w.close_role(&caps);
    w.stake(world::stranger(), b"operator", 1, world::start_ms() + 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EGrantExpired)]
fun a_grant_ends_at_its_time() {
    let (mut w, caps) = world::begin();
    w.close_role(&caps);
    w.grant(&caps, world::stranger(), b"operator", world::start_ms());
    w.stake(world::stranger(), b"operator", 1, world::start_ms() + 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun only_the_owner_adds_stake() {
    let (mut w, caps) = world::begin();
    w.add_stake(world::stranger(), 1);
    w.end(caps);
}

// === The way out ===

#[test]
fun stake_comes_back_after_its_period() {
    let (mut w, caps) = world::begin();
    w.add_stake(world::holder(), 500);
    w.start_unstaking(world::holder(), 1_500);
    w.pass(UNBONDING_DAYS * world::day_ms());
    assert_eq!(w.withdraw(world::holder()), 1_500);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EStillUnbonding)]
fun not_a_millisecond_before() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), 1);
    w.pass(UNBONDING_DAYS * world::day_ms() - 1);
    w.withdraw(world::holder());
    w.end(caps);
}

#[test]
fun a_later_policy_does_not_lock_it_longer() {
    let (mut w, caps) = world::begin();
    let longer = k3s_daas::cluster::new_policy(
        1,
        30 * world::day_ms(),
        10_000,
        1,
        1,
        2,
        3,
        0,
        0,
        0,
        0,
        1,
        1,
        1,
    );
    w.set_policy(&caps, longer);
    w.start_unstaking(world::holder(), 1_000);
    w.pass(UNBONDING_DAYS * world::day_ms());
    assert_eq!(w.withdraw(world::holder()), 1_000);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EUnstakeTooMuch)]
fun more_than_there_is_is_not_unstaked() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), world::min_write_stake() + 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EAlreadyUnstaking)]
fun one_unstaking_at_a_time() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), 1);
    w.start_unstaking(world::holder(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENothingToWithdraw)]
fun what_was_not_unstaked_is_not_withdrawn() {
    let (mut w, caps) = world::begin();
    w.withdraw(world::holder());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun only_the_owner_unstakes() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::admin(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun only_the_owner_withdraws() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), 1);
    w.pass(UNBONDING_DAYS * world::day_ms());
    w.withdraw(world::admin());
    w.end(caps);
}

#[test]
fun reads_go_on_with_too_little_at_stake() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), world::min_write_stake());
    w.executed(1);
    assert_eq!(world::count<events::K8sAPIRequest>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EStakeTooLow)]
fun writes_do_not() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), 1);
    let command = w.command(1).writing();
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EStakeTooLow)]
fun a_role_may_ask_for_more_than_the_policy() {
    let (mut w, caps) = world::begin();
    w.define_role(&caps, b"operator", 1, world::min_write_stake() + 1, true);
    w.add_rule(&caps, b"operator", vector[b"*"], vector[b"*"], vector[]);
    let command = w.command(1).writing();
    w.execute(world::gateway(), command);
    w.end(caps);
}

// === Revocation and slashing ===

#[test]
fun a_revoked_seals_stake_comes_back() {
    let (mut w, caps) = world::begin();
    w.revoke(&caps, b"the key was stolen");
    assert_eq!(world::count<events::SealRevoked>(), 1);
    w.pass(UNBONDING_DAYS * world::day_ms());
    assert_eq!(w.withdraw(world::holder()), world::min_write_stake());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESealRevoked)]
fun a_revoked_seal_commands_nothing() {
    let (mut w, caps) = world::begin();
    w.revoke(&caps, b"the key was stolen");
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESealRevoked)]
fun a_seal_is_revoked_once() {
    let (mut w, caps) = world::begin();
    w.revoke(&caps, b"the key was stolen");
    w.revoke(&caps, b"again");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESealRevoked)]
fun a_revoked_seal_takes_no_stake() {
    let (mut w, caps) = world::begin();
    w.revoke(&caps, b"the key was stolen");
    w.add_stake(world::holder(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidReason)]
fun a_revocation_has_a_reason() {
    let (mut w, caps) = world::begin();
    w.revoke(&caps, b"");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidReason)]
fun a_reason_is_short() {
    let (mut w, caps) = world::begin();
    w.slash(&caps, 1, vector::tabulate!(257, |_| 97));
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::ENotClusterCapability)]
fun another_clusters_administrator_does_not_slash() {
    let other = world::other_caps();
    let (mut w, caps) = world::begin();
    w.slash(&other, 1, b"spam");
    world::discard(other);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EWrongCluster)]
fun another_cluster_does_not_revoke() {
    let (other, caps_of_other) = world::other_cluster();
    let (mut w, caps) = world::begin();
    w.revoke_from(&other, &caps_of_other);
    world::discard(other);
    world::discard(caps_of_other);
    w.end(caps);
}

#[test]
fun slashing_takes_stake_first_and_then_what_unbonds() {
    let (mut w, caps) = world::begin();
    w.start_unstaking(world::holder(), 900);
    assert_eq!(w.slash(&caps, 500, b"spam"), 500);
    let mut expected = w.about_seal(&500u64);
    expected.append(b"\x04spam");
    assert_eq!(world::last<events::SealSlashed>(), expected);
    w.pass(UNBONDING_DAYS * world::day_ms());
    assert_eq!(w.withdraw(world::holder()), 500);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESlashTooMuch)]
fun slashing_is_bounded_by_the_policy_at_staking() {
    let (mut w, caps) = world::begin();
    w.slash(&caps, 300, b"spam");
    w.slash(&caps, 201, b"more spam");
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EZeroStake)]
fun nothing_is_not_slashed() {
    let (mut w, caps) = world::begin();
    w.slash(&caps, 0, b"spam");
    w.end(caps);
}

// === Ownership and expiry ===

#[test]
fun a_seal_goes_to_its_new_owner_with_its_stake() {
    let (mut w, caps) = world::begin();
    w.transfer_ownership(world::holder(), world::stranger());
    w.start_unstaking(world::stranger(), world::min_write_stake());
    w.pass(UNBONDING_DAYS * world::day_ms());
    assert_eq!(w.withdraw(world::stranger()), world::min_write_stake());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EUnknownSession)]
fun no_session_goes_with_it() {
    let (mut w, caps) = world::begin();
    w.transfer_ownership(world::holder(), world::stranger());
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun only_the_owner_gives_it_away() {
    let (mut w, caps) = world::begin();
    w.transfer_ownership(world::stranger(), world::stranger());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotGranted)]
fun the_new_owner_must_be_granted_the_role() {
    let (mut w, caps) = world::begin();
    w.close_role(&caps);
    w.grant(&caps, world::holder(), b"operator", world::start_ms() + 1);
    w.transfer_ownership(world::holder(), world::stranger());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotGranted)]
fun without_its_grant_a_seal_commands_nothing() {
    let (mut w, caps) = world::begin();
    w.close_role(&caps);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESealExpired)]
fun an_expired_seal_opens_no_session() {
    let (mut w, caps) = world::begin();
    w.pass(30 * world::day_ms());
    w.reopen_session(false, vector[]);
    w.end(caps);
}

#[test]
fun an_expired_seals_stake_comes_back() {
    let (mut w, caps) = world::begin();
    w.pass(31 * world::day_ms());
    w.start_unstaking(world::holder(), 1_000);
    w.pass(UNBONDING_DAYS * world::day_ms());
    assert_eq!(w.withdraw(world::holder()), 1_000);
    w.end(caps);
}
