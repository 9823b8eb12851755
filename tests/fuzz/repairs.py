"""What makes a cluster usable for commands, at the beginning and again after calls that broke something.

Without it most calls would soon end at the first rule: the cluster paused, its role gone, its seals expired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from k3s_daas.contract.objects import ClusterState, SealState
from tests.fuzz.model import VERSION, Call
from tests.fuzz.planner import NAMESPACES, OLD, POLICY, ROLES, Planner, good_policy
from tests.fuzz.shapes import DAY_MS

DUTIES = ("pause", "member", "access")
_ENOUGH_SEALS = 3
_MANY_CAPABILITIES = 26
_MANY_RULES = 20
_RESUMING, _OPENING = 0.3, 0.06
"""Not at once, so that commands meet a paused cluster, and a role that asks for grants."""
_OTHER_VERSIONS = {OLD: VERSION - 1, 3: VERSION + 1}
"""Which of the first clusters is of which version that this package does not serve."""
_EVERYTHING = {"verbs": ["*"], "api_groups": ["*"], "resources": ["*"], "non_resource_urls": []}
_DISCOVERY = {"verbs": ["get"], "api_groups": [], "resources": [], "non_resource_urls": ["/openapi/*"]}


def setting(planner: Planner) -> Iterator[Call]:
    """Four clusters, two of them with a role and a seal, the others of other versions."""
    for _ in range(4):
        yield planner.plan("cluster::create", policy=good_policy(), sender=planner.admin.address)
    clusters = planner.known.clusters[:4]
    for cluster in clusters:
        for duty in DUTIES:
            yield _by_cap(planner, f"cluster::issue_{duty}_cap", "ClusterCap", cluster)
    age(planner)
    for cluster in clusters[:2]:
        for role in ROLES[:2]:
            yield _define_role(planner, cluster, role)
        yield _by_cap(planner, "cluster::add_rule", "AccessCap", cluster, role=ROLES[0], **_EVERYTHING)
        yield planner.plan("seal::stake", cluster=cluster, role=ROLES[0])
        yield planner.plan("seal::open_session")


def age(planner: Planner) -> None:
    """Let two of the clusters be of other versions, as no transaction could."""
    for index, version in _OTHER_VERSIONS.items():
        stored = planner.stage.view.find(planner.known.clusters[index])
        assert stored is not None
        # The version stands behind the id.
        changed = stored.contents[:32] + version.to_bytes(8, "little") + stored.contents[40:]
        planner.stage.ledger.rewrite_object(stored.id, changed)


def repair(planner: Planner) -> Call | None:
    """A call that brings the main cluster nearer to being usable, if something is in the way."""
    for look in (_capabilities, _state, _members, _role, _seals):
        call = look(planner, planner.stage.view.cluster(planner.cluster))
        if call is not None:
            return call
    return None


def _by_cap(planner: Planner, path: str, kind: str, cluster: bytes, **values: Any) -> Call:
    cap = planner.capability(kind, cluster)
    return planner.plan(path, cluster=cluster, cap=cap, sender=planner.admin.address, **values)


def _define_role(planner: Planner, cluster: bytes, role: str) -> Call:
    terms = {"name": role, "open": True, "stake": 0}
    return _by_cap(planner, "cluster::define_role", "AccessCap", cluster, **terms)


def _capabilities(planner: Planner, state: ClusterState) -> Call | None:
    if len(state.capabilities) >= _MANY_CAPABILITIES and planner.rng.random() < 0.8:
        one = planner.rng.choice(sorted(state.capabilities))
        return _by_cap(planner, "cluster::revoke_capability", "ClusterCap", planner.cluster, capability=one)
    view = planner.stage.view
    live = {view.capability(cap).kind for cap in planner.known.capabilities if cap in state.capabilities}
    for duty in DUTIES:
        if f"{duty.title()}Cap" not in live:
            return _by_cap(planner, f"cluster::issue_{duty}_cap", "ClusterCap", planner.cluster)
    return None


def _state(planner: Planner, state: ClusterState) -> Call | None:
    if state.paused and planner.rng.random() < _RESUMING:
        return _by_cap(planner, "cluster::resume", "ClusterCap", planner.cluster)
    changed = any(getattr(state.policy, name) != value for name, value in POLICY.items())
    if changed and planner.rng.random() < 0.3:
        return _by_cap(planner, "cluster::set_policy", "ClusterCap", planner.cluster, policy=good_policy())
    return None


def _members(planner: Planner, state: ClusterState) -> Call | None:
    gateway, executor = planner.gateway.address, planner.executor.address
    if gateway not in state.gateways:
        return _by_cap(planner, "cluster::add_gateway", "MemberCap", planner.cluster, gateway=gateway)
    if executor not in state.executors:
        return _by_cap(planner, "cluster::add_executor", "MemberCap", planner.cluster, executor=executor)
    if state.executors[executor].generation == 0:
        return planner.plan("cluster::announce_key", sender=executor, generation=1)
    return None


def _role(planner: Planner, state: ClusterState) -> Call | None:
    role = state.roles.get(ROLES[0])
    if role is None or len(role.rules) > _MANY_RULES:
        return _define_role(planner, planner.cluster, ROLES[0])
    if not role.open and planner.rng.random() < _OPENING:
        return _define_role(planner, planner.cluster, ROLES[0])
    if len(role.rules) < 2:
        rule = _DISCOVERY if role.rules else _EVERYTHING
        return _by_cap(planner, "cluster::add_rule", "AccessCap", planner.cluster, role=ROLES[0], **rule)
    return None


def _seals(planner: Planner, state: ClusterState) -> Call | None:
    view = planner.stage.view
    good = [seal for seal in planner.pool() if _is_good(planner, state, view.seal(seal))]
    if len(good) < _ENOUGH_SEALS:
        ends_ms = view.now_ms + 20 * DAY_MS
        return planner.plan("seal::stake", role=ROLES[0], payment=2_000, expires_at_ms=ends_ms)
    for seal in good:
        sessions = view.seal(seal).sessions.values()
        if not any(session.expires_at_ms > view.now_ms + 1_000 for session in sessions):
            named = {"seal": seal, "cluster": planner.cluster, "sender": view.seal(seal).owner}
            ends_ms = min(view.seal(seal).expires_at_ms, view.now_ms + DAY_MS)
            scope = planner.rng.choice(((), NAMESPACES))
            return planner.plan("seal::open_session", **named, expires_at_ms=ends_ms, namespaces=scope)
    return None


def _is_good(planner: Planner, state: ClusterState, seal: SealState) -> bool:
    """It can command for ten minutes more, writes included."""
    return (
        seal.cluster == state.ref.id
        and seal.role == ROLES[0]
        and not seal.revoked
        and seal.expires_at_ms > planner.stage.view.now_ms + 600_000
        and seal.stake >= POLICY["min_write_stake"]
        and planner.is_account(seal.owner)
    )
