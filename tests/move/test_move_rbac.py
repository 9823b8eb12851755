"""What roles admit: the table that the Python model is tested with too, and which rules there can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.attributes import OnChainAttributes
from tests.move.harness import Chain
from tests.move.world import LISTENER_NAMESPACE, Seal, World, administering

TABLE = json.loads((Path(__file__).parent / "rbac_vectors.json").read_text())
VECTORS: list[dict[str, Any]] = TABLE["vectors"]
DNS = "a" * 63


@pytest.fixture(scope="module")
def seals(chain: Chain) -> dict[str, dict[bool, Seal]]:
    """Role -> may it write -> a seal that may, or may not."""
    assert TABLE["listener_namespace"] == LISTENER_NAMESPACE
    return {}


def seal_of(world: World, seals: dict[str, dict[bool, Seal]], role: str) -> dict[bool, Seal]:
    if role not in seals:
        world.define_role(f"table-{role}", TABLE["roles"][role])
        owned = {True: world.holder(role=f"table-{role}")}
        owned[False] = world.holder(role=f"table-{role}", read_only=True)
        seals[role] = owned
    return seals[role]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['role']}: {vector['case']}")
def test_a_role_admits_as_the_table_says(
    world: World, seals: dict[str, dict[bool, Seal]], vector: dict[str, Any]
) -> None:
    owned = seal_of(world, seals, vector["role"])
    attributes = OnChainAttributes(**vector["attributes"])
    if not attributes.resource and not attributes.non_resource_url:
        attributes = OnChainAttributes(attributes.verb, non_resource_url=vector["path"])
    if vector["refused"] is not None:
        assert world.refuses(owned[True], attributes=attributes) == vector["refused"]
        return
    world.execute(owned[True], world.command(owned[True], attributes=attributes))
    if not vector["read"]:
        assert world.refuses(owned[False], attributes=attributes) == "ESessionReadOnly"
        return
    world.execute(owned[False], world.command(owned[False], attributes=attributes))


RESOURCES: dict[str, Any] = {"verbs": ["get"], "api_groups": [""], "resources": ["pods"]}
URLS: dict[str, Any] = {"verbs": ["get"], "non_resource_urls": ["/version"]}


@pytest.fixture(scope="module")
def defined(chain: Chain) -> World:
    world = World.create(chain)
    world.define_role("role", [])
    return world


@pytest.mark.parametrize(
    "rule",
    [
        RESOURCES | {"verbs": []},
        RESOURCES | {"verbs": [""]},
        RESOURCES | {"verbs": ["v" * 33]},
        RESOURCES | {"verbs": ["get*"]},
        RESOURCES | {"verbs": ["get"] * 33},
        RESOURCES | {"api_groups": []},
        RESOURCES | {"api_groups": ["g" * 254]},
        RESOURCES | {"api_groups": ["*.io"]},
        RESOURCES | {"api_groups": [""] * 33},
        RESOURCES | {"resources": []},
        RESOURCES | {"resources": [""]},
        RESOURCES | {"resources": ["r" * 64]},
        RESOURCES | {"resources": ["pods/*"]},
        RESOURCES | {"resources": ["*/*"]},
        RESOURCES | {"resources": ["pods/"]},
        RESOURCES | {"resources": ["/log"]},
        RESOURCES | {"resources": ["pods/log/x"]},
        RESOURCES | {"resources": ["pod*"]},
        RESOURCES | {"resources": ["pods"] * 33},
        RESOURCES | {"namespaces": [""]},
        RESOURCES | {"namespaces": ["Default"]},
        RESOURCES | {"namespaces": ["a" * 64]},
        RESOURCES | {"namespaces": ["default"] * 33},
        RESOURCES | {"resource_names": [""]},
        RESOURCES | {"resource_names": ["a/b"]},
        RESOURCES | {"resource_names": ["n" * 254]},
        RESOURCES | {"resource_names": ["n"] * 33},
        URLS | {"non_resource_urls": [""]},
        URLS | {"non_resource_urls": ["version"]},
        URLS | {"non_resource_urls": ["/a*/b"]},
        URLS | {"non_resource_urls": ["/" + "u" * 253]},
        URLS | {"non_resource_urls": ["/version"] * 33},
        URLS | {"namespaces": ["default"]},
        URLS | {"resource_names": ["x"]},
        RESOURCES | URLS,
        URLS | {"api_groups": [""]},
    ],
    ids=repr,
)
def test_a_rule_that_kubernetes_would_not_understand_is_refused(defined: World, rule: dict[str, Any]) -> None:
    refused = defined.refuses_administration(administering(calls.add_rule, role="role", **rule))
    assert refused == "EInvalidRule"


def test_the_longest_rules_are_accepted(defined: World) -> None:
    longest: dict[str, Any] = {
        "verbs": ["v" * 32] * 32,
        "api_groups": ["g" * 253],
        "resources": ["r" * 63 + "/" + "s" * 63, "*/" + "s" * 63, "*"],
        "namespaces": [DNS, "*"],
        "resource_names": ["n" * 253],
    }
    defined.define_role(
        "longest", [longest, URLS | {"non_resource_urls": ["/" + "u" * 252], "namespaces": ["*"]}]
    )


def test_a_role_has_at_most_32_rules(chain: Chain, defined: World) -> None:
    defined.define_role("many", [RESOURCES] * 32)
    assert (
        defined.refuses_administration(administering(calls.add_rule, role="many", **RESOURCES))
        == "ETooManyRules"
    )
