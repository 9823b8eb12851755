"""Commands through the front door: what reaches the API server, what is refused, and what a refusal costs."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from chalicelib.request_store import RequestState
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.bearer import BearerToken
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.rbac import Rule
from k3s_daas.sui.transactions import decode_transaction, transaction_digest
from tests.unit.contract_world import POLICY, SUI
from tests.unit.gateway_world import NAMESPACE, SealTerms, World, header, now_ms, status

PODS = "/api/v1/namespaces/default/pods"


def causes(parsed: dict[str, Any]) -> set[str]:
    return {cause["reason"] for cause in parsed.get("details", {}).get("causes", [])}


def logged(world: World) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(world.logged[-1])
    return parsed


# What gets through


def test_the_api_server_gets_what_kubectl_sent_and_kubectl_what_it_answered(world: World) -> None:
    reply = world.send(
        f"{PODS}?fieldManager=kubectl&x=1&x=2",
        "POST",
        b"k8s\x00\xff",
        headers=[
            ("Content-Type", "application/vnd.kubernetes.protobuf"),
            ("Accept", "application/json"),
            ("Kubectl-Session", "s-1"),
            ("X-Forwarded-For", "10.0.0.1"),
        ],
    )
    assert reply.status == 200
    seen = json.loads(reply.body)
    assert (seen["method"], seen["path"]) == ("POST", PODS)
    assert seen["query"] == "fieldManager=kubectl&x=1&x=2"
    assert seen["body"].encode("latin-1") == b"k8s\x00\xff"
    assert ["Kubectl-Session", "s-1"] in seen["headers"]
    assert {name for name, _ in seen["headers"]} == {"Content-Type", "Accept", "Kubectl-Session"}


def test_the_replys_status_headers_and_body_are_the_api_servers(world: World) -> None:
    body = b'{"kind":"Status","code":409,"reason":"AlreadyExists"}'
    headers = (("Content-Type", "application/json"), ("Warning", '299 - "a"'), ("Warning", '299 - "b"'))
    world.chain.respond = lambda _: ResponseEnvelope(409, headers, body)
    reply = world.send(PODS, "POST", b"{}")
    assert (reply.status, reply.body) == (409, body)
    assert [value for name, value in reply.headers if name == "Warning"] == ['299 - "a"', '299 - "b"']


def test_headers_that_would_take_the_token_elsewhere_never_come_back(world: World) -> None:
    headers = (("Location", "https://elsewhere.example"), ("Set-Cookie", "a=b"))
    world.chain.respond = lambda _: ResponseEnvelope(201, headers, b"{}")
    reply = world.send(PODS, "POST", b"{}")
    assert header(reply, "Location") is None
    assert header(reply, "Set-Cookie") is None


def test_a_304_keeps_the_clients_own_type(world: World) -> None:
    """API Gateway's default would be kept in kubectl's cache, for the body that is there."""
    world.chain.respond = lambda _: ResponseEnvelope(304, (("ETag", '"x"'),), b"")
    reply = world.send(PODS, headers=[("Accept", "application/json;g=v1,*/*")])
    assert (reply.status, header(reply, "Content-Type")) == (304, "application/json;g=v1")


def test_large_replies_are_compressed_for_clients_that_take_it(world: World) -> None:
    body = json.dumps({"items": ["pod"] * 60_000}).encode()
    world.chain.respond = lambda _: ResponseEnvelope(200, (("Content-Type", "application/json"),), body)
    reply = world.send(PODS, headers=[("Accept-Encoding", "gzip, deflate")])
    assert header(reply, "Content-Encoding") == "gzip"
    assert gzip.decompress(reply.body) == body
    assert world.send(PODS).body == body


@pytest.mark.parametrize(("method", "says"), [("GET", "--chunk-size"), ("PATCH", "the command was run")])
def test_a_reply_that_lambda_cannot_return_is_a_413_that_is_on_record(
    world: World, method: str, says: str
) -> None:
    world.chain.respond = lambda _: ResponseEnvelope(200, (), b" " * 4_500_000)
    reply = world.send(f"{PODS}/web", method)
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (413, "RequestEntityTooLarge")
    assert says in parsed["message"]
    assert header(reply, "X-Daas-Request-Id") == parsed["details"]["uid"]
    assert "total" in (header(reply, "Server-Timing") or "")
    assert (logged(world)["code"], json.loads(world.refusals[-1])["code"]) == (413, 413)


def test_the_reply_names_both_transactions_and_its_times(world: World) -> None:
    reply = world.send(PODS)
    digest = transaction_digest(world.chain.executed[0])
    assert header(reply, "X-Daas-Request-Digest") == digest
    assert header(reply, "X-Daas-Response-Digest") in world.chain.transactions
    timing = header(reply, "Server-Timing") or ""
    assert [part.partition(";")[0] for part in timing.split(", ")] == ["admission", "submit", "wait", "total"]
    record = world.store.get(bytes.fromhex(header(reply, "X-Daas-Request-Id") or ""))
    assert record is not None
    assert record.state is RequestState.ANSWERED
    assert record.transaction is not None
    assert record.transaction.digest == digest


def test_a_warm_command_costs_one_submission_and_no_read_but_its_answers(world: World) -> None:
    world.send(PODS)
    world.chain.calls.clear()
    world.send(PODS)
    assert world.chain.calls["execute"] == 1
    assert world.chain.calls["epoch"] == world.chain.calls["service_info"] == 0
    # The request object until it has its answer (here: at once), and the answering transaction.
    assert (world.chain.calls["get_object"], world.chain.calls["get_signed_transaction"]) == (1, 1)


def test_nothing_of_a_command_is_in_clear_on_chain_or_in_the_record(world: World) -> None:
    token = world.token()
    reply = world.send("/api/v1/namespaces/default/secrets?dryRun=All", "POST", b"hunter2", token=token)
    record = world.store.get(bytes.fromhex(header(reply, "X-Daas-Request-Id") or ""))
    for public in (*world.chain.executed, repr(record).encode(), *(line.encode() for line in world.logged)):
        for secret in (b"hunter2", b"dryRun", token.encode(), token[-40:].encode()):
            assert secret not in public


def test_the_path_of_a_non_resource_request_stays_off_the_chain(world: World) -> None:
    reply = world.send("/openapi/v3/apis/secret.example.com/v1?hash=1")
    assert json.loads(reply.body)["path"] == "/openapi/v3/apis/secret.example.com/v1"
    assert b"/openapi/*" in world.chain.executed[0]
    assert b"secret.example.com" not in world.chain.executed[0]
    assert "secret.example.com" not in world.logged[-1]


def test_the_transaction_is_sent_by_the_gateway_and_pays_from_its_balance(world: World) -> None:
    world.send(PODS)
    decoded = decode_transaction(world.chain.executed[0])
    assert decoded.sender == world.signer.address
    assert decoded.data.gas.payment == ()


def test_a_watch_is_asked_for_no_longer_than_the_caller_can_wait(world: World) -> None:
    for query, expected in (
        ("watch=true&timeoutSeconds=497&resourceVersion=5", "watch=true&resourceVersion=5&timeoutSeconds=20"),
        ("watch=1", "watch=1&timeoutSeconds=20"),
        ("watch=true&timeoutSeconds=1", "watch=true&timeoutSeconds=1"),
        ("watch=true&timeoutSeconds=%31", "watch=true&timeoutSeconds=1"),
        ("watch=true&timeoutSeconds=%2B1", "watch=true&timeoutSeconds=1"),
        ("watch=true&timeoutSeconds=0", "watch=true&timeoutSeconds=20"),
        ("watch=true&timeoutSeconds=-3&timeoutSeconds=999", "watch=true&timeoutSeconds=20"),
    ):
        assert json.loads(world.send(f"{PODS}?{query}").body)["query"] == expected


def test_a_list_keeps_its_timeout(world: World) -> None:
    assert json.loads(world.send(f"{PODS}?timeoutSeconds=60").body)["query"] == "timeoutSeconds=60"


def test_head_is_carried_as_head(world: World) -> None:
    assert json.loads(world.send(PODS, "HEAD").body)["method"] == "HEAD"


def test_threads_get_their_own_answers(world: World) -> None:
    def one(mark: int) -> bool:
        reply = world.send(f"/api/v1/namespaces/default/configmaps/cm{mark}?x={mark}", "PUT", b"%d" % mark)
        seen = json.loads(reply.body)
        return bool(seen["body"] == str(mark) and seen["path"].endswith(f"cm{mark}"))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(40)))
    assert len(set(world.chain.executed)) == 40


# What is refused before it costs anything


def swapped_secret(world: World) -> str:
    """The claims of one token with the secret of another: what a reader of the chain could make."""
    token = BearerToken.decode(world.token())
    return replace(token, secret=b"\x00" * 32).encode()


@pytest.mark.parametrize(
    ("token_of", "fragment"),
    [
        (lambda world: "", "no bearer token"),
        (lambda world: "x", "no token of kubectl-daas"),
        (lambda world: world.token()[:-5], "damaged"),
        (lambda world: world.token()[:60], "damaged"),
        (lambda world: world.token(now_ms=now_ms() - 700_000), "expired"),
        (lambda world: world.token(now_ms=now_ms() + 120_000), "valid only in"),
        (lambda world: world.token(cluster=b"\x01" * 32), "cluster"),
        (lambda world: world.token(gateway=b"\x01" * 32), "gateway"),
        (lambda world: world.token(seal=b"\x01" * 32), "does not exist"),
        (lambda world: world.token(key=Ed25519PrivateKey.generate()), "session"),
        (swapped_secret, "secret"),
    ],
)
def test_a_bad_token_is_a_401_status_and_no_transaction(
    world: World, token_of: Callable[[World], str], fragment: str
) -> None:
    token = token_of(world)
    reply = world.send(PODS, token=token)
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (401, "Unauthorized")
    assert fragment in parsed["message"]
    assert len(token) < 20 or token not in reply.body.decode()
    assert world.chain.executed == []


@pytest.mark.parametrize(
    "name", ["Impersonate-User", "impersonate-group", "Impersonate-Extra-scopes", "X-Remote-User"]
)
def test_headers_that_choose_an_identity_are_a_403(world: World, name: str) -> None:
    parsed = status(world.send(PODS, headers=[(name, "admin")]))
    assert (parsed["code"], parsed["reason"]) == (403, "Forbidden")
    assert world.chain.executed == []


def test_a_second_authorization_header_is_a_403(world: World) -> None:
    reply = world.send(PODS, headers=[("Authorization", "Bearer other")])
    assert status(reply)["code"] == 403
    assert world.chain.executed == []


def test_basic_authentication_is_a_401(world: World) -> None:
    reply = world.send(PODS, token="", headers=[("Authorization", "Basic YTpi")])
    assert status(reply)["code"] == 401


def test_a_slash_at_the_end_of_a_resource_path_is_taken_off(world: World) -> None:
    seen = json.loads(world.send(PODS + "/?limit=5").body)
    assert (seen["path"], seen["query"]) == (PODS, "limit=5")


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/namespaces/default/pods/..",
        "/api/v1/namespaces/%2e%2e/secrets",
        "/api/v1/namespaces/a%2fb/pods",
        "/api/v1/namespaces/a%00b/pods",
        "/api/v1/namespaces/a%5cb/pods",
        "/api/v1//pods",
        "//api/v1/pods",
        "/api/v1/namespaces/default/pods?watch=true&watch=false",
        "/api/v1/namespaces/default/pods?fieldSelector=metadata.name",
        "/API/v1/pods",
    ],
)
def test_malformed_paths_are_a_400_status_and_no_transaction(world: World, target: str) -> None:
    parsed = status(world.send(target))
    assert (parsed["code"], parsed["reason"]) == (400, "BadRequest")
    assert world.chain.executed == []


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "LINK"])
def test_unknown_methods_are_a_405_status(world: World, method: str) -> None:
    assert status(world.send(PODS, method))["reason"] == "MethodNotAllowed"
    assert world.chain.executed == []


@pytest.mark.parametrize("timeout", ["abc", "", "1.5", "10m", "+1", "9" * 20, "abc&timeoutSeconds=1"])
def test_an_end_of_a_watch_that_is_no_number_is_a_400_as_at_the_api_server(
    world: World, timeout: str
) -> None:
    parsed = status(world.send(f"{PODS}?watch=true&timeoutSeconds={timeout}"))
    assert (parsed["code"], parsed["reason"]) == (400, "BadRequest")
    assert "timeoutSeconds" in parsed["message"]
    assert world.chain.executed == []


def test_a_body_over_the_limit_is_a_413_before_anything_else(world: World) -> None:
    reply = world.send(PODS, "POST", b"\x00" * (3 * 1024 * 1024 + 1), token="")
    assert status(reply)["reason"] == "RequestEntityTooLarge"
    assert world.chain.calls == {}


def test_what_does_not_fit_a_transaction_is_a_413_and_no_transaction(world: World) -> None:
    parsed = status(world.send(PODS, "POST", os.urandom(100_000)))
    assert parsed["code"] == 413
    assert world.chain.executed == []


def test_what_the_cluster_takes_no_more_is_a_413_and_no_transaction(world: World) -> None:
    world.set_cluster(policy=replace(POLICY, max_inline_bytes=1_000))
    assert "EPayloadTooLarge" in causes(status(world.send(PODS)))
    assert world.chain.executed == []


@pytest.mark.parametrize(
    ("target", "method", "headers", "words"),
    [
        (
            f"{PODS}/p1/exec?command=sh",
            "GET",
            [("Upgrade", "websocket"), ("Connection", "Upgrade")],
            "kubectl exec",
        ),
        (f"{PODS}/p1/exec?command=sh", "POST", [], "kubectl exec"),
        (f"{PODS}/p1/attach", "GET", [], "kubectl attach"),
        (f"{PODS}/p1/portforward", "POST", [], "kubectl port-forward"),
        ("/api/v1/nodes/n1/proxy/exec", "GET", [("Upgrade", "SPDY/3.1")], "upgrades"),
    ],
)
def test_streams_are_a_501_status_that_names_the_feature(
    world: World, target: str, method: str, headers: list[tuple[str, str]], words: str
) -> None:
    parsed = status(world.send(target, method, headers=headers))
    assert (parsed["code"], parsed["reason"]) == (501, "NotImplemented")
    assert words in parsed["message"]
    assert world.chain.executed == []


@pytest.mark.parametrize("query", ["tailLines=3", "follow=true", "follow=&container=c"])
def test_logs_get_through_as_they_are(world: World, query: str) -> None:
    assert json.loads(world.send(f"{PODS}/p1/log?{query}").body)["query"] == query


def test_a_watch_list_is_a_422_so_that_clients_fall_back(world: World) -> None:
    parsed = status(world.send(f"{PODS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
    assert (parsed["code"], parsed["reason"]) == (422, "Invalid")
    assert world.chain.executed == []


READ_PODS = (Rule(verbs=("get", "list"), api_groups=("",), resources=("pods",)),)
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize(
    ("prepare", "method", "target", "code", "abort"),
    [
        (lambda w: w.set_seal(SealTerms(revoked=True)), "GET", PODS, 403, "ESealRevoked"),
        (lambda w: w.set_seal(SealTerms(expires_in_ms=-1)), "GET", PODS, 403, "ESealExpired"),
        (lambda w: w.set_seal(SealTerms(sessions=False)), "GET", PODS, 401, "EUnknownSession"),
        (lambda w: w.set_seal(SealTerms(session_expires_in_ms=-1)), "GET", PODS, 401, "ESessionExpired"),
        (lambda w: w.set_seal(SealTerms(read_only=True)), "DELETE", f"{PODS}/p", 403, "ESessionReadOnly"),
        (lambda w: w.set_seal(SealTerms(stake=9 * SUI)), "POST", PODS, 403, "EStakeTooLow"),
        (lambda w: w.set_seal(SealTerms(role="gone")), "GET", PODS, 403, "EUnknownRole"),
        (lambda w: w.set_seal(SealTerms(cluster=b"\x02" * 32)), "GET", PODS, 403, "EWrongCluster"),
        (lambda w: w.set_cluster(role_stake=51 * SUI), "PATCH", f"{PODS}/p", 403, "EStakeTooLow"),
        (lambda w: w.set_cluster(paused=True), "GET", PODS, 503, "EClusterPaused"),
        (lambda w: w.set_cluster(is_open=False), "GET", PODS, 403, "ENotGranted"),
        (lambda w: w.set_cluster(rules=READ_PODS), "GET", "/api/v1/secrets", 403, "EForbiddenByRole"),
        (lambda w: w.set_cluster(rules=READ_PODS), "GET", "/version", 403, "EForbiddenByRole"),
        (lambda w: None, "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets", 403, "EReservedNamespace"),
        (lambda w: w.set_cluster(gateways=[]), "GET", PODS, 502, "EUnknownGateway"),
        (lambda w: w.set_cluster(executors=[]), "GET", PODS, 502, "EUnknownExecutor"),
    ],
)
def test_who_would_be_refused_on_chain_costs_no_gas(  # noqa: PLR0917 - one column each
    world: World, prepare: Callable[[World], None], method: str, target: str, code: int, abort: str
) -> None:
    prepare(world)
    parsed = status(world.send(target, method, b"{}" if method != "GET" else b""))
    assert parsed["code"] == code
    assert abort in causes(parsed)
    assert world.chain.executed == []
    assert logged(world)["refused"] == abort


def test_a_low_stake_says_how_much_is_missing(world: World) -> None:
    world.set_seal(SealTerms(stake=9 * SUI + 500_000_000))
    assert "0.5 SUI are missing" in status(world.send(PODS, "POST", b"{}"))["message"]


@pytest.mark.parametrize("terms", [SealTerms(stake=0), SealTerms(read_only=True)])
def test_reads_and_reviews_need_neither_stake_nor_a_writing_session(world: World, terms: SealTerms) -> None:
    world.set_seal(terms)
    assert world.send(PODS).status == 200
    assert world.send(REVIEW, "POST", b"{}").status == 200


def test_a_grant_opens_a_role_until_it_ends(world: World) -> None:
    world.set_cluster(is_open=False)
    world.set_grant(now_ms() - 1)
    assert "EGrantExpired" in causes(status(world.send(PODS)))
    assert world.chain.executed == []
    world.set_grant(now_ms() + 60_000)
    assert world.send(PODS).status == 200


def test_a_session_opened_a_moment_ago_is_not_refused_from_the_cache(world: World) -> None:
    world.set_seal(SealTerms(sessions=False))
    assert world.send(PODS).status == 401
    world.set_seal(SealTerms())
    assert world.send(PODS).status == 200


def test_another_chain_than_the_pinned_one_refuses_everything(world: World) -> None:
    world.chain.chain_id = "1" * 32
    assert status(world.send(PODS))["code"] == 500
    assert world.chain.executed == []


@pytest.mark.parametrize("max_start_ms", [10_000, 24_000, 28_999])
def test_deadlines_that_the_cluster_may_refuse_are_the_operators_problem(
    world: World, max_start_ms: int
) -> None:
    world.set_cluster(policy=replace(POLICY, max_start_ms=max_start_ms))
    assert status(world.send(PODS))["code"] == 500
    assert world.chain.executed == []


def test_a_policy_with_room_for_the_clocks_is_enough(world: World) -> None:
    world.set_cluster(policy=replace(POLICY, max_start_ms=29_000))
    assert world.send(PODS).status == 200


# The log


def test_every_request_is_one_json_line_without_secrets(world: World) -> None:
    token = world.token()
    world.send("/api/v1/namespaces/default/secrets/db?dryRun=All", "PATCH", b"hunter2", token=token)
    [line] = world.logged
    fields = json.loads(line)
    assert (fields["code"], fields["verb"], fields["resource"], fields["name"]) == (
        200,
        "patch",
        "secrets",
        "db",
    )
    assert fields["request_digest"] == transaction_digest(world.chain.executed[0])
    assert {"admission", "submit", "wait"} <= fields["ms"].keys()
    assert "refused" not in fields
    assert "dryRun" not in line


def test_an_unexpected_error_is_a_500_and_its_message_stays_inside(world: World) -> None:
    def broken(_: RequestEnvelope) -> ResponseEnvelope:
        raise ZeroDivisionError("hunter2")

    world.chain.respond = broken
    reply = world.send(PODS)
    assert status(reply)["reason"] == "InternalError"
    assert "hunter2" not in reply.body.decode() + "".join(world.logged)
    assert any("ZeroDivisionError in" in line for line in world.logged)
