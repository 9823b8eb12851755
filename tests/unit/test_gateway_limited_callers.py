"""Limits on callers: over all functions, before anything dear is done, and never on the way of who did
nothing wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from chalicelib.errors import RequestStoreUnavailableError
from chalicelib.http_request import (
    MAX_BODY_BYTES,
    UNKNOWN_SOURCE,
    request_from_event,
    source_of,
)
from chalicelib.limits import PAUSE_S, Buckets, Limit, SharedLimit
from chalicelib.routes import create_app
from chalicelib.windows import Counted, WindowId

from infra.local.gateway.messages import HttpReply
from k3s_daas.errors import PayloadTooLargeError
from k3s_daas.sui.ledger import Abort, ExecutionOutcome
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.gateway_world import LocalAws, MakeWorld, World, header, now_ms, status

PODS = "/api/v1/namespaces/default/pods"
SESSION = (("Kubectl-Session", "5e7d2f2c-0d3b-4a8e-9d3e-0f6c2f6d7a10"),)
LOCAL = "127.0.0.1"
LONGEST_WINDOW_MS = 600_000


@pytest.fixture
def make(make: MakeWorld, aws: LocalAws) -> MakeWorld:
    """Functions of one gateway: one table, one key, and clocks that stand early in every window."""
    table = aws.new_table()
    stopped_at_ms = (now_ms() // LONGEST_WINDOW_MS + 1) * LONGEST_WINDOW_MS + 10_000

    def build(**arguments: Any) -> World:
        world = make(table=table, **arguments)
        world.stopped_at_ms = stopped_at_ms
        return world

    return build


def cause(reply: HttpReply) -> str:
    return str(status(reply)["details"]["causes"][0]["reason"])


@contextmanager
def calls(aws: LocalAws) -> Iterator[list[tuple[str, bool]]]:
    """The operations that are asked of DynamoDB meanwhile, and whether each is about a window."""
    client: Any = aws.dynamodb
    call, made = client._make_api_call, list[tuple[str, bool]]()

    def noted(operation: str, parameters: Any) -> Any:
        made.append((operation, "window/" in str(parameters)))
        return call(operation, parameters)

    client._make_api_call = noted
    yield made
    client._make_api_call = call


def aborts(data: bytes) -> ExecutionOutcome:
    """The contract refuses: a session that ended a moment ago, say."""
    return ExecutionOutcome(
        transaction_digest(data), success=False, abort=Abort("seal", None, 324, 0), failure="aborted"
    )


# Where a request comes from


@pytest.mark.parametrize(
    ("told", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("not an address", UNKNOWN_SOURCE),
        (None, UNKNOWN_SOURCE),
    ],
)
def test_a_source_is_an_address_or_the_network_that_one_site_has(told: str | None, source: str) -> None:
    assert source_of({"requestContext": {"identity": {"sourceIp": told}}}) == source


def test_without_an_identity_callers_share_one_limit() -> None:
    assert source_of({"requestContext": {}}) == UNKNOWN_SOURCE


def test_what_headers_say_of_the_source_changes_nothing(make: MakeWorld) -> None:
    world = make(source_refusals_per_minute=2)
    headers = [
        (("X-Forwarded-For", f"198.51.100.{n}"), ("Forwarded", f"for=198.51.100.{n}")) for n in range(3)
    ]
    codes = [world.send(PODS, token="", headers=pairs).status for pairs in headers]
    assert codes == [401, 401, 429]


def test_a_body_over_the_limit_is_not_decoded() -> None:
    event = {
        "requestContext": {"httpMethod": "POST", "resourcePath": "/{s0}"},
        "pathParameters": {"s0": "api"},
        "isBase64Encoded": True,
        # No base64, which nobody finds out.
        "body": "!" * (MAX_BODY_BYTES * 4 // 3 + 16),
    }
    with pytest.raises(PayloadTooLargeError):
        request_from_event(event, 0)


def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not(make: MakeWorld) -> None:
    world = make()
    assert world.send(PODS, "POST", b"x" * (MAX_BODY_BYTES + 1)).status == 413
    assert world.send(PODS, "POST", b"x" * MAX_BODY_BYTES).status == 200


# Refusals of a source


def test_a_source_that_is_refused_too_often_is_refused_before_anything_is_looked_at(make: MakeWorld) -> None:
    world = make(source_refusals_per_minute=3)
    assert [world.send(PODS, token="").status for _ in range(3)] == [401] * 3
    asked: list[object] = []
    world.chain.get_object = asked.append  # type: ignore[assignment] # would fail if it were awaited
    reply = world.send(PODS)
    assert (reply.status, cause(reply), header(reply, "Retry-After")) == (429, "SourceRefusals", "50")
    assert (asked, world.chain.executed) == ([], [])


def test_a_new_minute_is_a_new_count(make: MakeWorld) -> None:
    world = make(source_refusals_per_minute=1)
    world.send(PODS, token="")
    assert world.send(PODS).status == 429
    world.ahead_ms = 50_000
    assert world.send(PODS).status == 200


def test_refusals_count_over_all_functions(make: MakeWorld) -> None:
    one, other = make(source_refusals_per_minute=4), make(source_refusals_per_minute=4)
    assert [world.send(PODS, token="").status for world in (one, other, one, other)] == [401] * 4
    # The other one heard of the last from the table; the first hears with its own next refusal.
    assert other.send(PODS).status == 429
    assert (one.send(PODS, token="").status, one.send(PODS).status) == (401, 429)


def test_a_source_that_is_blocked_costs_no_more_writes(make: MakeWorld, aws: LocalAws) -> None:
    world = make(source_refusals_per_minute=1)
    world.send(PODS, token="")
    with calls(aws) as made:
        assert [world.send(PODS, token="").status for _ in range(5)] == [429] * 5
    assert made == []


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        (PODS, {"token": "kdaas1.damaged"}),
        (PODS, {"headers": (("Impersonate-User", "admin"),)}),
        ("/api/v1/namespaces/daas-listener/secrets", {}),
        (f"{PODS}?watch=true&watch=false", {}),
        (f"{PODS}/web/exec?command=sh", {"method": "POST"}),
        (PODS, {"method": "POST", "body": b"x" * (MAX_BODY_BYTES + 1)}),
        (PODS, {"method": "OPTIONS"}),
    ],
)
def test_every_refusal_of_the_callers_making_counts(
    make: MakeWorld, target: str, arguments: dict[str, Any]
) -> None:
    world = make(source_refusals_per_minute=1)
    assert 400 <= world.send(target, **arguments).status <= 501
    assert cause(world.send(PODS)) == "SourceRefusals"


def test_what_the_chain_or_the_cluster_did_does_not_count_against_the_source(make: MakeWorld) -> None:
    world = make(source_refusals_per_minute=1)
    world.chain.outcomes.append(aborts)
    assert world.send(PODS).status == 429
    assert world.send(PODS).status == 200


def test_while_the_table_is_away_a_function_counts_for_itself(
    make: MakeWorld, monkeypatch: pytest.MonkeyPatch, aws: LocalAws
) -> None:
    world = make(source_refusals_per_minute=2)

    def away(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="unused")

    monkeypatch.setattr(aws.dynamodb, "_make_api_call", away)
    assert world.send(PODS, token="").status == 401
    # Nothing that costs gas goes on without the table.
    reply = world.send(PODS)
    assert (reply.status, status(reply)["reason"]) == (503, "ServiceUnavailable")
    assert world.chain.executed == []
    assert [world.send(PODS, token="").status for _ in range(2)] == [401, 429]
    told = [line for line in map(json.loads, world.logged) if line["event"] == "limit-not-shared"]
    assert [line["limit"] for line in told] == ["refusals"], "it is not asked again at once"


def test_an_ordinary_command_asks_the_table_no_more_often_for_it(make: MakeWorld, aws: LocalAws) -> None:
    world = make()
    with calls(aws) as read:
        assert world.send(PODS).status == 200
    with calls(aws) as written:
        assert world.send(PODS, "POST", b"{}", headers=SESSION).status == 200
    for made in (read, written):
        # The look, which the command's place needs anyway.
        assert [operation for operation, window in made if window] == ["BatchGetItem"]
        assert {operation for operation, window in made if not window} == {"PutItem", "UpdateItem"}


# The first line


def test_a_source_that_floods_one_function_is_slowed_down(make: MakeWorld) -> None:
    world = make(source_requests_per_second=1)
    codes = [world.send(PODS, token="").status for _ in range(7)]
    # Five at once; the machine may take a second or two for them.
    assert codes[:5] == [401] * 5
    assert 429 in codes[5:]
    reply = next(reply for reply in iter(lambda: world.send(PODS, token=""), None) if reply.status == 429)
    assert (cause(reply), header(reply, "Retry-After")) == ("SourceRate", "1")


def test_a_bucket_fills_again_and_holds_no_more_than_the_burst() -> None:
    now = [0.0]
    buckets = Buckets(rate=2, burst=3, monotonic=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b"), "nobody else's bucket"
    now[0] = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    now[0] = 1_000.0
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]


def test_tables_of_callers_are_bounded_and_forget_who_was_quiet_longest() -> None:
    buckets = Buckets(rate=0.001, burst=1, capacity=3, monotonic=lambda: 0.0)
    for who in ("a", "b", "c", "a", "d"):
        buckets.take(who)
    assert buckets.reading().entries == 3
    assert not buckets.take("a")
    assert buckets.take("b")
    limit = shared(FakeWindows(), capacity=3)
    for who in ("a", "b", "c", "a", "d"):
        limit.count(who)
    assert limit.reading().entries == 3
    assert limit.reached("a") is not None
    assert limit.reached("b") is None


# A limit over all functions


class FakeWindows:
    """Counts for all who share it; each call is kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.calls = 0

    def count(self, key: str, *, window_s: int, limit: int) -> Counted:
        self.calls += 1
        allowed = self.counts[key] < limit
        self.counts[key] += allowed
        return Counted(allowed, limit - self.counts[key], window_s)


