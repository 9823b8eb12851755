"""Plans for the module ``seal``."""

from __future__ import annotations

from typing import Any

from tests.fuzz.planner import NAMESPACES, ROLES, Plan, Planner
from tests.fuzz.shapes import DAY_MS


def of_seal(planner: Planner, **values: Any) -> tuple[bytes, dict[str, Any]]:
    """Something that the owner does with a seal, of its cluster."""
    seal = planner.rng.choice(planner.pool())
    state = planner.stage.view.seal(seal)
    return state.owner, {"seal": seal, "cluster": state.cluster, **values}


def _stake(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    return planner.holder(), {
        "role": planner.rng.choice((ROLES[0], ROLES[0], ROLES[1])),
        "payment": planner.rng.choice((2_000, 1_000, 5)),
        "expires_at_ms": planner.stage.view.now_ms + planner.rng.choice((DAY_MS, 30 * DAY_MS)),
    }


def _add_stake(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    return of_seal(planner, payment=planner.rng.randint(1, 2_000))


def _start_unstaking(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = of_seal(planner)
    staked = planner.stage.view.seal(values["seal"]).stake
    return sender, values | {"amount": planner.rng.choice((staked, 1, max(1, staked // 2)))}


def _withdraw(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    """From a seal with something that is unbonding, if there is one."""
    view = planner.stage.view
    unbonding = [seal for seal in planner.known.seals[-20:] if view.seal(seal).unbonding]
    seal = planner.rng.choice(unbonding or planner.pool())
    return view.seal(seal).owner, {"seal": seal}


def _transfer_ownership(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    return of_seal(planner, new_owner=planner.holder())


def _with_cap(planner: Planner, kind: str, **values: Any) -> tuple[bytes, dict[str, Any]]:
    _, named = of_seal(planner, **values)
    cap = planner.capability(kind, named["cluster"])
    return planner.stage.view.capability(cap).owner, named | {"cap": cap}


def _revoke(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    return _with_cap(planner, "AccessCap", reason="spam")


def _slash(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    return _with_cap(planner, "ClusterCap", reason="spam", amount=planner.rng.choice((1, 10, 100, 1_000)))


def _open_session(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = of_seal(planner)
    ends_ms = planner.stage.view.seal(values["seal"]).expires_at_ms
    return sender, values | {
        "session_key": planner.new_session_key(),
        "expires_at_ms": min(ends_ms, planner.stage.view.now_ms + planner.rng.choice((600_000, DAY_MS))),
        "read_only": planner.rng.random() < 0.2,
        "namespaces": planner.rng.choice(((), (), NAMESPACES, NAMESPACES[:1])),
    }


def _close_session(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    sender, values = of_seal(planner)
    sessions = sorted(planner.stage.view.seal(values["seal"]).sessions)
    return sender, values | {"session_key": planner.one_of(sessions)}


PLANS: dict[str, Plan] = {
    "stake": _stake,
    "add_stake": _add_stake,
    "start_unstaking": _start_unstaking,
    "withdraw": _withdraw,
    "transfer_ownership": _transfer_ownership,
    "revoke": _revoke,
    "slash": _slash,
    "open_session": _open_session,
    "close_session": _close_session,
    "close_all_sessions": of_seal,
}
