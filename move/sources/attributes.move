/// What a command asks of Kubernetes: the attributes that the API server's own authorizers see.
///
/// A command is either a resource request (`resource` is set) or a non-resource request (`non_resource_url` is set, and
/// is the *pattern of the rule* that admits the path: paths themselves are not public).
module k3s_daas::attributes;

use k3s_daas::text;
use std::string::String;

// === Constants ===

const MAX_VERB: u64 = 32;
const MAX_GROUP: u64 = 253;
const MAX_VERSION: u64 = 63;
const MAX_RESOURCE: u64 = 63;
const MAX_SUBRESOURCE: u64 = 63;
const MAX_NAMESPACE: u64 = 63;
const MAX_OBJECT_NAME: u64 = 253;
const MAX_URL_PATTERN: u64 = 253;

// === Structs ===

public struct Attributes has copy, drop, store {
    verb: String,
    api_group: String,
    api_version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    non_resource_url: String,
}

// === Public-Package Functions ===

/// Checks nothing: see `is_well_formed`.
public(package) fun new(
    verb: String,
    api_group: String,
    api_version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    non_resource_url: String,
): Attributes {
    Attributes { verb, api_group, api_version, resource, subresource, namespace, name, non_resource_url }
}

/// Lengths and characters are in bounds, and it is exactly one of the two kinds of request.
public(package) fun is_well_formed(self: &Attributes): bool {
    if (self.verb.is_empty() || !text::is_segment(&self.verb, MAX_VERB)) return false;
    if (self.is_resource_request()) self.is_well_formed_resource_request() else self.is_well_formed_url_request()
}

public(package) fun is_resource_request(self: &Attributes): bool {
    !self.resource.is_empty()
}

/// Nothing in the cluster can change by it, so neither stake nor a writing session is needed. A `get` that opens a
/// channel into a workload is not one. The reviews are POSTs that only ask.
public(package) fun is_read(self: &Attributes): bool {
    let verb = self.verb.as_bytes();
    if (!self.is_resource_request()) return verb == &b"get";
    if (verb == &b"create") return self.is_review();
    let reads = verb == &b"get" || verb == &b"list" || verb == &b"watch";
    reads && !self.opens_a_channel()
}

/// A `get` that opens a channel into a workload: what is done through it, nobody can tell beforehand.
fun opens_a_channel(self: &Attributes): bool {
    let subresource = self.subresource.as_bytes();
    subresource == &b"proxy"
        || subresource == &b"exec"
        || subresource == &b"attach"
        || subresource == &b"portforward"
}

/// Requests of such power that a `*` in a rule does not reach them: tokens of service accounts, approval of client
/// certificates, and every proxy.
public(package) fun needs_exact_rule(self: &Attributes): bool {
    let resource = self.resource.as_bytes();
    let subresource = self.subresource.as_bytes();
    subresource == &b"proxy"
        || (resource == &b"serviceaccounts" && subresource == &b"token")
        || (resource == &b"certificatesigningrequests" && subresource == &b"approval")
}

/// It is in that namespace, or is about that namespace itself.
public(package) fun touches_namespace(self: &Attributes, namespace: &String): bool {
    if (&self.namespace == namespace) return true;
    self.resource.as_bytes() == &b"namespaces" && self.api_group.is_empty() && &self.name == namespace
}

/// `resource` or `resource/subresource`, as rules write it.
public(package) fun combined_resource(self: &Attributes): String {
    let mut combined = self.resource;
    if (!self.subresource.is_empty()) {
        combined.append_utf8(b"/");
        combined.append(self.subresource);
    };
    combined
}

/// Of all the texts.
public(package) fun text_bytes(self: &Attributes): u64 {
    self.verb.length()
        + self.api_group.length()
        + self.api_version.length()
        + self.resource.length()
        + self.subresource.length()
        + self.namespace.length()
        + self.name.length()
        + self.non_resource_url.length()
}

public(package) fun verb(self: &Attributes): &String { &self.verb }

public(package) fun api_group(self: &Attributes): &String { &self.api_group }

public(package) fun api_version(self: &Attributes): &String { &self.api_version }

public(package) fun resource(self: &Attributes): &String { &self.resource }

public(package) fun subresource(self: &Attributes): &String { &self.subresource }

public(package) fun namespace(self: &Attributes): &String { &self.namespace }

public(package) fun name(self: &Attributes): &String { &self.name }

public(package) fun non_resource_url(self: &Attributes): &String { &self.non_resource_url }

// === Private Functions ===

fun is_well_formed_resource_request(self: &Attributes): bool {
    text::is_segment(&self.api_group, MAX_GROUP)
        && !self.api_version.is_empty()
        && text::is_segment(&self.api_version, MAX_VERSION)
        && text::is_segment(&self.resource, MAX_RESOURCE)
        && text::is_segment(&self.subresource, MAX_SUBRESOURCE)
        && text::is_segment(&self.namespace, MAX_NAMESPACE)
        && text::is_object_name(&self.name, MAX_OBJECT_NAME)
        // In a path the subresource stands behind the object's name.
        && (self.subresource.is_empty() || !self.name.is_empty())
        && self.non_resource_url.is_empty()
}

fun is_well_formed_url_request(self: &Attributes): bool {
    text::is_url_pattern(&self.non_resource_url, MAX_URL_PATTERN)
        && self.api_group.is_empty()
        && self.api_version.is_empty()
        && self.subresource.is_empty()
        && self.namespace.is_empty()
        && self.name.is_empty()
}

fun is_review(self: &Attributes): bool {
    if (!self.subresource.is_empty()) return false;
    let group = self.api_group.as_bytes();
    let resource = self.resource.as_bytes();
    if (group == &b"authorization.k8s.io") {
        return resource == &b"selfsubjectaccessreviews"
            || resource == &b"selfsubjectrulesreviews"
            || resource == &b"subjectaccessreviews"
            || resource == &b"localsubjectaccessreviews"
    };
    group == &b"authentication.k8s.io" && (resource == &b"selfsubjectreviews" || resource == &b"tokenreviews")
}
