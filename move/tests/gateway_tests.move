#[test_only]
module k3s_daas::gateway_tests;

use k3s_daas::events;
use k3s_daas::world;
use std::unit_test::assert_eq;

const PAYERS_DAYS: u64 = 30;

// === Acceptance ===

#[test]
fun a_read_and_a_write_are_accepted() {
    let (mut w, caps) = world::begin();
    w.executed(1);
    let command = w.command(2).writing();
    w.execute(world::gateway(), command);
    assert_eq!(world::count<events::K8sAPIRequest>(), 2);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::cluster::EUnknownGateway)]
fun nobody_but_a_gateway_submits() {
    let (mut w, caps) = world::begin();
    let command = w.command(1);
    w.execute(world::holder(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidRequestId)]
fun a_request_id_has_its_length() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_request_id(b"short");
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ERequestExists)]
fun a_request_id_is_used_once() {
    let (mut w, caps) = world::begin();
    w.executed(1);
    w.executed(1);
    w.end(caps);
}

#[test]
fun a_request_id_is_of_now() {
    let (mut w, caps) = world::begin();
    let oldest = world::request_id(world::start_ms() - world::minute_ms(), 1);
    let newest = world::request_id(world::start_ms() + 5 * world::second_ms(), 1);
    vector[oldest, newest].do!(|id| {
        let command = w.command(1).with_request_id(id);
        w.execute(world::gateway(), command);
    });
    assert_eq!(world::count<events::K8sAPIRequest>(), 2);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ERequestIdOutsideWindow)]
fun not_of_before() {
    let (mut w, caps) = world::begin();
    let id = world::request_id(world::start_ms() - world::minute_ms() - 1, 1);
    let command = w.command(1).with_request_id(id);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ERequestIdOutsideWindow)]
fun not_of_later() {
    let (mut w, caps) = world::begin();
    let id = world::request_id(world::start_ms() + 5 * world::second_ms() + 1, 1);
    let command = w.command(1).with_request_id(id);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EMalformedAttributes)]
fun attributes_are_of_one_kind() {
    let (mut w, caps) = world::begin();
    let both = vector[b"get", b"", b"v1", b"pods", b"", b"shop", b"web", b"/openapi/*"];
    let command = w.command(1).with_attributes(both);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EStartByPassed)]
fun it_is_submitted_before_its_start_is_over() {
    let (mut w, caps) = world::begin();
    let now = world::start_ms();
    let command = w.command(1).with_times(now - 1, now + 1, now + 2);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidDeadlines)]
fun its_times_are_in_order() {
    let (mut w, caps) = world::begin();
    let now = world::start_ms();
    let command = w.command(1).with_times(now, now + 2, now + 2);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidDeadlines)]
fun its_times_are_within_the_policy() {
    let (mut w, caps) = world::begin();
    let now = world::start_ms();
    let command = w.command(1).with_times(now + world::minute_ms() + 1, now + 100_000, now + 200_000);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EEmptyPayload)]
fun it_has_a_payload() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_payload(vector[]);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EPayloadTooLarge)]
fun its_chunks_fit_in_an_input() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_payload(vector[world::bytes(16_001)]);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EPayloadTooLarge)]
fun its_payload_is_within_the_policy() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_payload(vector[world::bytes(16_000), world::bytes(4_001)]);
    w.execute(world::gateway(), command);
    w.end(caps);
}

#[test]
fun the_largest_payload_is_accepted() {
    let (mut w, caps) = world::begin();
    let command = w.command(1).with_payload(vector[world::bytes(16_000), world::bytes(4_000)]);
    w.execute(world::gateway(), command);
    w.end(caps);
}

// === Rates ===

#[test, expected_failure(abort_code = k3s_daas::seal::ERateExceeded)]
fun a_seal_commands_so_often_in_a_minute() {
    let (mut w, caps) = world::begin();
    w.pass_minute();
    (world::commands_per_minute() as u8 + 1).do!(|i| { w.executed(i); });
    w.end(caps);
}

#[test]
fun and_again_in_the_next() {
    let (mut w, caps) = world::begin();
    w.pass_minute();
    (world::commands_per_minute() as u8).do!(|i| { w.executed(i); });
    w.pass_minute();
    (world::commands_per_minute() as u8).do!(|i| { w.executed(i); });
    assert_eq!(world::count<events::K8sAPIRequest>(), 2 * world::commands_per_minute());
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::seal::EDepositExceeded)]
fun a_seal_costs_the_payers_so_much_in_a_day() {
    let (mut w, caps) = world::begin();
    w.set_policy(&caps, world::policy_with(100, 10_000_000));
    3u8.do!(|i| { w.executed(i); });
    w.end(caps);
}

// === References ===

#[test]
fun a_body_may_lie_off_chain_both_ways() {
    let (mut w, caps) = world::begin();
    let command = w.command(1);
    w.execute_by_reference(command, b"s3://bodies/1", world::bytes(32), 1_000_000);
    w.answer_by_reference(command.id(), b"s3://bodies/2", world::bytes(32), 2_000_000);
    assert_eq!(world::count<events::K8sRequestProcessed>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidReference)]
fun a_reference_is_not_empty() {
    let (mut w, caps) = world::begin();
    let command = w.command(1);
    w.execute_by_reference(command, b"", world::bytes(32), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidReference)]