def shared(windows: FakeWindows, *, most: int = 2, now: list[int] | None = None, **more: Any) -> SharedLimit:
    clock = now or [0]
    limit = Limit("kind", most, 60)
    return SharedLimit(limit, windows, now_ms=lambda: clock[0], log=lambda line: None, **more)


def test_a_limit_is_reached_by_all_together() -> None:
    windows = FakeWindows()
    one, other = shared(windows), shared(windows)
    one.count("a")
    assert (one.reached("a"), other.reached("a")) == (None, None)
    other.count("a")
    assert (one.reached("a"), other.reached("a")) == (None, 60)
    one.count("a")
    assert one.reached("a") == 60


def test_who_is_over_the_limit_is_not_written_down_again() -> None:
    windows = FakeWindows()
    limit = shared(windows)
    for _ in range(10):
        limit.count("a")
    assert windows.calls == 2


def test_what_was_learned_ends_with_its_window() -> None:
    now = [59_000]
    limit = shared(FakeWindows(), now=now)
    assert limit.window("a") == WindowId("kind/a", 60)
    limit.learn("a", 2)
    assert limit.reached("a") == 1
    now[0] = 60_000
    assert limit.reached("a") is None
    assert limit.window("a") == WindowId("kind/a", 120)


def test_nothing_is_kept_of_callers_who_did_nothing() -> None:
    limit = shared(FakeWindows())
    limit.learn("a", 0)
    assert (limit.reached("a"), limit.reading().entries) == (None, 0)


