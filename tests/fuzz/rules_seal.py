"""The rules of the module ``seal``."""

from __future__ import annotations

from k3s_daas.contract.objects import ClusterState, SealState
from tests.fuzz import shapes
from tests.fuzz.model import VERSION, Asked, Rule, broken
from tests.fuzz.rules_cluster import by_administrator, by_duty, cluster_of

MAX_SESSIONS = 8
MAX_NAMESPACES = 8
MAX_REASON_BYTES = 256


def seal_of(asked: Asked) -> SealState:
    return asked.view.seal(asked["seal"])


def of_cluster(asked: Asked) -> set[str]:
    """The cluster is of this version, and the seal is one of it."""
    cluster = cluster_of(asked)
    return broken(EUnsupportedVersion=cluster.version != VERSION, EWrongCluster=_is_foreign(asked))


def granted(asked: Asked, cluster: ClusterState, holder: bytes, role: str) -> set[str]:
    """The role exists, and is open or granted to the holder until after now."""
    known = cluster.roles.get(role)
    if known is None:
        return {"EUnknownRole"}
    if known.open:
        return set()
    expiry = asked.view.grant_expiry(cluster, holder, role)
    return broken(ENotGranted=expiry is None, EGrantExpired=expiry is not None and asked.now_ms >= expiry)


def live(asked: Asked) -> set[str]:
    seal = seal_of(asked)
    return broken(ESealRevoked=seal.revoked, ESealExpired=asked.now_ms >= seal.expires_at_ms)


def _is_foreign(asked: Asked) -> bool:
    return bool(seal_of(asked).cluster != asked["cluster"])


def _owned(asked: Asked) -> set[str]:
    return broken(ENotOwner=seal_of(asked).owner != asked.sender)


def _stake(asked: Asked) -> set[str]:
    cluster = cluster_of(asked)
    latest = asked.now_ms + cluster.policy.max_seal_ms
    return granted(asked, cluster, asked.sender, asked["role"]) | broken(
        EUnsupportedVersion=cluster.version != VERSION,
        EInvalidExpiry=not asked.now_ms < asked["expires_at_ms"] <= latest,
        EZeroStake=asked["payment"] == 0,
    )


def _add_stake(asked: Asked) -> set[str]:
    return _owned(asked) | broken(ESealRevoked=seal_of(asked).revoked, EZeroStake=asked["payment"] == 0)


def _start_unstaking(asked: Asked) -> set[str]:
    seal = seal_of(asked)
    return _owned(asked) | broken(
        EZeroStake=asked["amount"] == 0,
        EUnstakeTooMuch=asked["amount"] > seal.stake,
        EAlreadyUnstaking=seal.unbonding > 0,
    )


def _withdraw(asked: Asked) -> set[str]:
    seal = seal_of(asked)
    return _owned(asked) | broken(
        ENothingToWithdraw=seal.unbonding == 0, EStillUnbonding=asked.now_ms < seal.withdrawable_at_ms
    )


def _transfer_ownership(asked: Asked) -> set[str]:
    may_own = granted(asked, cluster_of(asked), asked["new_owner"], seal_of(asked).role)
    return of_cluster(asked) | _owned(asked) | live(asked) | may_own


def _reason(asked: Asked) -> set[str]:
    return broken(EInvalidReason=not 1 <= len(asked["reason"].encode()) <= MAX_REASON_BYTES)


def _revoke(asked: Asked) -> set[str]:
    seal = seal_of(asked)
    return by_duty(asked) | of_cluster(asked) | _reason(asked) | broken(ESealRevoked=seal.revoked)


def _slash(asked: Asked) -> set[str]:
    seal = seal_of(asked)
    amount = asked["amount"]
    share = seal.staked_total * seal.max_slash_bps // 10_000
    too_much = amount > seal.stake + seal.unbonding or seal.slashed + amount > share
    return (
        by_administrator(asked)
        | of_cluster(asked)
        | _reason(asked)
        | broken(EZeroStake=amount == 0, ESlashTooMuch=too_much)
    )


def _open_session(asked: Asked) -> set[str]:
    seal = seal_of(asked)
    others = [
        key
        for key, session in seal.sessions.items()
        if session.expires_at_ms > asked.now_ms and key != asked["session_key"]
    ]
    namespaces = asked["namespaces"]
    scoped = len(namespaces) <= MAX_NAMESPACES and all(map(shapes.is_name, namespaces))
    return (
        of_cluster(asked)
        | _owned(asked)
        | live(asked)
        | broken(
            EInvalidSessionKey=not shapes.is_session_key(asked["session_key"]),
            EInvalidExpiry=not asked.now_ms < asked["expires_at_ms"] <= seal.expires_at_ms,
            EInvalidScope=not scoped,
            ETooManySessions=len(others) >= MAX_SESSIONS,
        )
    )


def _close_session(asked: Asked) -> set[str]:
    return _owned(asked) | broken(EUnknownSession=asked["session_key"] not in seal_of(asked).sessions)


RULES: dict[str, Rule] = {
    "seal::stake": _stake,
    "seal::add_stake": _add_stake,
    "seal::start_unstaking": _start_unstaking,
    "seal::withdraw": _withdraw,
    "seal::transfer_ownership": _transfer_ownership,
    "seal::revoke": _revoke,
    "seal::slash": _slash,
    "seal::open_session": _open_session,
    "seal::close_session": _close_session,
    "seal::close_all_sessions": _owned,
}
