/// Shapes of the short texts that the contract stores: what is checked here is safe to log, to compare byte for
/// byte, and bounded in length.
module k3s_daas::text;

use std::string::String;

// === Constants ===

/// Longest name of a cluster, role or namespace: a DNS label.
const MAX_NAME: u64 = 63;

// === Public-Package Functions ===

/// `[a-z0-9-]{1,63}`.
public(package) fun is_name(text: &String): bool {
    let bytes = text.as_bytes();
    let length = bytes.length();
    if (length == 0 || length > MAX_NAME) return false;
    let mut i = 0;
    while (i < length) {
        let byte = bytes[i];
        let lower = byte >= 97 && byte <= 122;
        let digit = byte >= 48 && byte <= 57;
        if (!lower && !digit && byte != 45) return false;
        i = i + 1;
    };
    true
}

/// At most `max` bytes of printable ASCII without space, `/` and `*`: one segment of a Kubernetes path other than an
/// object's name. Neither a separator nor a wildcard can be smuggled into a comparison.
public(package) fun is_segment(text: &String, max: u64): bool {
    let bytes = text.as_bytes();
    let length = bytes.length();
    if (length > max) return false;
    let mut i = 0;
    while (i < length) {
        let byte = bytes[i];
        if (byte <= 32 || byte >= 127 || byte == 47 || byte == 42) return false;
        i = i + 1;
    };
    true
}

/// At most `max` bytes without control characters and `/`. Kubernetes allows nearly everything else in the names of
/// some objects (`system:node-proxier`, or the `*` of the custom metrics API).
public(package) fun is_object_name(text: &String, max: u64): bool {
    let bytes = text.as_bytes();
    let length = bytes.length();
    if (length > max) return false;
    let mut i = 0;
    while (i < length) {
        let byte = bytes[i];
        if (byte < 32 || byte == 127 || byte == 47) return false;
        i = i + 1;
    };
    true
}

/// `*`, or `/` followed by printable ASCII without space in which a `*` may stand only at the end; at most `max` bytes.
public(package) fun is_url_pattern(text: &String, max: u64): bool {
    let bytes = text.as_bytes();
    let length = bytes.length();
    if (length == 0 || length > max) return false;
    if (is_wildcard(text)) return true;
    if (bytes[0] != 47) return false;
    let mut i = 1;
    while (i < length) {
        let byte = bytes[i];
        if (byte <= 32 || byte >= 127 || (byte == 42 && i + 1 < length)) return false;
        i = i + 1;
    };
    true
}

/// The text `*`.
public(package) fun is_wildcard(text: &String): bool {
    text.as_bytes() == &b"*"
}
