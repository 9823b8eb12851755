"""The listener's place in a cluster: namespace, service account, and whom it may impersonate.

RBAC's `resourceNames` are literal (no `sui:*`), so the ClusterRole enumerates the owners of seals as users
and the roles as groups; the extras' values vary, so only their keys are named. One more user is ours:
`daas:discovery`, for what every holder may read. In its own namespace the service account has its Leases
(the lead, and claims of commands) and the one Secret with its keys. It can do nothing else, and no name that
begins with `system:` ever gets in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from k3s_daas.discovery import DISCOVERY_USER
from k3s_daas.ids import to_hex

Manifest = dict[str, Any]

SERVICE_ACCOUNT = "daas-listener"
IMPERSONATOR = "daas-listener-impersonator"
OWN_OBJECTS = "daas-listener-own-objects"
KEYS_SECRET = "daas-listener-keys"  # noqa: S105  the name of a Secret
EXTRA_KEYS = ("daas.io/seal", "daas.io/request-id")

_RBAC = "rbac.authorization.k8s.io"
_LABELS = {"app.kubernetes.io/part-of": "k3s-daas", "app.kubernetes.io/managed-by": "daas"}
_OWNER = re.compile(r"sui:0x[0-9a-f]{64}", re.ASCII)
_ROLE = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)


def listener_manifests(
    namespace: str, owners: Sequence[str], roles: Sequence[str] | Mapping[str, str]
) -> list[Manifest]:
    """The manifests, in the order in which they can be applied.

    `owners` are user names `sui:0x…`. `roles` are the contract's roles; a mapping also names the ClusterRole
    that each role's group `daas:role:<role>` is bound to, without one the group is bound to `view`.
    Raises `ValueError` for a name that is none of ours: nobody else may ever be impersonated.
    """
    bindings = dict(roles) if isinstance(roles, Mapping) else dict.fromkeys(roles, "view")
    account = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}
    return [
        _manifest("v1", "Namespace", namespace),
        _manifest("v1", "ServiceAccount", SERVICE_ACCOUNT, namespace=namespace),
        # Without data, so that applying it again takes nothing away: what is in it is the listener's.
        _manifest("v1", "Secret", KEYS_SECRET, namespace=namespace),
        _own_objects(namespace),
        _own_objects_binding(namespace, account),
        impersonator(owners, bindings),
        _binding(IMPERSONATOR, IMPERSONATOR, account),
        _binding(
            "daas-discovery", "system:discovery", {"kind": "User", "apiGroup": _RBAC, "name": DISCOVERY_USER}
        ),
        *(
            _binding(
                f"daas-role-{role}",
                cluster_role,
                {"kind": "Group", "apiGroup": _RBAC, "name": role_group(role)},
            )
            for role, cluster_role in bindings.items()
        ),
    ]


def impersonator(owners: Iterable[str], roles: Iterable[str]) -> Manifest:
    """The ClusterRole of whom the listener may impersonate: users `owners`, and the groups of `roles`.

    Raises `ValueError` as `listener_manifests` does. An empty `resourceNames` would mean everybody, so a rule
    without names is left out.
    """
    users, groups = sorted(set(owners)), sorted({role_group(role) for role in _checked_roles(roles)})
    for owner in users:
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} is not the user name of a seal's owner (sui:0x and 64 hex digits)")
    rules = [_impersonate("", ["users"], [DISCOVERY_USER, *users])]
    if groups:
        rules.append(_impersonate("", ["groups"], groups))
    extras = _impersonate("authentication.k8s.io", [f"userextras/{key}" for key in EXTRA_KEYS])
    return {**_manifest(f"{_RBAC}/v1", "ClusterRole", IMPERSONATOR), "rules": [*rules, extras]}


def _checked_roles(roles: Iterable[str]) -> list[str]:
    found = list(roles)
    for role in found:
        if not _ROLE.fullmatch(role):
            raise ValueError(f"{role!r} is not the name of a role (1 to 63 of a-z, 0-9 and -)")
    return found


def owner_user(address: bytes) -> str:
    """The Kubernetes user of a seal's owner (32 bytes)."""
    return f"sui:{to_hex(address)}"


def role_group(role: str) -> str:
    """The Kubernetes group of a role's holders."""
    return f"daas:role:{role}"


def _own_objects(namespace: str) -> Manifest:
    """RBAC cannot tell one Lease from another when it is created or selected, so all of the namespace's are
    meant. Single claims are never deleted."""
    leases: Manifest = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["create", "get", "list", "update", "deletecollection"],
    }
    secret: Manifest = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": [KEYS_SECRET],
        "verbs": ["get", "update"],
    }
    role = _manifest(f"{_RBAC}/v1", "Role", OWN_OBJECTS, namespace=namespace)
    return {**role, "rules": [leases, secret]}


def _own_objects_binding(namespace: str, account: Manifest) -> Manifest:
    return {
        **_manifest(f"{_RBAC}/v1", "RoleBinding", OWN_OBJECTS, namespace=namespace),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": OWN_OBJECTS},
        "subjects": [account],
    }


def _impersonate(group: str, resources: list[str], names: list[str] | None = None) -> Manifest:
    rule: Manifest = {"apiGroups": [group], "resources": resources, "verbs": ["impersonate"]}
    return rule if names is None else {**rule, "resourceNames": names}


def _binding(name: str, cluster_role: str, subject: Manifest) -> Manifest:
    return {
        **_manifest(f"{_RBAC}/v1", "ClusterRoleBinding", name),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": cluster_role},
        "subjects": [subject],
    }


def _manifest(api_version: str, kind: str, name: str, namespace: str | None = None) -> Manifest:
    metadata: Manifest = {"name": name, "labels": dict(_LABELS)}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
