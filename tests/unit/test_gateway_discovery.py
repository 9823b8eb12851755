"""Discovery through the front door: what spares the chain, and what no cache gives away."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from chalicelib.discovery_replies import normalised_accept
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.gateway.messages import HttpReply
from k3s_daas.contract.objects import UsageState
from k3s_daas.contract.usage import DAY_MS, MINUTE_MS
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.rbac import Rule
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.contract_world import POLICY
from tests.unit.gateway_world import MakeWorld, SealTerms, World, header, now_ms, status

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
READ_PODS = (Rule(("get", "list"), ("",), ("pods",)),)


class ApiServer:
    """Numbers its answers, so that a kept one can be told from a new one."""

    def __init__(self) -> None:
        self.seen: list[RequestEnvelope] = []
        self.etag: str | None = '"e1"'
        self.code = 200

    def __call__(self, request: RequestEnvelope) -> ResponseEnvelope:
        self.seen.append(request)
        headers = [("Content-Type", "application/json;g=x"), ("Audit-Id", "a"), ("Vary", "Accept")]
        if self.etag is not None:
            headers.append(("ETag", self.etag))
            if ("If-None-Match", self.etag) in request.headers:
                return ResponseEnvelope(304, (("ETag", self.etag),), b"")
        return ResponseEnvelope(self.code, tuple(headers), b"%d" % len(self.seen))


@pytest.fixture
def world(world: World) -> World:
    world.chain.respond = ApiServer()
    return world


@pytest.fixture
def forgetful(make: MakeWorld) -> World:
    """Reads the chain's state for every request."""
    world = make(admission_ttl_ms=1)
    world.chain.respond = ApiServer()
    return world


def api(world: World) -> ApiServer:
    assert isinstance(world.chain.respond, ApiServer)
    return world.chain.respond


def cache_of(reply: HttpReply) -> str | None:
    found = [part for part in (header(reply, "Server-Timing") or "").split(", ") if part.startswith("cache")]
    return found[0].removeprefix("cache;desc=") if found else None


def last_request(world: World) -> dict[str, Any]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in world.logged]
    return [line for line in lines if line["event"] == "request"][-1]


@pytest.mark.parametrize(
    "path", ["/version", "/api", "/apis", "/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1?hash=1"]
)
def test_discovery_reaches_the_chain_once(world: World, path: str) -> None:
    first, second = world.send(path), world.send(path)
    assert (first.status, first.body) == (second.status, second.body) == (200, b"1")
    assert len(world.chain.executed) == 1
    assert (cache_of(first), cache_of(second)) == ("miss", "hit")
    assert header(second, "Content-Type") == "application/json;g=x"
    # Nothing of the request that fetched it.
    assert header(second, "X-Daas-Request-Id") is header(second, "Audit-Id") is None


def test_the_log_says_what_came_from_the_cache_and_how_full_it_is(world: World) -> None:
    world.send("/apis")
    counts = next(json.loads(line) for line in world.logged if "discovery-cache" in line)
    assert (counts["miss"], counts["entries"]) == (1, 1)
    world.send("/apis")
    line = last_request(world)
    assert line["cache"] == "hit"
    assert line["seal"]
    assert "request_digest" not in line
    assert set(line["ms"]) == {"admission", "total"}


def test_other_commands_say_nothing_of_a_cache_and_are_never_kept(world: World) -> None:
    for path in ("/api/v1/namespaces/default/pods", "/openapi/v4", "/apis/apps/v1/deployments"):
        assert [cache_of(world.send(path)) for _ in range(2)] == [None, None]
    assert "cache" not in last_request(world)
    assert len(world.chain.executed) == 6


def test_holders_share_what_all_may_read(world: World) -> None:
    world.send("/apis")
    assert cache_of(world.send("/apis", token=world.token())) == "hit"


# Nobody gets from the cache what he would not get from the chain


@pytest.mark.parametrize(
    ("terms", "cause"),
    [
        (SealTerms(revoked=True), "ESealRevoked"),
        (SealTerms(expires_in_ms=-1), "ESealExpired"),
        (SealTerms(sessions=False), "EUnknownSession"),
    ],
)
def test_a_seal_that_may_not_command_gets_no_hit(forgetful: World, terms: SealTerms, cause: str) -> None:
    assert forgetful.send("/version").status == 200
    forgetful.set_seal(terms)
    refused = forgetful.send("/version")
    assert refused.status in (401, 403)
    assert cause in refused.body.decode()
    assert cache_of(refused) is None


