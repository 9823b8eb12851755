"""The roles of the demo cluster: what the contract allows, and the ClusterRole behind each in Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass

from k3s_daas.rbac import Role, Rule

MIST_PER_SUI = 1_000_000_000

READ = ("get", "list", "watch")
_DISCOVERY = Rule(
    verbs=("get",),
    non_resource_urls=(
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/openapi/*",
        "/version",
        "/healthz",
        "/livez",
        "/livez/*",
        "/readyz",
        "/readyz/*",
    ),
)
_REVIEWS = Rule(
    verbs=("create",),
    api_groups=("authorization.k8s.io", "authentication.k8s.io"),
    resources=("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"),
)


@dataclass(frozen=True, slots=True)
class DemoRole:
    """A role of the contract, and the ClusterRole that its group is bound to in Kubernetes."""

    role: Role
    cluster_role: str


OPERATOR = DemoRole(
    Role(
        name="operator",
        priority=5,
        stake=MIST_PER_SUI,
        open=False,
        rules=(
            Rule(verbs=("*",), api_groups=("*",), resources=("*",)),
            # What no wildcard covers must be named.
            Rule(verbs=("create",), api_groups=("",), resources=("serviceaccounts/token",)),
            _DISCOVERY,
        ),
    ),
    cluster_role="cluster-admin",
)

VIEWER = DemoRole(
    Role(
        name="viewer",
        priority=3,
        stake=0,
        open=False,
        rules=(
            Rule(
                verbs=READ,
                api_groups=("",),
                resources=(
                    "configmaps",
                    "endpoints",
                    "events",
                    "namespaces",
                    "persistentvolumeclaims",
                    "pods",
                    "pods/log",
                    "pods/status",
                    "replicationcontrollers",
                    "serviceaccounts",
                    "services",
                ),
            ),
            Rule(
                verbs=READ,
                api_groups=("apps", "autoscaling", "batch", "networking.k8s.io", "policy"),
                resources=("*",),
            ),
            _REVIEWS,
            _DISCOVERY,
        ),
    ),
    cluster_role="view",
)

DEMO_ROLES = (OPERATOR, VIEWER)
