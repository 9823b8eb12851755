"""The rules of the module ``cluster``."""

from __future__ import annotations

from k3s_daas.contract.objects import ClusterState
from k3s_daas.rbac import Rule as RbacRule
from tests.fuzz import shapes
from tests.fuzz.model import VERSION, Asked, Rule, broken

MAX_ROLES = MAX_RULES = 32
MAX_MEMBERS = 16
MAX_CAPABILITIES = 32
_LISTS = ("verbs", "api_groups", "resources", "namespaces", "resource_names", "non_resource_urls")


def cluster_of(asked: Asked) -> ClusterState:
    return asked.view.cluster(asked["cluster"])


def by_administrator(asked: Asked) -> set[str]:
    """The cluster is of this version, and the capability is its own."""
    cluster = cluster_of(asked)
    named = asked.view.capability(asked["cap"]).cluster
    return broken(
        EUnsupportedVersion=cluster.version != VERSION, ENotClusterCapability=named != cluster.ref.id
    )


def by_duty(asked: Asked) -> set[str]:
    """Besides, the capability was not revoked."""
    live = asked["cap"] in cluster_of(asked).capabilities
    return by_administrator(asked) | broken(ECapabilityRevoked=not live)


def _new_policy(asked: Asked) -> set[str]:
    return _policy(list(asked.values.values()))


def _policy(values: list[int]) -> set[str]:
    return broken(EInvalidPolicy=not shapes.is_policy(values))


def _create(asked: Asked) -> set[str]:
    named = shapes.is_name(asked["name"]) and shapes.is_name(asked["listener_namespace"])
    return _policy(asked["policy"]) | broken(EInvalidName=not named)


def _issue(asked: Asked) -> set[str]:
    many = len(cluster_of(asked).capabilities) >= MAX_CAPABILITIES
    return by_administrator(asked) | broken(ETooManyCapabilities=many)


def _revoke_capability(asked: Asked) -> set[str]:
    known = asked["capability"] in cluster_of(asked).capabilities
    return by_administrator(asked) | broken(EUnknownCapability=not known)


def _set_policy(asked: Asked) -> set[str]:
    return by_administrator(asked) | _policy(asked["policy"])


def _migrate(asked: Asked) -> set[str]:
    return broken(EAlreadyMigrated=cluster_of(asked).version >= VERSION) | (
        by_administrator(asked) - {"EUnsupportedVersion"}
    )


def _add_gateway(asked: Asked) -> set[str]:
    gateways = cluster_of(asked).gateways
    return by_duty(asked) | broken(
        EAlreadyRegistered=asked["gateway"] in gateways, ETooManyMembers=len(gateways) >= MAX_MEMBERS
    )


def _remove_gateway(asked: Asked) -> set[str]:
    return by_duty(asked) | broken(EUnknownGateway=asked["gateway"] not in cluster_of(asked).gateways)


def _add_executor(asked: Asked) -> set[str]:
    executors = cluster_of(asked).executors
    return by_duty(asked) | broken(
        EAlreadyRegistered=asked["executor"] in executors, ETooManyMembers=len(executors) >= MAX_MEMBERS
    )


def _remove_executor(asked: Asked) -> set[str]:
    return by_duty(asked) | broken(EUnknownExecutor=asked["executor"] not in cluster_of(asked).executors)


def _define_role(asked: Asked) -> set[str]:
    roles = cluster_of(asked).roles
    many = asked["name"] not in roles and len(roles) >= MAX_ROLES
    return by_duty(asked) | broken(
        EInvalidName=not shapes.is_name(asked["name"]),
        EInvalidPriority=asked["priority"] > 9,
        ETooManyRoles=many,
    )


def _add_rule(asked: Asked) -> set[str]:
    role = cluster_of(asked).roles.get(asked["role"])
    rule = RbacRule(*(tuple(asked[name]) for name in _LISTS))
    return by_duty(asked) | broken(
        EUnknownRole=role is None,
        ETooManyRules=role is not None and len(role.rules) >= MAX_RULES,
        EInvalidRule=not shapes.is_rule(rule),
    )


def _remove_role(asked: Asked) -> set[str]:
    return by_duty(asked) | broken(EUnknownRole=asked["name"] not in cluster_of(asked).roles)


def _grant(asked: Asked) -> set[str]:
    return by_duty(asked) | broken(EUnknownRole=asked["role"] not in cluster_of(asked).roles)


def _remove_grant(asked: Asked) -> set[str]:
    expiry = asked.view.grant_expiry(cluster_of(asked), asked["holder"], asked["role"])
    return by_duty(asked) | broken(EUnknownGrant=expiry is None)


def _announce_key(asked: Asked) -> set[str]:
    cluster = cluster_of(asked)
    executor = cluster.executors.get(asked.sender)
    present = 0 if executor is None else executor.generation
    return broken(
        EUnsupportedVersion=cluster.version != VERSION,
        EUnknownExecutor=executor is None,
        EInvalidHpkeKey=len(asked["hpke_key"]) != shapes.HPKE_KEY_BYTES,
        EWrongGeneration=asked["generation"] != present + 1,
        EInvalidKeySignature=not 1 <= len(asked["signature"]) <= 200,
    )


RULES: dict[str, Rule] = {
    "cluster::new_policy": _new_policy,
    "cluster::create": _create,
    "cluster::issue_pause_cap": _issue,
    "cluster::issue_member_cap": _issue,
    "cluster::issue_access_cap": _issue,
    "cluster::revoke_capability": _revoke_capability,
    "cluster::set_policy": _set_policy,
    "cluster::resume": by_administrator,
    "cluster::migrate": _migrate,
    "cluster::pause": by_duty,
    "cluster::add_gateway": _add_gateway,
    "cluster::remove_gateway": _remove_gateway,
    "cluster::add_executor": _add_executor,
    "cluster::remove_executor": _remove_executor,
    "cluster::define_role": _define_role,
    "cluster::add_rule": _add_rule,
    "cluster::remove_role": _remove_role,
    "cluster::grant": _grant,
    "cluster::remove_grant": _remove_grant,
    "cluster::announce_key": _announce_key,
}
