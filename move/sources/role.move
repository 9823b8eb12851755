/// Roles: rules with the meaning of Kubernetes RBAC, a priority, and the stake that writing asks for.
///
/// Rules only admit; what none admits is refused, and some requests are refused whatever the rules say.
module k3s_daas::role;

use k3s_daas::attributes::Attributes;
use k3s_daas::text;
use std::string::String;

// === Errors ===

/// A rule that Kubernetes would not accept, or that is too long.
const EInvalidRule: u64 = 201;
/// No rule of the role admits the request.
const EForbiddenByRole: u64 = 202;
/// The listener's own namespace is closed to everybody.
const EReservedNamespace: u64 = 203;
/// Nobody may impersonate through the contract: the listener does that.
const EVerbNeverAllowed: u64 = 204;
const ETooManyRules: u64 = 205;
const EInvalidPriority: u64 = 206;

// === Constants ===

const MAX_RULES: u64 = 32;
/// Longest list in a rule.
const MAX_ENTRIES: u64 = 32;
const MAX_PRIORITY: u8 = 9;

const MAX_VERB: u64 = 32;
const MAX_GROUP: u64 = 253;
const MAX_RESOURCE: u64 = 63;
const MAX_OBJECT_NAME: u64 = 253;
const MAX_URL_PATTERN: u64 = 253;

// === Structs ===

public struct Role has drop, store {
    priority: u8,
    stake: u64,
    open: bool,
    rules: vector<Rule>,
}

public struct Rule has copy, drop, store {
    verbs: vector<String>,
    api_groups: vector<String>,
    resources: vector<String>,
    namespaces: vector<String>,
    resource_names: vector<String>,
    non_resource_urls: vector<String>,
}

// === Public-Package Functions ===

/// A role without rules: it admits nothing yet.
public(package) fun new(priority: u8, stake: u64, open: bool): Role {
    assert!(priority <= MAX_PRIORITY, EInvalidPriority);
    Role { priority, stake, open, rules: vector[] }
}

/// Like Kubernetes, a rule is about resources (groups and resources are required) or about non-resource URLs, never
/// both; the latter have no namespace.
public(package) fun add_rule(
    self: &mut Role,
    verbs: vector<String>,
    api_groups: vector<String>,
    resources: vector<String>,
    namespaces: vector<String>,
    resource_names: vector<String>,
    non_resource_urls: vector<String>,
) {
    assert!(self.rules.length() < MAX_RULES, ETooManyRules);
    let rule = Rule { verbs, api_groups, resources, namespaces, resource_names, non_resource_urls };
    assert!(rule.is_valid(), EInvalidRule);
    self.rules.push_back(rule);
}

/// Aborts unless the role admits the request.
public(package) fun assert_admits(self: &Role, attributes: &Attributes, listener_namespace: &String) {
    assert!(attributes.verb().as_bytes() != &b"impersonate", EVerbNeverAllowed);
    assert!(!attributes.touches_namespace(listener_namespace), EReservedNamespace);
    assert!(self.admits(attributes), EForbiddenByRole);
}

public(package) fun priority(self: &Role): u8 { self.priority }

public(package) fun stake(self: &Role): u64 { self.stake }

/// Anybody may stake for an open role; for the others a grant is needed.
public(package) fun is_open(self: &Role): bool { self.open }

// === Private Functions ===

fun admits(self: &Role, attributes: &Attributes): bool {
    let combined = attributes.combined_resource();
    let mut i = 0;
    while (i < self.rules.length()) {
        let rule = &self.rules[i];
        let matches = if (attributes.is_resource_request()) rule.matches_resource(attributes, &combined)
            else rule.matches_url(attributes);
        if (matches) return true;
        i = i + 1;
    };
    false
}

fun matches_resource(self: &Rule, attributes: &Attributes, combined: &String): bool {
    has_entry(&self.verbs, attributes.verb())
        && has_entry(&self.api_groups, attributes.api_group())
        && self.names_resource(attributes, combined)
        && (self.namespaces.is_empty() || has_entry(&self.namespaces, attributes.namespace()))
        // A request without a name (list, create) is not matched by a rule about names: no entry is empty.
        && (self.resource_names.is_empty() || self.resource_names.contains(attributes.name()))
}

/// The request names the rule's pattern, literally; that the path matches the pattern is checked by the gateway and
/// the listener, who know the path.
fun matches_url(self: &Rule, attributes: &Attributes): bool {
    has_entry(&self.verbs, attributes.verb()) && self.non_resource_urls.contains(attributes.non_resource_url())
}

