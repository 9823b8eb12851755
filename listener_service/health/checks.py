"""The two questions of a kubelet, each a list of named checks.

*Live* means that starting anew would not help. So nothing outside counts: an API server or a chain that is
away makes a replica not ready, and killing it would only make it forget what it knows.

*Ready* means for the leader that commands are run in time, and for a standby that it could take over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from listener_service.vitals import Phase, Vitals

# Looked at twice a lease or more; each look ends within its deadlines.
_LEADERSHIP_STANDS_STILL_S = 60.0
# As the holder itself counts (leadership.py): then it starts nothing more.
_API_SERVER_AWAY = 2 / 3


@dataclass(frozen=True, slots=True)
class Check:
    """`failure` is None, or says what is wrong in a few plain words."""

    name: str
    failure: str | None = None

    @property
    def passed(self) -> bool:
        return self.failure is None


def live(vitals: Vitals) -> list[Check]:
    """That this is answered shows that the event loop turns; the rest is about who works on it."""
    return [Check("event-loop"), Check("leadership", _leadership(vitals))]


def ready(vitals: Vitals) -> list[Check]:
    """All must pass."""
    return [
        Check("running", _running(vitals)),
        Check("api-server", _api_server(vitals)),
        Check("chain", _chain(vitals)),
        Check("keys", _keys(vitals)),
        Check("stream", _stream(vitals)),
    ]


def report(checks: Sequence[Check]) -> str:
    """One line for each check, as kube-apiserver writes them."""
    lines = [
        f"[+]{check.name} ok" if check.passed else f"[-]{check.name} failed: {check.failure}"
        for check in checks
    ]
    return "\n".join(lines) + "\n"


def _leadership(vitals: Vitals) -> str | None:
    ago_s = vitals.lead_calls.tried_ago_s()
    # Who was told to end looks no more, and may be finishing for minutes what it claimed.
    if vitals.is_draining or ago_s is None or ago_s <= 2 * vitals.lease_s + _LEADERSHIP_STANDS_STILL_S:
        return None
    return f"nobody has looked at the leader Lease for {ago_s:.0f} s"


def _running(vitals: Vitals) -> str | None:
    match vitals.phase:
        case Phase.STARTING:
            return "it is starting"
        case Phase.TAKING_OVER:
            return "it takes over: keys are opened, and what came meanwhile is read"
        case Phase.DRAINING:
            return "it was told to end"
        case Phase.STANDBY | Phase.LEADING:
            return None


def _api_server(vitals: Vitals) -> str | None:
    ago_s = vitals.lead_calls.answered_ago_s()
    if ago_s is None:
        return "it has not answered yet"
    if ago_s > vitals.lease_s * _API_SERVER_AWAY:
        return f"it has not answered for {ago_s:.0f} s"
    return None


def _chain(vitals: Vitals) -> str | None:
    ago_s = vitals.chain.age_s()
    if ago_s is None:
        return "no endpoint has answered yet"
    if ago_s > vitals.lag_limit_s:
        return f"too few endpoints have answered for {ago_s:.0f} s"
    return None


def _keys(vitals: Vitals) -> str | None:
    if vitals.phase is Phase.STANDBY:
        return vitals.standby_keys()
    if vitals.phase is not Phase.LEADING or vitals.keys().generation is not None:
        return None
    return "the sealing key in force is not open"


def _stream(vitals: Vitals) -> str | None:
    if vitals.phase is not Phase.LEADING or vitals.service is None:
        return None
    lag_s = vitals.chain.lag_s(vitals.service.covered)
    if lag_s > vitals.lag_limit_s:
        return f"events are {lag_s:.0f} s behind the chain, DAAS_READY_LAG_SECONDS is {vitals.lag_limit_s}"
    return None