def test_the_role_decides_on_a_hit(forgetful: World) -> None:
    assert forgetful.send("/version").status == 200
    forgetful.set_cluster(rules=READ_PODS)
    refused = forgetful.send("/version")
    assert status(refused)["details"]["causes"][0]["reason"] == "EForbiddenByRole"


def test_a_seal_that_has_used_up_its_day_gets_no_hit(forgetful: World) -> None:
    assert forgetful.send("/version").status == 200
    minute, day = now_ms() // MINUTE_MS, now_ms() // DAY_MS
    forgetful.set_seal(SealTerms(usage=UsageState(minute, 0, day, POLICY.deposit_per_day)))
    assert status(forgetful.send("/version"))["code"] == 429


def test_a_paused_cluster_gives_no_hit(forgetful: World) -> None:
    assert forgetful.send("/version").status == 200
    forgetful.set_cluster(paused=True)
    assert "EClusterPaused" in forgetful.send("/version").body.decode()


def test_a_wrong_token_gets_no_hit(world: World) -> None:
    world.send("/version")
    stranger = world.token(key=Ed25519PrivateKey.generate())
    expired = world.token(now_ms=1_000_000)
    for token in ("", "x", stranger, expired, world.token()[:-3] + "AAA"):
        assert world.send("/version", token=token).status == 401


def test_a_header_that_chooses_an_identity_gets_no_hit(world: World) -> None:
    world.send("/version")
    assert world.send("/version", headers=[("Impersonate-User", "system:admin")]).status == 403


# What fills it


def test_what_a_caller_adds_cannot_shape_what_others_get(world: World) -> None:
    reply = world.send(
        "/apis",
        headers=[
            ("Accept", AGGREGATED),
            ("If-None-Match", '"other"'),
            ("Content-Type", "text/x"),
            ("User-Agent", "kubectl/v1.37"),
            ("Kubectl-Session", "s"),
        ],
    )
    assert (reply.status, reply.body) == (200, b"1")
    assert dict(api(world).seen[0].headers) == {
        "Accept": AGGREGATED,
        "User-Agent": "kubectl/v1.37",
        "Kubectl-Session": "s",
    }


@pytest.mark.parametrize(
    ("method", "body", "headers"),
    [
        ("HEAD", b"", ()),
        ("GET", b"{}", ()),
        ("GET", b"", (("If-Match", '"e1"'),)),
        ("POST", b"", ()),
    ],
)
def test_special_requests_neither_fill_nor_use_it(
    world: World, method: str, body: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    special = world.send("/apis", method, body, headers=headers)
    assert cache_of(special) is None
    assert cache_of(world.send("/apis")) == "miss"
    assert cache_of(world.send("/apis", method, body, headers=headers)) is None


def test_a_refusal_by_kubernetes_is_not_kept(world: World) -> None:
    api(world).code = 403
    assert world.send("/apis").status == 403
    api(world).code = 200
    assert world.send("/apis").status == 200
    assert cache_of(world.send("/apis")) == "hit"


def test_an_answer_that_was_left_behind_is_not_kept(make: MakeWorld) -> None:
    """It is as old as the request that left it, and definitions may have changed since."""
    world = make(deadlines=replace(DeadlineSettings(), gateway_wait_ms=1_500))
    world.chain.respond = None
    assert world.send("/apis").status == 503
    world.chain.respond = ApiServer()
    [parked] = world.chain.executed
    world.chain.answer(parked, transaction_digest(parked))
    first, second = world.send("/apis"), world.send("/apis")
    assert (first.body, cache_of(first), second.body, cache_of(second)) == (b"1", "miss", b"2", "miss")
    assert header(first, "X-Daas-Request-Digest") == transaction_digest(parked)


def test_each_representation_is_kept_for_itself(world: World) -> None:
    world.send("/apis", headers=[("Accept", AGGREGATED)])
    assert cache_of(world.send("/apis", headers=[("Accept", "application/json")])) == "miss"
    assert cache_of(world.send("/apis?timeout=32s", headers=[("Accept", AGGREGATED)])) == "miss"
    respelled = AGGREGATED.replace(",", " , ").replace(";", "; ").replace("application", "Application")
    assert cache_of(world.send("/apis", headers=[("Accept", respelled)])) == "hit"


def test_accept_is_normalised_and_its_order_kept() -> None:
    assert normalised_accept([]) == normalised_accept(["*/*"]) == normalised_accept([" , "]) == "*/*"
    assert normalised_accept(["A/B; Q=0.5 ,c/d"]) == normalised_accept(["a/b;q=0.5", "c/d"])
    assert normalised_accept(["a/b,c/d"]) != normalised_accept(["c/d,a/b"])
    # Values of parameters count as they are written.
    assert normalised_accept(["a/b;as=Table"]) == "a/b;as=Table"


def test_many_who_ask_at_once_cost_one_command(world: World) -> None:
    world.send("/api/v1/namespaces/default/pods")
    tokens = [world.token() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda token: world.send("/apis", token=token), tokens))
    assert {(reply.status, reply.body) for reply in replies} == {(200, replies[0].body)}
    assert len(world.chain.executed) == 2


