"""Which texts, attributes, rules, policies and keys are well-formed: from the rules, not the Move code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.rbac import Role, Rule

DAY_MS = 86_400_000
HPKE_KEY_BYTES = 1_216
_NAME = re.compile(rb"[a-z0-9-]{1,63}")
# Printable ASCII without separator and wildcard; nothing but control characters and the separator.
_SEGMENT = re.compile(rb"[!-)+-.0-~]*")
_OBJECT_NAME = re.compile(rb"[^\x00-\x1f\x7f/]*")
_URL_PATTERN = re.compile(rb"\*|/[!-)+-~]*\*?")
_REVIEWS = {
    "authorization.k8s.io": {
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "subjectaccessreviews",
        "localsubjectaccessreviews",
    },
    "authentication.k8s.io": {"selfsubjectreviews", "tokenreviews"},
}
_CHANNELS = {"proxy", "exec", "attach", "portforward"}


def is_name(text: str) -> bool:
    """A DNS label, more or less."""
    return _NAME.fullmatch(text.encode()) is not None


def _fits(pattern: re.Pattern[bytes], text: str, limit: int) -> bool:
    data = text.encode()
    return len(data) <= limit and pattern.fullmatch(data) is not None


def _is_segment(text: str, limit: int) -> bool:
    return _fits(_SEGMENT, text, limit)


def _is_word(text: str, limit: int) -> bool:
    return text != "" and _is_segment(text, limit)


def are_attributes(attributes: OnChainAttributes) -> bool:
    """Exactly one of the two kinds of request, every text in bounds."""
    if not _is_word(attributes.verb, 32):
        return False
    rest = (attributes.api_group, attributes.api_version, attributes.subresource, attributes.namespace)
    if attributes.resource == "":
        empty = not any(rest) and attributes.name == ""
        return empty and _fits(_URL_PATTERN, attributes.non_resource_url, 253)
    return (
        attributes.non_resource_url == ""
        and _is_segment(attributes.api_group, 253)
        and _is_word(attributes.api_version, 63)
        and all(
            _is_segment(text, 63)
            for text in (attributes.resource, attributes.subresource, attributes.namespace)
        )
        and _fits(_OBJECT_NAME, attributes.name, 253)
        and (attributes.subresource == "" or attributes.name != "")
    )


def is_read(attributes: OnChainAttributes) -> bool:
    """Nothing can change by it."""
    if attributes.resource == "":
        return attributes.verb == "get"
    if attributes.verb == "create":
        return attributes.subresource == "" and attributes.resource in _REVIEWS.get(attributes.api_group, ())
    return attributes.verb in ("get", "list", "watch") and attributes.subresource not in _CHANNELS


def touches(attributes: OnChainAttributes, namespace: str) -> bool:
    """It is in the namespace, or is about the namespace itself."""
    itself = (attributes.resource, attributes.api_group, attributes.name) == ("namespaces", "", namespace)
    return itself or attributes.namespace == namespace


def admits(role: Role, attributes: OnChainAttributes) -> bool:
    """Some rule of the role admits it; for a path, the pattern must be one of a rule's."""
    return any(_rule_admits(rule, attributes) for rule in role.rules)


def _rule_admits(rule: Rule, attributes: OnChainAttributes) -> bool:
    if not _has(rule.verbs, attributes.verb):
        return False
    if attributes.resource == "":
        return attributes.non_resource_url in rule.non_resource_urls
    if not _has(rule.api_groups, attributes.api_group):
        return False
    if rule.namespaces and not _has(rule.namespaces, attributes.namespace):
        return False
    if rule.resource_names and attributes.name not in rule.resource_names:
        return False
    return any(entry in rule.resources for entry in _resource_entries(attributes))


def _resource_entries(attributes: OnChainAttributes) -> list[str]:
    """What a rule may write to reach it."""
    resource, sub = attributes.resource, attributes.subresource
    if sub == "":
        return [resource, "*"]
    only_by_name = (
        sub == "proxy"
        or (resource, sub) == ("serviceaccounts", "token")
        or (resource, sub) == ("certificatesigningrequests", "approval")
    )
    exact = f"{resource}/{sub}"
    return [exact] if only_by_name else [exact, "*", f"*/{sub}"]


def _has(entries: Sequence[str], text: str) -> bool:
    return text in entries or "*" in entries


def is_rule(rule: Rule) -> bool:
    """A rule that Kubernetes would accept, within the contract's bounds."""
    lists = (rule.verbs, rule.api_groups, rule.resources, rule.namespaces, rule.resource_names)
    if any(len(entries) > 32 for entries in (*lists, rule.non_resource_urls)) or not rule.verbs:
        return False
    if not all(verb == "*" or _is_word(verb, 32) for verb in rule.verbs):
        return False
    if rule.non_resource_urls:
        no_resources = not (rule.api_groups or rule.resources or rule.resource_names)
        everywhere = tuple(rule.namespaces) in ((), ("*",))
        patterns = all(_fits(_URL_PATTERN, url, 253) for url in rule.non_resource_urls)
        return no_resources and everywhere and patterns
    return (
        bool(rule.api_groups and rule.resources)
        and all(group == "*" or _is_segment(group, 253) for group in rule.api_groups)
        and all(map(_is_resource_entry, rule.resources))
        and all(namespace == "*" or is_name(namespace) for namespace in rule.namespaces)
        and all(name != "" and _fits(_OBJECT_NAME, name, 253) for name in rule.resource_names)
    )


def _is_resource_entry(entry: str) -> bool:
    if entry == "*":
        return True
    resource, slash, subresource = entry.partition("/")
    if not slash:
        return _is_word(resource, 63)
    return (resource == "*" or _is_word(resource, 63)) and _is_word(subresource, 63)


def is_policy(values: Sequence[int]) -> bool:
    """The arguments of ``new_policy`` are within the bounds that hold for every cluster."""
    (_, unbonding, slash, seal, start, finish, answer, *ttls, rate, deposit, inline) = values
    return (
        unbonding <= 30 * DAY_MS
        and slash <= 10_000
        and 0 < seal <= 366 * DAY_MS
        and 0 < start <= 600_000
        and start < finish <= DAY_MS
        and finish < answer <= 2 * DAY_MS
        and all(ttl <= 30 * DAY_MS for ttl in ttls)
        and rate > 0
        and deposit > 0
        and 0 < inline <= 120_000
    )


# === Session keys ===

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def _roots(square: int) -> set[int]:
    """Square roots modulo p, by the rule for p = 5 mod 8."""
    root = pow(square, (_P + 3) // 8, _P)
    candidates = {root, root * pow(2, (_P - 1) // 4, _P) % _P}
    return {sign * one % _P for one in candidates for sign in (1, -1) if one * one % _P == square % _P}


def _small_order() -> frozenset[int]:
    """The y coordinates of the points whose order divides 8."""
    # Doubling a point of order 8 gives y == 0, so y**2 == -x**2. On the curve, which is
    # -x**2 + y**2 == 1 + d * x**2 * y**2, that means d * x**4 - 2 * x**2 - 1 == 0.
    squares = {(1 + root) * pow(_D, -1, _P) % _P for root in _roots(1 + _D)}
    eighths = {y for square in squares for y in _roots(-square)}
    return frozenset({0, 1, _P - 1} | eighths)


SMALL_ORDER = _small_order()


def is_session_key(key: bytes) -> bool:
    """32 bytes in canonical form, under which not everybody can sign."""
    if len(key) != 32:
        return False
    y = int.from_bytes(key, "little") & (2**255 - 1)
    return y < _P and y not in SMALL_ORDER
