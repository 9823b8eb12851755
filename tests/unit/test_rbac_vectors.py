"""The Python model of roles decides like the contract: both run the same vectors."""

import json
from pathlib import Path
from typing import Any

import pytest

from k3s_daas.attributes import RequestAttributes
from k3s_daas.rbac import Role, Rule, url_matches

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "move" / "rbac_vectors.json").read_text(encoding="utf-8")
)
FIELDS = ("verb", "api_group", "api_version", "resource", "subresource", "namespace", "name")


def role(name: str) -> Role:
    rules = (Rule(**{key: tuple(value) for key, value in rule.items()}) for rule in DOCUMENT["roles"][name])
    return Role(name, priority=5, stake=0, open=False, rules=tuple(rules))


def attributes(vector: dict[str, Any]) -> RequestAttributes:
    given = {field: vector["attributes"].get(field, "") for field in FIELDS}
    return RequestAttributes(**given, path=vector.get("path", "/irrelevant"))


@pytest.mark.parametrize(
    "vector", DOCUMENT["vectors"], ids=lambda vector: vector["role"] + ": " + vector["case"]
)
def test_the_model_decides_like_the_contract(vector: dict[str, Any]) -> None:
    request = attributes(vector)
    admission = role(vector["role"]).admits(request, DOCUMENT["listener_namespace"])
    assert admission.abort == vector["refused"]
    assert admission.allowed is (vector["refused"] is None)
    assert request.is_read is vector["read"]
    assert admission.reason
    if admission.allowed:
        assert admission.non_resource_url == vector["attributes"].get("non_resource_url", "")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*", "/anything/at/all", True),
        ("/version", "/version", True),
        ("/version", "/version/", False),
        ("/version", "/versions", False),
        ("/openapi/*", "/openapi/v3/apis/apps/v1", True),
        ("/openapi/*", "/openapi", False),
        ("/openapi/*", "/openapi/", True),
        ("/healthz*", "/healthz/etcd", True),
        ("/api", "/api/v1", False),
    ],
)
def test_url_patterns_match_like_those_of_kubernetes(pattern: str, path: str, matches: bool) -> None:
    assert url_matches(pattern, path) is matches


def test_patterns_are_compared_with_the_decoded_path() -> None:
    request = RequestAttributes("get", "", "", "", "", "", "", "/logs/a%20b")
    admitting = Role("r", 5, 0, False, (Rule(("get",), non_resource_urls=("/other", "/logs/a b")),))
    assert admitting.admits(request, "listener").non_resource_url == "/logs/a b"


def test_the_first_matching_pattern_goes_on_chain() -> None:
    rules = (
        Rule(("post",), non_resource_urls=("*",)),
        Rule(("get",), non_resource_urls=("/openapi/v2", "/openapi/*", "*")),
    )
    request = RequestAttributes("get", "", "", "", "", "", "", "/openapi/v3")
    assert Role("r", 5, 0, False, rules).admits(request, "listener").non_resource_url == "/openapi/*"