# Conditions


@pytest.mark.parametrize("condition", ['"e1"', 'W/"e1"', '"x", "e1"'])
def test_who_has_the_document_gets_a_304_of_its_own_type(world: World, condition: str) -> None:
    for outcome in ("miss", "hit"):
        reply = world.send("/apis", headers=[("If-None-Match", condition), ("Accept", "application/json")])
        assert (reply.status, reply.body, cache_of(reply)) == (304, b"", outcome)
        # The type of the document, not API Gateway's default: kubectl's HTTP cache keeps what a 304 says.
        assert header(reply, "Content-Type") == "application/json;g=x"
        assert (header(reply, "ETag"), header(reply, "Vary")) == ('"e1"', "Accept")
    assert len(world.chain.executed) == 1


def test_who_has_another_document_gets_the_whole_one(world: World) -> None:
    world.send("/apis")
    reply = world.send("/apis", headers=[("If-None-Match", '"e0"')])
    assert (reply.status, reply.body, cache_of(reply)) == (200, b"1", "hit")


def test_without_an_etag_there_is_no_304(world: World) -> None:
    api(world).etag = None
    reply = world.send("/apis", headers=[("If-None-Match", '"e1"')])
    assert (reply.status, cache_of(reply)) == (200, "miss")
    assert world.send("/apis", headers=[("If-None-Match", '"e1"')]).status == 200


def test_an_old_document_is_confirmed_by_the_callers_command(make: MakeWorld) -> None:
    world = make(discovery_ttl_ms=1)
    world.chain.respond = server = ApiServer()
    world.send("/apis")
    reply = world.send("/apis")
    assert (reply.status, reply.body, cache_of(reply)) == (200, b"1", "revalidated")
    assert ("If-None-Match", '"e1"') in server.seen[1].headers


def test_a_304_that_nobody_asked_for_is_not_passed_on(world: World) -> None:
    world.chain.respond = lambda _: ResponseEnvelope(304, (("ETag", '"e1"'),), b"")
    reply = world.send("/apis")
    assert status(reply)["code"] == 503
    assert header(reply, "Retry-After") == "1"


# Definitions


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", CRDS), ("DELETE", f"{CRDS}/a"), ("PUT", "/apis/apiregistration.k8s.io/v1/apiservices/v1.a")],
)
def test_a_write_of_definitions_makes_all_see_anew(world: World, method: str, path: str) -> None:
    world.send("/apis")
    world.send(path, method, b"{}")
    replies = [world.send("/apis") for _ in range(2)]
    assert [(reply.body, cache_of(reply)) for reply in replies] == [(b"3", "suspended"), (b"4", "suspended")]


def test_a_write_of_definitions_that_is_refused_changes_nothing(world: World) -> None:
    world.send("/apis")
    assert world.send(CRDS, "POST", b"{}", token="x").status == 401
    assert cache_of(world.send("/apis")) == "hit"


def test_reading_definitions_changes_nothing(world: World) -> None:
    world.send("/apis")
    world.send(CRDS)
    assert cache_of(world.send("/apis")) == "hit"
