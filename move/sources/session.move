/// What a session key may do for its seal, and until when.
module k3s_daas::session;

use k3s_daas::attributes::Attributes;
use k3s_daas::text;
use std::string::String;

// === Constants ===

const MAX_NAMESPACES: u64 = 8;

// === Structs ===

public struct Session has copy, drop, store {
    expires_at_ms: u64,
    read_only: bool,
    /// Empty means no restriction.
    namespaces: vector<String>,
}

// === Public-Package Functions ===

public(package) fun new(expires_at_ms: u64, read_only: bool, namespaces: vector<String>): Session {
    Session { expires_at_ms, read_only, namespaces }
}

/// Few, and each the name of one: no wildcard.
public(package) fun are_namespaces(namespaces: &vector<String>): bool {
    let count = namespaces.length();
    if (count > MAX_NAMESPACES) return false;
    let mut i = 0;
    while (i < count) {
        if (!text::is_name(&namespaces[i])) return false;
        i = i + 1;
    };
    true
}

/// A session with namespaces reaches nothing outside them but what can be read at non-resource URLs (discovery).
public(package) fun reaches(self: &Session, attributes: &Attributes): bool {
    if (self.namespaces.is_empty()) return true;
    if (!attributes.is_resource_request()) return attributes.is_read();
    self.namespaces.contains(attributes.namespace())
}

public(package) fun is_live(self: &Session, now_ms: u64): bool { now_ms < self.expires_at_ms }

public(package) fun is_read_only(self: &Session): bool { self.read_only }
