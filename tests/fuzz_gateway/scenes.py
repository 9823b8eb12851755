"""Sequences of requests while things go wrong: equal ones at once and again; chain, seal, API server away.

A scene is data, made by Hypothesis. Each step sends one of a few requests, as kubectl does: what is refused
with 503 and Retry-After is sent again, up to ten times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.fuzz_gateway.vocabulary import CANARY

Headers = tuple[tuple[str, str], ...]
_SESSION: Headers = (("Kubectl-Session", "5b6e"),)
_PODS = "/api/v1/namespaces/default/pods"


@dataclass(frozen=True)
class Asked:
    """One request; its token is fresh each time."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""

    @property
    def changes(self) -> bool:
        """Something in the cluster."""
        return self.method not in ("GET", "HEAD")

    @property
    def is_watch(self) -> bool:
        """Its window may end before there is anything to say."""
        return "watch=true" in self.target

    @property
    def may_be_parked(self) -> bool:
        """Who sends it again means the same command."""
        return not self.changes or any(name == "Kubectl-Session" for name, _ in self.headers)


REQUESTS = (
    Asked("GET", f"{_PODS}?limit=5"),
    Asked("GET", f"{_PODS}?watch=true&timeoutSeconds=1", _SESSION),
    Asked("POST", _PODS, _SESSION, b'{"kind":"Pod"}'),
    Asked("POST", _PODS, _SESSION, b'{"kind":"Pod","metadata":{}}'),
    Asked("POST", _PODS, (("Kubectl-Session", "other"),), b'{"kind":"Pod"}'),
    Asked("POST", _PODS, (), b'{"kind":"Pod"}'),
    Asked("DELETE", f"{_PODS}/web", _SESSION, CANARY.encode()),
    Asked("PATCH", f"{_PODS}/web?dryRun=All", _SESSION, b"[]"),
    Asked("GET", "/apis"),
)
CHAIN = ("well", "lost", "executed and lost", "lost once", "refused", "refused once", "cancelled", "away")
"""What becomes of the gateway's transactions in a step, or of everything that it asks (`away`)."""
SEAL = ("good", "revoked", "without stake", "without sessions")
"""How the seal is from the step's beginning; the gateway may still believe something else."""
API_SERVER = ("well", "500", "503", "429", "slow", "cut")


@dataclass(frozen=True)
class Step:
    """`times` equal requests at once, and how things are meanwhile."""

    asked: Asked
    times: int = 1
    retries: bool = True
    chain: str = "well"
    seal: str = "good"
    api_server: str = "well"


Scene = tuple[Step, ...]


def known_scenes() -> Iterator[Scene]:
    """Every fault once, for a mutation that may be parked, and a good repetition after it."""
    good = Step(REQUESTS[2])
    for chain in CHAIN:
        yield Step(REQUESTS[2], chain=chain), good
    for seal in SEAL:
        yield good, Step(REQUESTS[2], seal=seal), good
    for api_server in API_SERVER:
        yield Step(REQUESTS[2], api_server=api_server), good
    # Parked, and nobody comes back for it in time: then the seal is gone.
    yield Step(REQUESTS[2], retries=False, api_server="slow"), Step(REQUESTS[2], seal="revoked"), good
    yield Step(REQUESTS[2], retries=False, chain="lost"), Step(REQUESTS[2], seal="revoked"), good
    yield Step(REQUESTS[2], retries=False, api_server="slow"), Step(REQUESTS[3]), Step(REQUESTS[4]), good
    for asked in REQUESTS:
        yield Step(asked, times=3), Step(asked, times=2, retries=False)


_steps = st.builds(
    Step,
    asked=st.sampled_from(REQUESTS),
    times=st.sampled_from((1, 1, 2, 3)),
    retries=st.booleans(),
    chain=st.sampled_from((*["well"] * 8, *CHAIN)),
    seal=st.sampled_from((*["good"] * 8, *SEAL)),
    # Slowness is real time.
    api_server=st.sampled_from((*["well"] * 14, *API_SERVER)),
)
scenes = st.lists(_steps, min_size=2, max_size=5).map(tuple)
