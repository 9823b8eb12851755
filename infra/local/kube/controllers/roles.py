"""Aggregated ClusterRoles: their rules are those of all ClusterRoles that they select."""

from __future__ import annotations

from functools import partial

from infra.local.kube.controllers.context import Context
from infra.local.kube.errors import Json
from infra.local.kube.selectors import match_label_selector
from infra.local.kube.store import ResourceKey

_ROLES: ResourceKey = ("rbac.authorization.k8s.io", "clusterroles")


def reconcile(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """Any ClusterRole that changed may be part of any aggregated one."""
    roles = context.objects(_ROLES)
    for role in roles:
        selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        if not selectors:
            continue
        rules: list[Json] = []
        for part in roles:
            labels = part["metadata"].get("labels") or {}
            if part is not role and any(match_label_selector(s, labels) for s in selectors):
                rules += [rule for rule in part.get("rules") or [] if rule not in rules]
        if rules != (role.get("rules") or []):
            context.update(_ROLES, role, partial(_set_rules, rules))


def _set_rules(rules: list[Json], role: Json) -> None:
    role["rules"] = rules
