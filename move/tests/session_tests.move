#[test_only]
module k3s_daas::session_tests;

use k3s_daas::events;
use k3s_daas::signed;
use k3s_daas::world;
use std::unit_test::assert_eq;

const MAX_SESSIONS: u8 = 8;

/// The y coordinate of the base point, with other low bits: good enough for a key that never signs.
fun key(number: u8): vector<u8> {
    let mut key = vector::tabulate!(32, |_| 0x66);
    *&mut key[0] = number;
    key
}

// === Opening and closing ===

#[test]
fun the_owner_opens_and_closes_sessions() {
    let (mut w, caps) = world::begin();
    w.open_session(world::holder(), key(1), world::start_ms() + 1, true, vector[b"shop"]);
    w.close_session(world::holder(), key(1));
    w.close_all_sessions(world::holder());
    assert_eq!(world::count<events::SessionOpened>(), 2);
    assert_eq!(world::count<events::SessionClosed>(), 1);
    assert_eq!(world::last<events::SessionsClosed>(), w.about_seal(&1u64));
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun nobody_else_opens_one() {
    let (mut w, caps) = world::begin();
    w.open_session(world::admin(), key(1), world::start_ms() + 1, true, vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun nobody_else_closes_one() {
    let (mut w, caps) = world::begin();
    w.close_session(world::gateway(), signed::session_key());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ENotOwner)]
fun nobody_else_closes_all() {
    let (mut w, caps) = world::begin();
    w.close_all_sessions(world::gateway());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EUnknownSession)]
fun a_session_is_closed_once() {
    let (mut w, caps) = world::begin();
    w.close_session(world::holder(), key(1));
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidSessionKey)]
fun a_key_of_another_length_is_none() {
    let (mut w, caps) = world::begin();
    w.open_session(world::holder(), b"short", world::start_ms() + 1, true, vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidSessionKey)]
fun a_key_under_which_anybody_signs_is_none() {
    let (mut w, caps) = world::begin();
    w.open_session(world::holder(), vector::tabulate!(32, |_| 0), world::start_ms() + 1, true, vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidExpiry)]
fun a_session_ends_with_its_seal() {
    let (mut w, caps) = world::begin();
    w.open_session(world::holder(), key(1), world::start_ms() + 30 * world::day_ms() + 1, true, vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidScope)]
fun a_scope_names_namespaces() {
    let (mut w, caps) = world::begin();
    w.open_session(world::holder(), key(1), world::start_ms() + 1, true, vector[b"*"]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidScope)]
fun a_scope_is_short() {
    let (mut w, caps) = world::begin();
    let nine = vector::tabulate!(9, |_| b"shop");
    w.open_session(world::holder(), key(1), world::start_ms() + 1, true, nine);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ETooManySessions)]
fun live_sessions_are_few() {
    let (mut w, caps) = world::begin();
    MAX_SESSIONS.do!(|i| {
        w.open_session(world::holder(), key(i + 1), world::start_ms() + 1, true, vector[]);
    });
    w.end(caps);
}

#[test]
fun ended_sessions_make_room() {
    let (mut w, caps) = world::begin();
    (MAX_SESSIONS - 1).do!(|i| {
        w.open_session(world::holder(), key(i + 1), world::start_ms() + 1, true, vector[]);
    });
    w.pass(1);
    w.open_session(world::holder(), key(99), world::start_ms() + 2, true, vector[]);
    w.close_all_sessions(world::holder());
    assert_eq!(world::last<events::SessionsClosed>(), w.about_seal(&2u64));
    w.end(caps);
}

// === What a session may do ===

#[test, expected_failure(abort_code = k3s_daas::seal::EUnknownSession)]
fun a_key_without_a_session_commands_nothing() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_session_key(key(1));
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EUnknownSession)]
fun nor_does_a_closed_one() {
    let (mut w, caps) = world::begin();
    w.close_all_sessions(world::holder());
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESessionExpired)]
fun nor_does_an_ended_one() {
    let (mut w, caps) = world::begin();
    w.open_session(world::holder(), signed::session_key(), world::start_ms() + 5, false, vector[]);
    w.pass(5);
    w.executed(1);
    w.end(caps);
}

#[test]
fun a_read_only_session_reads() {
    let (mut w, caps) = world::begin();
    w.reopen_session(true, vector[]);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESessionReadOnly)]
fun a_read_only_session_does_not_write() {
    let (mut w, caps) = world::begin();
    w.reopen_session(true, vector[]);
    let command = w.command(1).writing();
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test]
fun a_session_of_a_namespace_works_there_and_discovers() {
    let (mut w, caps) = world::begin();
    w.reopen_session(false, vector[b"bank", b"shop"]);
    let write = w.command(1).writing();
    w.execute(world::gateway(), write);
    let discovery = w.command(2).with_attributes(vector[b"get", b"", b"", b"", b"", b"", b"", b"/openapi/*"]);
    w.execute(world::gateway(), discovery);
    assert_eq!(world::count<events::K8sAPIRequest>(), 2);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESessionNamespace)]
fun it_reaches_no_other_namespace() {
    let (mut w, caps) = world::begin();
    w.reopen_session(false, vector[b"bank"]);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::ESessionNamespace)]
fun nor_what_is_in_none() {
    let (mut w, caps) = world::begin();
    w.reopen_session(false, vector[b"shop"]);
    let command = w.command(1).with_attributes(vector[b"list", b"", b"v1", b"nodes", b"", b"", b"", b""]);
    w.execute(world::gateway(), command);
    w.end(caps);
}

// === Claims ===

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidClaimsSignature)]
fun claims_are_for_one_gateway() {
    let (mut w, caps) = world::begin();
    w.add_gateway(&caps, world::stranger());
    let command = w.command(1);
    w.execute(world::stranger(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidClaimsSignature)]
fun claims_are_what_was_signed() {
    let (mut w, caps) = world::begin();
    let later = signed::expires_at_ms() + 1;
    let command = w.command(1).with_claims(signed::not_before_ms(), later, signed::secret_hash());
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EClaimsExpired)]
fun claims_end_at_their_time() {
    let (mut w, caps) = world::begin();
    w.pass(signed::expires_at_ms() - signed::now_ms());
    w.executed(1);
    w.end(caps);
}

#[test]
fun claims_hold_until_the_millisecond_before() {
    let (mut w, caps) = world::begin();
    w.pass(signed::expires_at_ms() - signed::now_ms() - 1);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EClaimsNotYetValid)]
fun claims_do_not_hold_before_their_time() {
    let (mut w, caps) = world::begin();
    let now = signed::now_ms();
    let command = w.command(1).with_claims(now + 1, signed::expires_at_ms(), signed::secret_hash());
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidClaims)]
fun claims_do_not_hold_for_long() {
    let (mut w, caps) = world::begin();
    let not_before = signed::not_before_ms();
    let command = w.command(1).with_claims(not_before, not_before + 900_001, signed::secret_hash());
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EInvalidClaims)]
fun a_secrets_hash_has_its_length() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_claims(signed::not_before_ms(), signed::expires_at_ms(), b"short");
    w.execute(world::gateway(), command);
    w.end(caps);
}