/// `*`, `resource`, `resource/subresource` or `*/subresource`. `*` covers subresources, `resource` does not.
fun names_resource(self: &Rule, attributes: &Attributes, combined: &String): bool {
    if (self.resources.contains(combined)) return true;
    if (attributes.needs_exact_rule()) return false;
    if (self.resources.contains(&b"*".to_string())) return true;
    if (attributes.subresource().is_empty()) return false;
    let mut any_of_subresource = b"*/".to_string();
    any_of_subresource.append(*attributes.subresource());
    self.resources.contains(&any_of_subresource)
}

/// The list has the text or a `*`.
fun has_entry(list: &vector<String>, text: &String): bool {
    let mut i = 0;
    while (i < list.length()) {
        if (&list[i] == text || text::is_wildcard(&list[i])) return true;
        i = i + 1;
    };
    false
}

fun is_valid(self: &Rule): bool {
    if (!self.are_verbs_valid()) return false;
    if (self.non_resource_urls.is_empty()) return self.are_resources_valid();
    self.are_urls_valid()
        && self.api_groups.is_empty()
        && self.resources.is_empty()
        && self.resource_names.is_empty()
        && self.has_no_namespaces()
}

fun are_verbs_valid(self: &Rule): bool {
    let count = self.verbs.length();
    if (count == 0 || count > MAX_ENTRIES) return false;
    let mut i = 0;
    while (i < count) {
        let verb = &self.verbs[i];
        if (verb.is_empty()) return false;
        if (!text::is_wildcard(verb) && !text::is_segment(verb, MAX_VERB)) return false;
        i = i + 1;
    };
    true
}

fun are_resources_valid(self: &Rule): bool {
    are_groups_valid(&self.api_groups)
        && are_resource_entries_valid(&self.resources)
        && are_namespaces_valid(&self.namespaces)
        && are_object_names_valid(&self.resource_names)
}

fun are_urls_valid(self: &Rule): bool {
    let count = self.non_resource_urls.length();
    if (count > MAX_ENTRIES) return false;
    let mut i = 0;
    while (i < count) {
        if (!text::is_url_pattern(&self.non_resource_urls[i], MAX_URL_PATTERN)) return false;
        i = i + 1;
    };
    true
}

fun has_no_namespaces(self: &Rule): bool {
    let count = self.namespaces.length();
    count == 0 || (count == 1 && text::is_wildcard(&self.namespaces[0]))
}

fun are_groups_valid(groups: &vector<String>): bool {
    let count = groups.length();
    if (count == 0 || count > MAX_ENTRIES) return false;
    let mut i = 0;
    while (i < count) {
        // The core group is the empty text.
        if (!text::is_wildcard(&groups[i]) && !text::is_segment(&groups[i], MAX_GROUP)) return false;
        i = i + 1;
    };
    true
}

fun are_resource_entries_valid(resources: &vector<String>): bool {
    let count = resources.length();
    if (count == 0 || count > MAX_ENTRIES) return false;
    let mut i = 0;
    while (i < count) {
        if (!is_resource_entry(&resources[i])) return false;
        i = i + 1;
    };
    true
}

/// `*`, `resource`, `resource/subresource` or `*/subresource`. Kubernetes takes `pods/*` too, but it means nothing
/// there: it is refused, because its author meant something.
fun is_resource_entry(entry: &String): bool {
    if (text::is_wildcard(entry)) return true;
    let slash = entry.index_of(&b"/".to_string());
    if (slash == entry.length()) return is_nonempty_segment(entry);
    let resource = entry.substring(0, slash);
    let subresource = entry.substring(slash + 1, entry.length());
    (text::is_wildcard(&resource) || is_nonempty_segment(&resource)) && is_nonempty_segment(&subresource)
}

fun is_nonempty_segment(text: &String): bool {
    !text.is_empty() && text::is_segment(text, MAX_RESOURCE)
}

fun are_namespaces_valid(namespaces: &vector<String>): bool {
    let count = namespaces.length();
    if (count > MAX_ENTRIES) return false;
    let mut i = 0;
    while (i < count) {
        if (!text::is_wildcard(&namespaces[i]) && !text::is_name(&namespaces[i])) return false;
        i = i + 1;
    };
    true
}

fun are_object_names_valid(names: &vector<String>): bool {
    let count = names.length();
    if (count > MAX_ENTRIES) return false;
    let mut i = 0;
    while (i < count) {
        if (names[i].is_empty() || !text::is_object_name(&names[i], MAX_OBJECT_NAME)) return false;
        i = i + 1;
    };
    true
}
