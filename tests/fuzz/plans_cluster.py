"""Plans for the module ``cluster``, beyond what every holder of a capability does."""

from __future__ import annotations

from typing import Any

from tests.fuzz.planner import LISTENER_NAMESPACE, OLD, POLICY, ROLES, Plan, Planner
from tests.fuzz.shapes import HPKE_KEY_BYTES
from tests.fuzz.values import PolicyCall, encode

_RULES: tuple[dict[str, list[str]], ...] = (
    {"verbs": ["*"], "api_groups": ["*"], "resources": ["*"]},
    {"verbs": ["get"], "non_resource_urls": ["/openapi/*", "/version"]},
    {"verbs": ["get", "list"], "api_groups": [""], "resources": ["pods", "pods/log"], "namespaces": ["shop"]},
    {"verbs": ["create"], "api_groups": ["authorization.k8s.io"], "resources": ["*"]},
)


def _new_policy(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    return planner.anybody(), dict(POLICY)


def _policy(planner: Planner) -> PolicyCall:
    """One in five differs in something."""
    values = dict(POLICY)
    if planner.rng.random() < 0.2:
        name = planner.rng.choice(list(values))
        values[name] = max(1, int(values[name] * planner.rng.choice((0.5, 0.9, 1.1, 2))))
    return PolicyCall(tuple(encode("u64", value) for value in values.values()))


def _create(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    values = {"name": "prod", "listener_namespace": LISTENER_NAMESPACE, "policy": _policy(planner)}
    return planner.anybody(), values


def _revoke_capability(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = planner.administer("cluster::revoke_capability")
    live = sorted(planner.stage.view.cluster(values["cluster"]).capabilities)
    return sender, values | {"capability": planner.one_of(live)}


def _set_policy(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = planner.administer("cluster::set_policy")
    return sender, values | {"policy": _policy(planner)}


def _migrate(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    cluster = planner.known.clusters[OLD]
    values = {"cluster": cluster, "cap": planner.capability("ClusterCap", cluster)}
    return planner.admin.address, values


def _define_role(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = planner.administer("cluster::define_role")
    terms = {"priority": planner.rng.randint(0, 9), "stake": planner.rng.choice((0, 0, 1_500))}
    name = planner.rng.choice((ROLES[0], *ROLES))
    return sender, values | terms | {"name": name, "open": planner.rng.random() < 0.5}


def _add_rule(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = planner.administer("cluster::add_rule")
    return sender, values | planner.rng.choice(_RULES)


def _announce_key(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    executors = planner.stage.view.cluster(planner.cluster).executors
    sender = planner.one_of(sorted(executors))
    generation = executors[sender].generation if sender in executors else 0
    return sender, {
        "hpke_key": bytes(HPKE_KEY_BYTES),
        "generation": generation + 1,
        "signature": b"nobody on the chain checks it",
    }


PLANS: dict[str, Plan] = {
    "new_policy": _new_policy,
    "create": _create,
    "revoke_capability": _revoke_capability,
    "set_policy": _set_policy,
    "migrate": _migrate,
    "define_role": _define_role,
    "add_rule": _add_rule,
    "announce_key": _announce_key,
}
