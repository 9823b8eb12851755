"""What runs as `daas:discovery`: exactly what every holder may read, and nothing that could be told apart."""

from __future__ import annotations

import pytest

from infra.local.kube.rbac import rule_allows
from infra.local.kube.request_info import RequestInfo
from k3s_daas.attributes import parse_attributes
from k3s_daas.discovery import changes_discovery, is_discovery

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
# Kubernetes' own, from its bootstrap policy.
SYSTEM_DISCOVERY = {
    "verbs": ["get"],
    "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"],
}
LISTED = [
    "/version",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/apps",
    "/apis/apps/v1",
    "/apis/snapshot.storage.k8s.io/v1beta1",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/api/v1",
    "/openapi/v3/apis/apps/v1",
    "/openapi/v3/.well-known/openid-configuration",
]


@pytest.mark.parametrize("path", LISTED)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_discovery_is_listed_and_kubernetes_allows_it_to_the_user(path: str, method: str) -> None:
    assert is_discovery(parse_attributes(method, path, "timeout=32s"))
    assert rule_allows(SYSTEM_DISCOVERY, RequestInfo("get", path))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/metrics",
        "/logs/syslog",
        "/debug/pprof/heap",
        "/version/",
        "/versions",
        "/api/",
        "/api/v%31x%20",
        "/apis/apps/",
        "/apis/apps/v1/deployments",
        "/api/v1/pods",
        "/api/v1/namespaces/default/secrets/version",
        "/api/v1/namespaces/default/services/web/proxy/openapi/v3",
        "/apis/Apps/v1",
        "/openapi",
        "/openapi/v4",
        "/openapi/v3/a/b/c/d/e",
        "/.well-known/openid-configuration",
    ],
)
def test_everything_else_stays_the_holders_own(path: str) -> None:
    assert not is_discovery(parse_attributes("GET", path, ""))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_but_reading_is_discovery(method: str) -> None:
    assert not is_discovery(parse_attributes(method, "/apis", ""))


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("POST", CRDS, True),
        ("PATCH", f"{CRDS}/a.example.com", True),
        ("PUT", f"{CRDS}/a.example.com/status", True),
        ("DELETE", CRDS, True),
        ("PUT", f"{SERVICES}/v1.example.com", True),
        ("GET", CRDS, False),
        ("POST", "/api/v1/namespaces/default/pods", False),
        ("POST", "/apis/example.com/v1/customresourcedefinitions", False),
    ],
)
def test_writing_definitions_changes_discovery(method: str, path: str, changes: bool) -> None:
    assert changes_discovery(parse_attributes(method, path, "")) is changes