def test_what_the_table_does_not_take_is_counted_here_and_said_once() -> None:
    class Away:
        calls = 0

        def count(self, key: str, *, window_s: int, limit: int) -> Counted:
            self.calls += 1
            raise RequestStoreUnavailableError("away")

    now_s, logged, away = [0.0], list[str](), Away()
    limit = SharedLimit(
        Limit("kind", 3, 60), away, now_ms=lambda: 0, log=logged.append, monotonic=lambda: now_s[0]
    )
    limit.count("a")
    limit.count("a")
    assert (limit.reached("a"), away.calls, len(logged)) == (None, 1, 1)
    now_s[0] = PAUSE_S
    limit.count("a")
    assert (limit.reached("a"), away.calls) == (60, 2)


# Failed transactions of a seal


def test_a_seal_whose_transactions_fail_is_stopped_in_every_function(make: MakeWorld) -> None:
    one, other = make(seal_aborts=2), make(seal_aborts=2)
    one.chain.outcomes += [aborts, aborts]
    assert [one.send(PODS).status for _ in range(2)] == [429, 429]
    for world in (one, other):
        reply = world.send(PODS)
        assert (reply.status, cause(reply)) == (429, "SealAborts")
        # It lasts for minutes: kubectl must not wait for that silently.
        assert header(reply, "Retry-After") is None
    assert len(one.chain.executed) == 2
    assert other.chain.executed == []


def test_failed_transactions_count_in_every_function(make: MakeWorld) -> None:
    one, other = make(seal_aborts=2), make(seal_aborts=2)
    for world in (one, other):
        world.chain.outcomes.append(aborts)
        assert cause(world.send(PODS)) == "ERateExceeded"
    assert [cause(world.send(PODS)) for world in (one, other)] == ["SealAborts"] * 2


