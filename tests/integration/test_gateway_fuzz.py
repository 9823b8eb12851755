"""Whatever a client sends: he gets a Status or the API server's reply, and nothing unlisted goes further."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from infra.local.gateway.messages import HttpReply
from tests.fuzz_gateway.campaign import Campaign, campaign
from tests.fuzz_gateway.hostile import Hostile
from tests.fuzz_gateway.invariants import BrokenError, Seen, check
from tests.fuzz_gateway.play import Stage, stage
from tests.fuzz_gateway.scenes import REQUESTS, Step
from tests.fuzz_gateway.tokens import TokenSpec
from tests.fuzz_gateway.vocabulary import CANARY
from tests.instant.api_server import WireReply

HOSTILE_REQUESTS = 1_000
SCENES = 8
SEED = int(os.environ.get("FUZZ_SEED", "20261"))
"""Always the same requests in a test run; `make fuzz` makes others each time."""
MET = {"served", "400", "401", "403", "404", "405", "501", "502"}

LIST = Hostile("GET", "/api/v1/namespaces/default/pods", "limit=5", (), b"", TokenSpec("full"))
STRANGER = replace(LIST, token=TokenSpec("stranger"))


@pytest.fixture(scope="module")
def running() -> Iterator[Campaign]:
    with campaign(SEED) as made:
        yield made


@pytest.mark.timeout(600)
def test_every_invariant_holds_for_hostile_requests(running: Campaign) -> None:
    report = running.run(HOSTILE_REQUESTS)
    assert report.requests == report.endings.total() == HOSTILE_REQUESTS
    assert report.endings.keys() >= MET, "\n".join(report.lines())
    assert report.endings["served"] > HOSTILE_REQUESTS // 5, "most requests end before they get anywhere"


@pytest.fixture(scope="module")
def playing() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.mark.timeout(300)
def test_every_invariant_holds_while_chain_seal_and_api_server_fail(playing: Stage) -> None:
    playing.run(SCENES, SEED)
    met = playing.endings.keys()
    assert met >= {"answered 200", "answered 503", "401", "403", "502", "503"}, "\n".join(playing.lines())


@pytest.mark.parametrize(
    ("forged", "step", "what"),
    [
        (("_sealed", lambda good, *_: good), Step(REQUESTS[5], seal="revoked"), "run with a seal revoked"),
        (("_answer", lambda *_: WireReply()), Step(REQUESTS[5]), "another's reply"),
        (("_REFUSALS", {}), Step(REQUESTS[5], chain="refused"), "502 for BadGateway"),
    ],
)
def test_what_must_not_be_in_a_scene_is_noticed(
    playing: Stage, monkeypatch: pytest.MonkeyPatch, forged: tuple[str, object], step: Step, what: str
) -> None:
    monkeypatch.setattr(f"tests.fuzz_gateway.play.{forged[0]}", forged[1])
    with pytest.raises(BrokenError, match=what):
        playing.play((step,))


def with_reply(status: int, body: bytes, *headers: tuple[str, str]) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, received=HttpReply(status, headers, body))


def with_arrived_header(name: str, value: str) -> Callable[[Seen], Seen]:
    def forge(seen: Seen) -> Seen:
        [arrived] = seen.arrived
        return replace(seen, arrived=[replace(arrived, headers=(*arrived.headers, (name, value)))])

    return forge


def with_arrived_target(target: str) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, arrived=[replace(seen.arrived[0], target=target)])


def with_line(text: str) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, logged=[*seen.logged, text.replace("TOKEN", seen.token)])


def with_broken_rule(seen: Seen) -> Seen:
    return replace(seen, executed=[replace(seen.executed[0], broken=frozenset({"ESealRevoked"}))])


JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("request_", "forge", "what"),
    [
        (LIST, with_arrived_header("X-Remote-User", "root"), "unlisted headers"),
        (LIST, with_arrived_header("Impersonate-Group", "system:masters"), "more than once"),
        (LIST, with_arrived_header("Accept", "text/html"), "made up"),
        (LIST, with_arrived_target("/api/v1/namespaces/default/secrets?limit=5"), "not what was authorised"),
        (LIST, with_arrived_target("/api/v1/namespaces/x/../default/pods?limit=5"), "two readings"),
        (LIST, with_arrived_target("/api/v1/namespaces/default/pods"), "query is lost"),
        (LIST, with_reply(200, b"{ }", JSON), "another body"),
        (LIST, with_reply(302, b"", ("Location", "https://evil.example")), "a redirect"),
        (LIST, with_reply(200, b"{}", JSON, ("Set-Cookie", "a=b")), "not listed"),
        (LIST, with_line('{"event": "bug"}'), "a bug"),
        (LIST, with_line('{"message": "TOKEN"}'), "a token is written down"),
        (LIST, with_line(f'{{"message": "{CANARY}"}}'), "nobody should write down"),
        (LIST, with_line('{"level": "error"}'), "the listener fails"),
        (LIST, with_broken_rule, "gas for what the contract refuses"),
        (LIST, lambda seen: replace(seen, arrived=[]), "gas for what never"),
        (LIST, lambda seen: replace(seen, arrived=[*seen.arrived] * 2), "once"),
        (STRANGER, with_reply(401, b'{"Code":"Unauthorized"}', JSON), "no Status"),
        (STRANGER, with_reply(401, b"Unauthorized", JSON), "without a Status"),
        (STRANGER, with_reply(500, b"{}", JSON), "no code for this"),
        (STRANGER, with_reply(200, b"{}", JSON), "no code for this"),
        (STRANGER, lambda seen: replace(seen, received=replace(seen.received, headers=())), "type"),
    ],
)
def test_what_must_not_be_is_noticed(
    running: Campaign, request_: Hostile, forge: Callable[[Seen], Seen], what: str
) -> None:
    seen = running.exchange(request_)
    check(seen)
    with pytest.raises(BrokenError, match=what):
        check(forge(seen))
