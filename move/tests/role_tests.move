#[test_only]
module k3s_daas::role_tests;

use k3s_daas::events;
use k3s_daas::world::{Self, World, Caps};
use std::unit_test::assert_eq;

const MAX_RULES: u64 = 32;

/// The open role with one rule of resources and nothing else.
fun begin(verbs: vector<vector<u8>>, resources: vector<vector<u8>>, namespaces: vector<vector<u8>>): (World, Caps) {
    let (mut w, caps) = world::begin();
    w.define_role(&caps, b"operator", 9, 0, true);
    w.add_rule(&caps, b"operator", verbs, resources, namespaces);
    (w, caps)
}

fun execute(w: &mut World, number: u8, attributes: vector<vector<u8>>) {
    let command = w.command(number).with_attributes(attributes);
    w.execute(world::gateway(), command);
}

#[test]
fun what_a_rule_admits_is_accepted_with_the_roles_priority() {
    let (mut w, caps) = begin(vector[b"get"], vector[b"pods", b"*/log"], vector[b"shop"]);
    execute(&mut w, 1, vector[b"get", b"", b"v1", b"pods", b"", b"shop", b"web", b""]);
    execute(&mut w, 2, vector[b"get", b"", b"v1", b"pods", b"log", b"shop", b"web", b""]);
    assert_eq!(world::count<events::K8sAPIRequest>(), 2);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EForbiddenByRole)]
fun no_rule_admits_another_verb() {
    let (mut w, caps) = begin(vector[b"list"], vector[b"*"], vector[]);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EForbiddenByRole)]
fun no_rule_admits_another_namespace() {
    let (mut w, caps) = begin(vector[b"*"], vector[b"*"], vector[b"bank"]);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EForbiddenByRole)]
fun a_role_without_rules_admits_nothing() {
    let (mut w, caps) = world::begin();
    w.define_role(&caps, b"operator", 1, 0, true);
    w.executed(1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EForbiddenByRole)]
fun a_wildcard_does_not_reach_tokens() {
    let (mut w, caps) = begin(vector[b"*"], vector[b"*"], vector[]);
    execute(&mut w, 1, vector[b"create", b"", b"v1", b"serviceaccounts", b"token", b"shop", b"web", b""]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EForbiddenByRole)]
fun nor_does_it_reach_proxies() {
    let (mut w, caps) = begin(vector[b"*"], vector[b"*", b"*/proxy"], vector[]);
    execute(&mut w, 1, vector[b"get", b"", b"v1", b"pods", b"proxy", b"shop", b"web", b""]);
    w.end(caps);
}

#[test]
fun a_rule_that_names_a_proxy_reaches_it() {
    let (mut w, caps) = begin(vector[b"*"], vector[b"pods/proxy"], vector[]);
    execute(&mut w, 1, vector[b"get", b"", b"v1", b"pods", b"proxy", b"shop", b"web", b""]);
    assert_eq!(world::count<events::K8sAPIRequest>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EReservedNamespace)]
fun the_listeners_namespace_is_closed() {
    let (mut w, caps) = begin(vector[b"*"], vector[b"*"], vector[]);
    execute(&mut w, 1, vector[b"get", b"", b"v1", b"pods", b"", b"daas-listener", b"web", b""]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EReservedNamespace)]
fun so_is_the_namespace_object_itself() {
    let (mut w, caps) = begin(vector[b"*"], vector[b"*"], vector[]);
    execute(&mut w, 1, vector[b"delete", b"", b"v1", b"namespaces", b"", b"", b"daas-listener", b""]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EVerbNeverAllowed)]
fun nobody_impersonates() {
    let (mut w, caps) = begin(vector[b"impersonate"], vector[b"users"], vector[]);
    execute(&mut w, 1, vector[b"impersonate", b"", b"v1", b"users", b"", b"", b"root", b""]);
    w.end(caps);
}

#[test]
fun a_path_is_admitted_by_the_pattern_that_the_role_has() {
    let (mut w, caps) = world::begin();
    execute(&mut w, 1, vector[b"get", b"", b"", b"", b"", b"", b"", b"/openapi/*"]);
    assert_eq!(world::count<events::K8sAPIRequest>(), 1);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EForbiddenByRole)]
fun a_path_under_the_pattern_is_no_pattern() {
    let (mut w, caps) = world::begin();
    execute(&mut w, 1, vector[b"get", b"", b"", b"", b"", b"", b"", b"/openapi/v3"]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EInvalidRule)]
fun a_rule_without_verbs_is_refused() {
    let (mut w, caps) = world::begin();
    w.add_rule(&caps, b"operator", vector[], vector[b"pods"], vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EInvalidRule)]
fun a_wildcard_stands_alone_or_before_a_subresource() {
    let (mut w, caps) = world::begin();
    w.add_rule(&caps, b"operator", vector[b"get"], vector[b"pods/*"], vector[]);
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::ETooManyRules)]
fun rules_are_few() {
    let (mut w, caps) = world::begin();
    MAX_RULES.do!(|_| w.add_rule(&caps, b"operator", vector[b"get"], vector[b"pods"], vector[]));
    w.end(caps);
}

#[test, expected_failure(abort_code = k3s_daas::role::EInvalidPriority)]
fun priorities_end_at_nine() {
    let (mut w, caps) = world::begin();
    w.define_role(&caps, b"operator", 10, 0, true);
    w.end(caps);
}
