"""The Chalice app and the AWS-shaped round trip, in front of a stand-in that records what reaches it."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chalice import BadRequestError, ForbiddenError
from chalicelib.errors import NotConfiguredError
from chalicelib.http_request import GatewayRequest
from chalicelib.replies import GatewayReply, status_reply
from chalicelib.routes import METHODS, create_app

from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from k3s_daas.errors import DaasError
from k3s_daas.status import StatusError

NOW_MS = 1_800_000_000_000
TOKEN = "kdaas1.secret-token-of-somebody"


class Recorder:
    """Stands where the gateway stands; answers what it is told and keeps the requests."""

    def __init__(self, reply: GatewayReply | None = None) -> None:
        self.reply = reply or GatewayReply(200, (("Content-Type", "application/json"),), b"{}")
        self.requests: list[GatewayRequest] = []

    def handle(self, request: GatewayRequest) -> GatewayReply:
        self.requests.append(request)
        return self.reply

    def refuse(self, source: str, api_request_id: str | None, error: DaasError) -> GatewayReply:
        assert isinstance(error, StatusError), f"every request here can be read, but {error}"
        return status_reply(error)

    def refresh(self) -> None:
        raise AssertionError("requests refresh nothing")


def front_door(gateway: Any) -> StrictGateway:
    return StrictGateway(create_app(lambda: gateway, lambda: NOW_MS), now_ms=lambda: NOW_MS)


def send(gateway: Any, target: str, method: str = "GET", body: bytes = b"", **headers: str) -> HttpReply:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return front_door(gateway).handle(HttpRequest(method, target, pairs, body))


def status(reply: HttpReply) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(reply.body)
    assert parsed["kind"] == "Status"
    assert parsed["apiVersion"] == "v1"
    assert parsed["code"] == reply.status
    return parsed


def headers(reply: HttpReply) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers}


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/version",
        "/api/v1/namespaces/demo/pods/p1/log",
        "/apis/apps/v1/namespaces/demo/deployments/web/scale",
        "/a/b/c/d/e/f/g/h/i/j/k/l",
        "/api/v1/namespaces/demo/services/https:web:443/proxy",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        "/api/v1/namespaces/demo/configmaps/a%20b",
    ],
)
def test_every_depth_reaches_the_gateway_with_its_path(target: str) -> None:
    recorder = Recorder()
    assert send(recorder, target).status == 200
    assert recorder.requests[0].path == target


@pytest.mark.parametrize(
    "target", ["/api/v1/%2e%2e/secrets", "/api/v1/a%2fb", "/api/v1/a%00b", "/api/v1/a%5Cb"]
)
def test_encoded_separators_stay_encoded_or_visible_to_the_parser(target: str) -> None:
    recorder = Recorder()
    send(recorder, target)
    segments = recorder.requests[0].path.split("/")
    assert len(segments) == len(target.split("/"))
    assert "\\" not in recorder.requests[0].path


@pytest.mark.parametrize(
    "target", ["/", "/a/", "/api/v1/namespaces/demo/services/web/proxy/", "/a//", "/a/?x=/"]
)
def test_a_slash_at_the_end_is_kept(target: str) -> None:
    recorder = Recorder()
    send(recorder, target)
    assert recorder.requests[0].path == target.partition("?")[0]


def test_a_percent_sign_that_aws_reports_decoded_is_not_decoded_into_a_separator() -> None:
    recorder = Recorder()
    send(recorder, "/api/v1/a%252fb")
    assert recorder.requests[0].path == "/api/v1/a%252fb"


def test_the_query_keeps_repetitions_order_and_blanks() -> None:
    recorder = Recorder()
    send(recorder, "/api/v1/pods?labelSelector=a+in+%28x%2Cy%29&limit=500&watch&x=1&x=2&x=1")
    assert recorder.requests[0].query == "labelSelector=a+in+%28x%2Cy%29&limit=500&watch=&x=1&x=2&x=1"


def test_a_semicolon_in_the_last_segment_is_not_lost() -> None:
    recorder = Recorder()
    send(recorder, "/api/v1/namespaces/demo/configmaps/a;b?x=1")
    assert recorder.requests[0].path == "/api/v1/namespaces/demo/configmaps/a;b"
    assert recorder.requests[0].query == "x=1"


@pytest.mark.parametrize(
    "target", ["/api/v1/%ff", "/api/v1/pods?x=%ff", "/api/v1/p#ods", "/a b", "api/v1", "/\x00"]
)
def test_what_is_no_valid_target_gets_a_400_status(target: str) -> None:
    recorder = Recorder()
    assert status(send(recorder, target))["reason"] == "BadRequest"
    assert recorder.requests == []


@pytest.mark.parametrize("method", METHODS)
def test_binary_bodies_arrive_byte_for_byte(method: str) -> None:
    recorder = Recorder()
    body = b"k8s\x00\xff\xfe" + bytes(range(256))
    send(recorder, "/api/v1/pods", method, body, Content_Type="application/vnd.kubernetes.protobuf")
    assert (recorder.requests[0].method, recorder.requests[0].body) == (method, body)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/vnd.kubernetes.protobuf", b"k8s\x00\x80\xff"),
        ("application/json", b'{"kind":"PodList"}'),
        ("text/plain", b"a log line\n"),
        ("application/json;stream=watch", b"{}\n{}\n"),
    ],
)
def test_replies_arrive_byte_for_byte(content_type: str, body: bytes) -> None:
    reply = send(Recorder(GatewayReply(200, (("Content-Type", content_type),), body)), "/api/v1/pods")
    assert reply.body == body
    assert headers(reply)["content-type"] == content_type


def test_a_request_without_accept_is_answered() -> None:
    assert send(Recorder(), "/api/v1/pods").status == 200


def test_repeated_reply_headers_are_kept() -> None:
    reply = GatewayReply(200, (("Warning", '299 - "a"'), ("Warning", '299 - "b"')), b"{}")
    sent = send(Recorder(reply), "/api/v1/pods")
    assert [value for name, value in sent.headers if name == "Warning"] == ['299 - "a"', '299 - "b"']


def test_repeated_request_headers_all_arrive() -> None:
    recorder = Recorder()
    request = HttpRequest("GET", "/api", (("Authorization", "Bearer a"), ("Authorization", "Bearer b")), b"")
    front_door(recorder).handle(request)
    assert [value for name, value in recorder.requests[0].headers] == ["Bearer a", "Bearer b"]


def test_arrival_is_what_api_gateway_says_but_never_in_the_future() -> None:
    recorder = Recorder()
    app = create_app(lambda: recorder, lambda: NOW_MS)
    for reported in (NOW_MS - 3_000, NOW_MS + 3_600_000):
        times = iter([reported])
        StrictGateway(app, now_ms=times.__next__).handle(HttpRequest("GET", "/api", (), b""))
    assert [request.arrival_ms for request in recorder.requests] == [NOW_MS - 3_000, NOW_MS]


def test_too_deep_a_path_is_a_404_that_echoes_nothing() -> None:
    reply = send(Recorder(), "/" + "/".join("abcdefghijklm"), Authorization=f"Bearer {TOKEN}")
    assert status(reply)["reason"] == "NotFound"
    assert TOKEN.encode() not in reply.body


@pytest.mark.parametrize(
    "context", [None, {}, {"resourcePath": "/{proxy+}", "httpMethod": "GET", "identity": {}}]
)
def test_a_route_that_only_api_gateway_has_is_a_404_status(context: dict[str, Any] | None) -> None:
    reply = create_app(Recorder)({"requestContext": context, "headers": {}}, None)
    assert reply["statusCode"] == 404
    assert json.loads(base64.b64decode(reply["body"]))["reason"] == "NotFound"


EVENT = {
    "requestContext": {"resourcePath": "/{s0}", "httpMethod": "GET", "identity": None},
    "pathParameters": {"s0": "api"},
}


@pytest.mark.parametrize(
    "event",
    [
        None,
        [EVENT],
        {**EVENT, "requestContext": "api"},
        {**EVENT, "requestContext": {"resourcePath": "/{s0}"}},
        {**EVENT, "requestContext": {"resourcePath": ["/{s0}"], "httpMethod": "GET"}},
        {**EVENT, "requestContext": {"resourcePath": "/{s0}", "httpMethod": "GET", "identity": "me"}},
        {**EVENT, "pathParameters": None},
        {**EVENT, "pathParameters": {"s0": None}},
        {**EVENT, "headers": {"accept": 1}},
        {**EVENT, "multiValueHeaders": {"accept": [None]}},
        {**EVENT, "multiValueQueryStringParameters": {"limit": "1"}},
        {**EVENT, "queryStringParameters": {"limit": None}},
        {**EVENT, "body": {"kind": "Pod"}},
    ],
)
def test_what_is_no_event_of_api_gateways_is_a_400_status(event: Any) -> None:
    assert create_app(Recorder)(EVENT, None)["statusCode"] == 200
    reply = create_app(Recorder)(event, None)
    assert reply["statusCode"] == 400
    assert json.loads(base64.b64decode(reply["body"]))["reason"] == "BadRequest"


@pytest.mark.parametrize(
    ("content_type", "error", "code", "reason"),
    [
        ("application/json", ForbiddenError("a secret"), 403, "Forbidden"),
        ("application/json", BadRequestError("a secret"), 400, "BadRequest"),
        ("application/json", ValueError("a secret"), 500, "InternalError"),
        ("text/secret", None, 415, "UnsupportedMediaType"),
    ],
)
def test_chalices_own_answers_are_statuses_without_its_words(
    content_type: str, error: Exception | None, code: int, reason: str
) -> None:
    app = create_app(Recorder)

    def view() -> None:
        assert error is not None
        raise error

    # None of our routes can make Chalice say these: one that can stands for whatever it learns to say.
    app.route("/own/words", methods=["POST"], content_types=["application/json"])(view)
    context = {"resourcePath": "/own/words", "httpMethod": "POST", "identity": {}}
    reply = app({"requestContext": context, "headers": {"content-type": content_type}}, None)
    parsed = json.loads(base64.b64decode(reply["body"]))
    assert (reply["statusCode"], parsed["kind"], parsed["code"], parsed["reason"]) == (
        code,
        "Status",
        code,
        reason,
    )
    assert "secret" not in str(parsed)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_an_unknown_method_is_a_405_status(method: str) -> None:
    reply = send(Recorder(), "/api/v1/pods", method, Authorization=f"Bearer {TOKEN}")
    assert status(reply)["reason"] == "MethodNotAllowed"
    assert "GET" in headers(reply)["allow"]
    assert TOKEN.encode() not in reply.body


def test_a_bug_behind_the_routes_is_a_500_status_without_its_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken:
        def handle(self, request: GatewayRequest) -> GatewayReply:
            raise KeyError(request.header("Authorization"))

    reply = send(Broken(), "/api/v1/pods", Authorization=f"Bearer {TOKEN}")
    assert status(reply)["reason"] == "InternalError"
    output = capsys.readouterr()
    assert TOKEN not in reply.body.decode() + output.out + output.err


def test_a_gateway_that_is_not_configured_refuses_everything() -> None:
    def not_configured() -> Any:
        raise NotConfiguredError("The gateway is not configured.")

    gateway = StrictGateway(create_app(not_configured))
    reply = gateway.handle(HttpRequest("GET", "/api", (), b""))
    assert status(reply)["code"] == 503


def test_a_request_that_lambda_cannot_take_is_a_413_status() -> None:
    recorder = Recorder()
    assert status(send(recorder, "/api/v1/pods", "POST", b"x" * 5_000_000))["code"] == 413
    assert recorder.requests == []


@pytest.mark.parametrize(("spare", "code"), [(0, 200), (1, 400)])
def test_a_head_that_api_gateway_does_not_take_gets_a_400_status(spare: int, code: int) -> None:
    recorder = Recorder()
    line = "GET /api?x= HTTP/1.1"
    used = len(line) + len("Bearer t")
    reply = send(recorder, "/api?x=" + "a" * (10_240 - used + spare), Authorization="Bearer t")
    assert (reply.status, len(recorder.requests)) == (code, code == 200)


def test_threads_do_not_mix_requests() -> None:
    together = threading.Barrier(8, timeout=20)

    class Echo:
        def handle(self, request: GatewayRequest) -> GatewayReply:
            time.sleep(0)
            return GatewayReply(200, (("X-Token", request.header("Authorization") or ""),), request.body)

    gateway = front_door(Echo())

    def burst(thread: int) -> list[bool]:
        together.wait()
        results = []
        for count in range(50):
            mark = f"{thread}-{count}"
            reply = gateway.handle(
                HttpRequest("POST", "/api/v1/pods", (("Authorization", mark),), mark.encode())
            )
            results.append(reply.body == mark.encode() and headers(reply)["x-token"] == mark)
        return results

    with ThreadPoolExecutor(8) as pool:
        results = [right for rights in pool.map(burst, range(8)) for right in rights]
    assert len(results) == 400
    assert all(results)


def test_importing_the_app_needs_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib  # noqa: PLC0415

    for name in ("DAAS_TRUST_ROOTS_FILE", "DAAS_SUI_ENDPOINT", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    app = importlib.import_module("app").app
    reply = StrictGateway(app).handle(HttpRequest("GET", "/api", (), b""))
    assert status(reply)["code"] in (500, 503)