def test_a_write_without_a_session_is_stopped_likewise(make: MakeWorld) -> None:
    world = make(seal_aborts=1)
    world.chain.outcomes.append(aborts)
    world.send(PODS)
    assert cause(world.send(PODS, "POST", b"{}")) == "SealAborts"


def test_the_window_ends_and_the_seal_may_go_on(make: MakeWorld) -> None:
    world = make(seal_aborts=1, seal_abort_window_s=60)
    world.chain.outcomes.append(aborts)
    world.send(PODS)
    reply = world.send(PODS)
    assert (cause(reply), header(reply, "Retry-After")) == ("SealAborts", "50")
    world.ahead_ms = 50_000
    assert world.send(PODS).status == 200


def test_a_seal_whose_transactions_succeed_is_not_counted(make: MakeWorld) -> None:
    world = make(seal_aborts=1)
    assert [world.send(PODS).status for _ in range(3)] == [200] * 3


# The log of refusals


def test_a_refusal_is_a_line_of_its_own_log_with_who_what_and_why(make: MakeWorld) -> None:
    world = make()
    world.send("/api/v1/namespaces/daas-listener/secrets/key")
    [line] = map(json.loads, world.refusals)
    assert len(line.pop("api_request_id")) == 36
    assert line.pop("seal").startswith("0x")
    assert line == {
        **{"event": "refusal", "code": 403, "reason": "EReservedNamespace", "source": LOCAL},
        **{"verb": "get", "resource": "secrets", "namespace": "daas-listener", "name": "key"},
    }


def test_an_abort_is_in_the_log_of_refusals_with_its_transaction(make: MakeWorld) -> None:
    world = make()
    world.chain.outcomes.append(aborts)
    reply = world.send(PODS)
    [line] = map(json.loads, world.refusals)
    assert line["reason"] == "ERateExceeded"
    assert line["request_id"] == header(reply, "X-Daas-Request-Id")
    assert line["request_digest"] == header(reply, "X-Daas-Request-Digest")


def test_nothing_secret_and_nothing_unverified_is_in_it(make: MakeWorld) -> None:
    world = make()
    token = world.token()
    forged = token[:-8] + "AAAAAAAA"
    for bearer in (token, forged):
        world.send(
            f"{PODS}?secret=hunter2",
            "POST",
            b"hunter2",
            token=bearer,
            headers=(("Impersonate-User", "hunter2"),),
        )
        world.send("/version/hunter2?x=hunter2", token=bearer)
    world.send(PODS, token=forged)
    written = "".join(world.refusals)
    assert len(world.refusals) == 5
    assert "hunter2" not in written
    assert token not in written
    assert token[-40:-8] not in written
    assert "seal" not in json.loads(world.refusals[-1])


ROUTE = {"resourcePath": "/{s0}", "httpMethod": "GET", "identity": {"sourceIp": LOCAL}, "requestId": "r-1"}


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"requestContext": {**ROUTE, "httpMethod": "TRACE"}, "pathParameters": {"s0": "api"}}, 405),
        ({"requestContext": {**ROUTE, "httpMethod": "OPTIONS"}, "pathParameters": {"s0": "api"}}, 405),
        ({"requestContext": {**ROUTE, "resourcePath": "/{proxy+}"}}, 404),
        ({"requestContext": ROUTE, "pathParameters": None}, 400),
        ({"requestContext": "of no API Gateway"}, 400),
        ({}, 404),
    ],
)
def test_what_is_refused_before_it_is_a_request_is_logged_and_counted_too(
    make: MakeWorld, event: dict[str, Any], code: int
) -> None:
    world = make()
    reply = create_app(lambda: world.gateway)(event, None)
    [line] = map(json.loads, world.refusals)
    assert (reply["statusCode"], line["code"]) == (code, code)
    from_route = isinstance(event.get("requestContext"), dict)
    assert (line["source"], line.get("api_request_id")) == (
        (LOCAL, "r-1") if from_route else (UNKNOWN_SOURCE, None)
    )
    assert "Server-Timing" in reply["headers"]
    assert [document["Refusals"] for document in map(json.loads, world.metrics) if "Refusals" in document]


def test_what_is_answered_or_parked_is_no_refusal(make: MakeWorld) -> None:
    world = make()
    world.send(PODS)
    assert world.refusals == []