fun a_reference_is_short() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.answer_by_reference(id, world::bytes(129), world::bytes(32), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidReference)]
fun a_reference_comes_with_a_hash() {
    let (mut w, caps) = world::begin();
    let command = w.command(1);
    w.execute_by_reference(command, b"s3://bodies/1", b"no hash", 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EEmptyPayload)]
fun what_it_refers_to_is_not_empty() {
    let (mut w, caps) = world::begin();
    let command = w.command(1);
    w.execute_by_reference(command, b"s3://bodies/1", world::bytes(32), 0);
    w.end(caps);
}

// === Responses ===

#[test]
fun the_executor_answers_once() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.answer(world::executor(), id, 200);
    w.answer(world::executor(), id, 500);
    assert_eq!(world::count<events::K8sRequestProcessed>(), 1);
    assert_eq!(world::last<events::ResponseIgnored>(), ignored(&w, id, 1));
    w.end(caps);
}

#[test]
fun an_answer_to_nothing_is_ignored() {
    let (mut w, caps) = world::begin();
    let id = world::request_id(1, 1);
    w.answer(world::executor(), id, 200);
    assert_eq!(world::last<events::ResponseIgnored>(), ignored(&w, id, 0));
    w.end(caps);
}

#[test]
fun a_late_answer_is_ignored() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    let timely = w.executed(2);
    w.pass(20 * world::minute_ms());
    w.answer(world::executor(), timely, 200);
    w.pass(1);
    w.answer(world::executor(), id, 200);
    assert_eq!(world::count<events::K8sRequestProcessed>(), 1);
    assert_eq!(world::last<events::ResponseIgnored>(), ignored(&w, id, 2));
    w.end(caps);
}

fun ignored(w: &world::World, id: vector<u8>, reason: u8): vector<u8> {
    let mut expected = w.about_seal(&id);
    expected.append(std::bcs::to_bytes(&world::executor()));
    expected.push_back(reason);
    expected
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ENotAssignedExecutor)]
fun another_executor_does_not_answer() {
    let (mut w, caps) = world::begin();
    w.add_executor(&caps, world::stranger());
    let id = w.executed(1);
    w.answer(world::stranger(), id, 200);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ENotAssignedExecutor)]
fun strangers_leave_no_trace() {
    let (mut w, caps) = world::begin();
    w.answer(world::stranger(), world::request_id(1, 1), 200);
    w.end(caps);
}

#[test]
fun a_removed_executor_answers_what_it_was_assigned() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.remove_executor(&caps, world::executor());
    w.answer(world::executor(), id, 200);
    assert_eq!(world::count<events::K8sRequestProcessed>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidStatusCode)]
fun a_status_is_that_of_a_final_response() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.answer(world::executor(), id, 101);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EEmptyPayload)]
fun an_answer_has_no_empty_chunk() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.answer_with(world::executor(), id, 200, vector[b"sealed", b""]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::EInvalidRequestId)]
fun an_answer_names_a_request() {
    let (mut w, caps) = world::begin();
    w.answer(world::executor(), b"short", 200);
    w.end(caps);
}

// === The end ===

#[test]
fun an_answered_request_is_reclaimed_when_its_time_is_over() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.answer(world::executor(), id, 200);
    // An hour for a read and a minute for the role's priority.
    w.pass(61 * world::minute_ms() - 1);
    w.reclaim(world::gateway(), vector[id]);
    assert_eq!(world::last<events::RequestsReclaimed>(), reclaimed(&w, 0, 0, 1));
    w.pass(1);
    w.reclaim(world::gateway(), vector[id, id, b"unknown"]);
    assert_eq!(world::last<events::RequestsReclaimed>(), reclaimed(&w, 1, 0, 2));
    assert_eq!(world::count<events::RequestTimedOut>(), 0);
    w.end(caps);
}

#[test]
fun an_unanswered_one_is_reported_as_timed_out() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.pass((20 + 61) * world::minute_ms());
    w.reclaim(world::gateway(), vector[id]);
    assert_eq!(world::last<events::RequestsReclaimed>(), reclaimed(&w, 1, 1, 0));
    assert_eq!(world::count<events::RequestTimedOut>(), 1);
    w.end(caps);
}

fun reclaimed(w: &world::World, reclaimed: u64, timed_out: u64, skipped: u64): vector<u8> {
    let mut expected = w.about_seal(&world::gateway());
    vector[reclaimed, timed_out, skipped].do!(|n| expected.append(std::bcs::to_bytes(&n)));
    expected
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ENotPayer)]
fun its_deposit_is_for_the_payers() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.pass((20 + 61) * world::minute_ms() + PAYERS_DAYS * world::day_ms() - 1);
    w.reclaim(world::stranger(), vector[id]);
    w.end(caps);
}

#[test]
fun after_thirty_days_it_is_for_everybody() {
    let (mut w, caps) = world::begin();
    let id = w.executed(1);
    w.pass((20 + 61) * world::minute_ms() + PAYERS_DAYS * world::day_ms());
    w.reclaim(world::stranger(), vector[id]);
    assert_eq!(world::count<events::RequestsReclaimed>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::k8s_gateway::ETooManyRequests)]
fun so_many_are_reclaimed_at_once() {
    let (mut w, caps) = world::begin();
    w.reclaim(world::gateway(), vector::tabulate!(65, |_| b"unknown"));
    w.end(caps);
}
