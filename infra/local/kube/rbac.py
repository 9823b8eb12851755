"""Role-based access control, evaluated from the Roles and bindings that are in the store.

Semantics of k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac: rules only add up, `*` matches everything,
`*/scale` a subresource of every resource, and the group system:masters passes everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.local.kube.authentication import MASTERS, Impersonation, User
from infra.local.kube.errors import ApiError, Json, forbidden
from infra.local.kube.request_info import RequestInfo
from infra.local.kube.store import Store

GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Grant:
    """A rule that applies to a user, and the binding that it comes from."""

    rule: Json
    reason: str


class Authorizer:
    """Decides from the current content of the store; nothing is cached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, request: RequestInfo) -> str | None:
        """Why the request is allowed, or None if it is not."""
        if MASTERS in user.groups:
            return "system:masters"
        for grant in self.grants(user, request.namespace if request.is_resource else ""):
            if rule_allows(grant.rule, request):
                return grant.reason
        return None

    def check(self, user: User, request: RequestInfo) -> None:
        """Raises the 403 that the API server gives."""
        if self.allows(user, request) is None:
            raise denied(user, request)

    def check_impersonation(self, user: User, wanted: Impersonation) -> None:
        """The verb `impersonate` on the user, each group and each extra. Raises 403 for the first refused."""
        for request in impersonation_requests(wanted):
            self.check(user, request)

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """All rules of the user in the namespace, cluster-wide ones first."""
        for binding in self._store.objects((GROUP, "clusterrolebindings")):
            if _binds(binding, user, ""):
                reason = f'ClusterRoleBinding "{binding["metadata"]["name"]}"'
                yield from self._rules(binding, "", reason)
        if not namespace:
            return
        for binding in self._store.objects((GROUP, "rolebindings"), namespace):
            if _binds(binding, user, namespace):
                reason = f'RoleBinding "{binding["metadata"]["name"]}/{namespace}"'
                yield from self._rules(binding, namespace, reason)

    def _rules(self, binding: Json, namespace: str, reason: str) -> Iterator[Grant]:
        for rule in self.rules_of(binding["roleRef"], namespace):
            reference = binding["roleRef"]
            yield Grant(rule, f'RBAC: allowed by {reason} of {reference["kind"]} "{reference["name"]}"')

    def rules_of(self, reference: Json, namespace: str) -> list[Json]:
        """The rules of a roleRef; none if the role does not exist."""
        if reference["kind"] == "ClusterRole":
            role = self._store.get((GROUP, "clusterroles"), "", reference["name"])
        else:
            role = self._store.get((GROUP, "roles"), namespace, reference["name"])
        return list((role or {}).get("rules") or [])

    def covers(self, user: User, namespace: str, rules: list[Json]) -> bool:
        """Whether the user has every permission that the rules give: nobody may grant more than he has."""
        if MASTERS in user.groups:
            return True
        held = [grant.rule for grant in self.grants(user, namespace)]
        return all(
            any(rule_allows(own, single) for own in held) for rule in rules for single in _singles(rule)
        )


def impersonation_requests(wanted: Impersonation) -> Iterator[RequestInfo]:
    """One authorization request per thing to impersonate."""

    def request(group: str, resource: str, name: str, namespace: str = "", sub: str = "") -> RequestInfo:
        return RequestInfo("impersonate", "", True, group, "v1", resource, sub, namespace, name)

    prefix, _, account = wanted.user.partition("system:serviceaccount:")
    if not prefix and account.count(":") == 1:
        namespace, _, name = account.partition(":")
        yield request("", "serviceaccounts", name, namespace)
    else:
        yield request("", "users", wanted.user)
    for group in wanted.groups:
        yield request("", "groups", group)
    if wanted.uid:
        yield request("authentication.k8s.io", "uids", wanted.uid)
    for key, values in wanted.extra.items():
        for value in values:
            yield request("authentication.k8s.io", "userextras", value, sub=key)


def rule_allows(rule: Json, request: RequestInfo) -> bool:
    verbs = rule.get("verbs") or []
    if "*" not in verbs and request.verb not in verbs:
        return False
    if not request.is_resource:
        return any(_matches_url(url, request.path) for url in rule.get("nonResourceURLs") or [])
    groups, names = rule.get("apiGroups") or [], rule.get("resourceNames") or []
    if "*" not in groups and request.group not in groups:
        return False
    if names and request.name not in names:
        return False
    any_parent = f"*/{request.subresource}" if request.subresource else ""
    wanted = {"*", request.full_resource, any_parent} - {""}
    return not wanted.isdisjoint(rule.get("resources") or [])


def _matches_url(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


def _binds(binding: Json, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount":
            space = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{space}:{name}":
                return True
    return False


def _singles(rule: Json) -> Iterator[RequestInfo]:
    """The rule as single permissions, `*` standing for itself."""
    for verb in rule.get("verbs") or []:
        for url in rule.get("nonResourceURLs") or []:
            yield RequestInfo(verb, url)
        for group in rule.get("apiGroups") or []:
            for full in rule.get("resources") or []:
                resource, _, sub = full.partition("/")
                for name in rule.get("resourceNames") or [""]:
                    yield RequestInfo(verb, "", True, group, "", resource, sub, "", name)


def denied(user: User, request: RequestInfo) -> ApiError:
    """The 403 in the API server's words."""
    if not request.is_resource:
        text = f'User "{user.name}" cannot {request.verb} path "{request.path}"'
        return forbidden(f"forbidden: {text}", {})
    where = f' in the namespace "{request.namespace}"' if request.namespace else " at the cluster scope"
    text = (
        f'User "{user.name}" cannot {request.verb} resource "{request.full_resource}" '
        f'in API group "{request.group}"{where}'
    )
    qualified = f"{request.resource}.{request.group}" if request.group else request.resource
    name = f' "{request.name}"' if request.name else ""
    details: Json = {}
    if request.name:
        details["name"] = request.name
    if request.group:
        details["group"] = request.group
    details["kind"] = request.resource
    return forbidden(f"{qualified}{name} is forbidden: {text}", details)


def check_escalation(authorizer: Authorizer, user: User, resource: str, obj: Json) -> None:
    """Roles and bindings may only give what their author has, unless he holds `escalate` or `bind`.

    `obj` is a valid role or binding. Raises 403.
    """
    metadata = obj["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
    if resource in ("roles", "clusterroles"):
        verb, target, rules = "escalate", name, obj.get("rules") or []
        kind = resource
    else:
        reference = obj["roleRef"]
        verb, target = "bind", reference["name"]
        kind = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        rules = authorizer.rules_of(reference, namespace)
    special = RequestInfo(verb, "", True, GROUP, "v1", kind, "", namespace, target)
    if authorizer.covers(user, namespace, rules) or authorizer.allows(user, special):
        return
    raise forbidden(
        f'{resource}.{GROUP} "{name}" is forbidden: user "{user.name}" (groups={list(user.groups)}) is '
        f"attempting to grant RBAC permissions not currently held",
        {"name": name, "group": GROUP, "kind": resource},
    )
