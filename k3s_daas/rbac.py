"""Roles and rules: a model in Python of what the Move module ``role`` decides.

The contract is the law. The model lets the gateway refuse without spending gas, and pick the nonResourceURL
pattern that goes on chain in place of the path. Both are tested with the same vectors.

Semantics of Kubernetes RBAC, with namespaces per rule, and three refusals that no rule lifts or only an exact
one does: the verb ``impersonate``, the listener's own namespace, and the requests of
``RequestAttributes.needs_exact_rule``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from k3s_daas.attributes import RequestAttributes

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """About resources (groups and resources set) or about non-resource URLs, never both.

    ``namespaces``: empty or ``*`` is every namespace and cluster scope; names restrict to these.
    ``resource_names``: literal, empty is every object. ``resources``: ``*``, ``pods``, ``pods/log`` or
    ``*/scale``; ``pods`` does not cover its subresources.
    """

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    def admits_resource(self, attributes: RequestAttributes) -> bool:
        return (
            _has(self.verbs, attributes.verb)
            and _has(self.api_groups, attributes.api_group)
            and self._names_resource(attributes)
            and (not self.namespaces or _has(self.namespaces, attributes.namespace))
            and (not self.resource_names or attributes.name in self.resource_names)
        )

    def admitting_url(self, verb: str, decoded_path: str) -> str | None:
        """The first of the rule's patterns that matches the path, if the verb is admitted."""
        if not _has(self.verbs, verb):
            return None
        return next((url for url in self.non_resource_urls if url_matches(url, decoded_path)), None)

    def _names_resource(self, attributes: RequestAttributes) -> bool:
        if attributes.combined_resource in self.resources:
            return True
        if attributes.needs_exact_rule:
            return False
        return WILDCARD in self.resources or (
            bool(attributes.subresource) and f"*/{attributes.subresource}" in self.resources
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """A role's decision: ``reason`` is for the caller, ``abort`` is the contract's name for a refusal.

    ``non_resource_url`` is the pattern that goes on chain for an admitted non-resource request, else empty.
    """

    allowed: bool
    reason: str
    non_resource_url: str = ""
    abort: str | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """A role as it stands on chain. ``stake`` is in MIST; an ``open`` one needs no grant."""

    name: str
    priority: int
    stake: int
    open: bool
    rules: tuple[Rule, ...]

    def admits(self, attributes: RequestAttributes, listener_namespace: str) -> Admission:
        """What the contract will say to this request, seals and stakes aside."""
        if attributes.verb == "impersonate":
            return Admission(False, "nobody may impersonate through the contract", abort="EVerbNeverAllowed")
        if _touches_namespace(attributes, listener_namespace):
            reason = f"the namespace {listener_namespace} is the listener's own and closed to everybody"
            return Admission(False, reason, abort="EReservedNamespace")
        if attributes.is_resource_request:
            if any(rule.admits_resource(attributes) for rule in self.rules):
                return Admission(True, f"the role {self.name} admits it")
        else:
            url = _first_url(self.rules, attributes)
            if url is not None:
                return Admission(True, f"the role {self.name} admits it", non_resource_url=url)
        return Admission(False, f"the role {self.name} has no rule for it", abort="EForbiddenByRole")


def url_matches(pattern: str, decoded_path: str) -> bool:
    """Whether a nonResourceURL (``*``, a path, or a path ending in ``*``) covers a decoded path."""
    if pattern.endswith(WILDCARD):
        return decoded_path.startswith(pattern.rstrip(WILDCARD))
    return pattern == decoded_path


def _first_url(rules: Iterable[Rule], attributes: RequestAttributes) -> str | None:
    urls = (rule.admitting_url(attributes.verb, attributes.decoded_path) for rule in rules)
    return next((url for url in urls if url is not None), None)


def _touches_namespace(attributes: RequestAttributes, namespace: str) -> bool:
    if attributes.namespace == namespace:
        return True
    about_namespaces = attributes.resource == "namespaces" and not attributes.api_group
    return about_namespaces and attributes.name == namespace


def _has(entries: tuple[str, ...], value: str) -> bool:
    return value in entries or WILDCARD in entries
