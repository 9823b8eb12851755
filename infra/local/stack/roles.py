"""The demo cluster as its files describe it: roles, their ClusterRoles in Kubernetes, and the policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from k3s_daas.admin.policy_file import load_policy
from k3s_daas.admin.roles_file import load_roles

_HERE = Path(__file__).parent

_SPECS = load_roles(_HERE / "roles.yaml")
DEMO_ROLES = tuple(spec.role for spec in _SPECS)
CLUSTER_ROLES: Mapping[str, str] = {
    spec.role.name: spec.cluster_role for spec in _SPECS if spec.cluster_role is not None
}
"""Role of the contract to the ClusterRole that its group is bound to."""
DEMO_POLICY = load_policy(_HERE / "policy.yaml")
