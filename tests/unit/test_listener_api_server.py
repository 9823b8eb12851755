"""The connection to the API server, and what crosses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k3s_daas.attributes import parse_attributes
from k3s_daas.errors import ConfigurationError
from k3s_daas.status import StatusError
from listener_service import api_server as connection
from listener_service import passthrough
from listener_service.api_call import (
    ApiCall,
    NoReplyError,
    NotSentError,
    NotStartedError,
    RawReply,
    ReplyTimeoutError,
    ReplyTooLargeError,
)
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from tests.unit.listener_world import NAMESPACE
from tests.unit.scripted_api_server import ScriptedApiServer, ScriptedReply, scripted_api_server


@pytest.fixture
def server(api: ScriptedApiServer) -> Iterator[ApiServer]:
    connected = ApiServer(lambda: api.configuration, connections=4)
    yield connected
    connected.close()


def call(
    method: str = "GET",
    target: str = "/api/v1/pods",
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    timeout_s: float = 5.0,
    max_reply_bytes: int = 1_000_000,
) -> ApiCall:
    return ApiCall(method, target, headers, body, timeout_s, max_reply_bytes)


def always() -> bool:
    return True


def test_connections_are_reused(api: ScriptedApiServer, server: ApiServer) -> None:
    for _ in range(5):
        server.send(call(), always)
    assert len(api.seen) == 5
    assert api.connections == 1


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb%2Ctier+in+%28a%2Cb%29&limit=500",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        "/api/v1/namespaces/default/services/https:web:8443/proxy/a/b/?q=%20%2F%26",
        "/api/v1/namespaces/default/configmaps/a%20b",
        "/openapi/v3?timeout=32s",
    ],
)
def test_path_and_query_go_out_as_authorised(target: str, api: ScriptedApiServer, server: ApiServer) -> None:
    path, _, query = target.partition("?")
    assert passthrough.target(parse_attributes("GET", path, query), query, NAMESPACE, 28) == target
    server.send(call(target=target), always)
    assert api.seen[0].target == target


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_every_verb_and_body_passes(method: str, api: ScriptedApiServer, server: ApiServer) -> None:
    body = b"" if method in ("GET", "HEAD") else b"\x00\xff body"
    headers = [("Content-Type", "application/apply-patch+yaml")] if body else []
    reply = server.send(call(method, headers=headers, body=body), always)
    [seen] = api.seen
    assert (seen.method, seen.body) == (method, body)
    assert seen.header("Content-Type") == ("application/apply-patch+yaml" if body else None)
    assert reply.status == 200
    assert reply.body == (b"" if method == "HEAD" else b'{"kind":"PodList"}')


def test_nothing_is_sent_when_the_gate_says_no(api: ScriptedApiServer, server: ApiServer) -> None:
    with pytest.raises(NotStartedError) as caught:
        server.send(call("DELETE"), lambda: False)
    assert not caught.value.sent
    assert api.connections <= 1
    assert api.seen == []


def test_the_gate_is_asked_after_the_connection_stands(api: ScriptedApiServer, server: ApiServer) -> None:
    connected: list[int] = []

    def may_start() -> bool:
        deadline = time.monotonic() + 2
        while api.connections == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        connected.append(api.connections)
        return True

    server.send(call(), may_start)
    assert connected == [1]


def test_redirects_are_not_followed(api: ScriptedApiServer, server: ApiServer) -> None:
    api.reply = lambda _: ScriptedReply(307, [("Location", "/elsewhere")])
    reply = server.send(call(), always)
    assert reply.status == 307
    assert len(api.seen) == 1
    with pytest.raises(StatusError) as caught:
        passthrough.response(reply)
    assert caught.value.code == 502


def test_server_errors_pass_with_their_headers(api: ScriptedApiServer, server: ApiServer) -> None:
    api.reply = lambda _: ScriptedReply(429, [("Retry-After", "1"), ("Set-Cookie", "a=b")], b"{}")
    envelope = passthrough.response(server.send(call(), always))
    assert (envelope.status, envelope.body) == (429, b"{}")
    assert envelope.headers == (("Retry-After", "1"),)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_mutation_that_the_server_answers_with_an_error_is_not_sent_again(
    method: str, status: int, api: ScriptedApiServer, server: ApiServer
) -> None:
    api.reply = lambda _: ScriptedReply(status, [("Retry-After", "0")], b'{"kind":"Status"}')
    envelope = passthrough.response(server.send(call(method, body=b"{}"), always))
    assert (envelope.status, envelope.body) == (status, b'{"kind":"Status"}')
    assert len(api.seen) == 1


def test_a_reply_over_the_limit_is_not_taken(api: ScriptedApiServer, server: ApiServer) -> None:
    api.reply = lambda _: ScriptedReply(body=b"x" * 200_000)
    with pytest.raises(ReplyTooLargeError):
        server.send(call(max_reply_bytes=100_000), always)
    api.reply = lambda _: ScriptedReply()
    assert server.send(call(), always).status == 200


def test_a_slow_reply_times_out(api: ScriptedApiServer, server: ApiServer) -> None:
    released = threading.Event()

    def slow(_: object) -> ScriptedReply:
        released.wait(5)
        return ScriptedReply()

    api.reply = slow
    with pytest.raises(ReplyTimeoutError) as caught:
        server.send(call(timeout_s=0.1), always)
    released.set()
    assert caught.value.sent


def test_a_reply_that_pauses_ends_with_the_calls_time_and_not_as_much_later(
    api: ScriptedApiServer, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, released, is_late = time.monotonic(), threading.Event(), threading.Event()

    def pausing() -> Iterator[bytes]:
        is_late.set()
        yield b"first"
        released.wait(60)

    api.reply = lambda _: ScriptedReply(chunks=pausing())
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + (29.5 if is_late.is_set() else 0.0))
    monkeypatch.setattr(connection, "time", clock)
    with pytest.raises(ReplyTimeoutError):
        server.send(call(timeout_s=30.0), always)
    released.set()
    assert time.monotonic() - began < 20
    # The next call has its own time.
    api.reply = lambda _: ScriptedReply()
    assert server.send(call(timeout_s=30.0), always).status == 200


def test_a_broken_connection_says_that_the_request_was_sent(
    api: ScriptedApiServer, server: ApiServer
) -> None:
    api.reply = lambda _: ScriptedReply(hang_up=True)
    with pytest.raises(NoReplyError) as caught:
        server.send(call("DELETE"), always)
    assert caught.value.sent
    assert len(api.seen) == 1


def test_an_unreachable_server_says_that_nothing_was_sent() -> None:
    with scripted_api_server() as gone:
        pass
    server = ApiServer(lambda: gone.configuration, connections=1)
    with pytest.raises(NotSentError) as caught:
        server.send(call("DELETE"), always)
    server.close()
    assert not caught.value.sent
    assert "127.0.0.1" not in str(caught.value)


def test_refused_credentials_are_read_again_once(api: ScriptedApiServer) -> None:
    tokens = iter(["Bearer old", "Bearer new"])

    def load() -> Any:
        configuration = api.configuration
        configuration.api_key["BearerToken"] = next(tokens, "Bearer new")
        return configuration

    api.reply = lambda seen: ScriptedReply(200 if seen.header("Authorization") == "Bearer new" else 401)
    server = ApiServer(load, connections=1)
    assert server.send(call("DELETE"), always).status == 200
    assert [seen.header("Authorization") for seen in api.seen] == ["Bearer old", "Bearer new"]
    api.reply = lambda _: ScriptedReply(401)
    assert server.send(call("DELETE"), always).status == 401
    assert len(api.seen) == 3
    server.close()


def test_what_a_pod_refuses_with_401_is_not_sent_again(api: ScriptedApiServer) -> None:
    """It may have done what it was asked, and credentials that were rotated meanwhile prove nothing."""
    tokens = iter(["Bearer old", "Bearer new"])

    def load() -> Any:
        configuration = api.configuration
        configuration.api_key["BearerToken"] = next(tokens, "Bearer new")
        return configuration

    api.reply = lambda _: ScriptedReply(401)
    server = ApiServer(load, connections=1)
    asked = replace(call("POST", "/api/v1/namespaces/default/pods/web/proxy/"), proxied=True)
    assert server.send(asked, always).status == 401
    assert len(api.seen) == 1
    server.close()


@pytest.mark.parametrize("status", [101, 301, 308, 401])
def test_what_must_not_reach_the_caller_becomes_a_502(status: int) -> None:
    with pytest.raises(StatusError) as caught:
        passthrough.response(RawReply(status, (), b""))
    assert caught.value.code == 502


def test_a_401_from_behind_a_proxy_is_not_told_as_the_api_servers() -> None:
    with pytest.raises(StatusError, match="what is behind the proxy") as caught:
        passthrough.response(RawReply(401, (), b""), proxied=True)
    assert caught.value.code == 502


def test_not_modified_passes() -> None:
    assert passthrough.response(RawReply(304, (("ETag", '"a"'),), b"")).status == 304


@pytest.mark.parametrize(
    ("query", "bounded"),
    [
        ("watch=true", "watch=true&timeoutSeconds=28"),
        ("watch=1&timeoutSeconds=600&resourceVersion=7", "watch=1&resourceVersion=7&timeoutSeconds=28"),
        ("timeoutSeconds=1&watch=1", "watch=1&timeoutSeconds=1"),
        ("watch=1&timeoutSeconds=0", "watch=1&timeoutSeconds=28"),
        ("watch=1&timeoutSeconds=1&timeoutSeconds=900", "watch=1&timeoutSeconds=1"),
        ("watch=1&timeout%53econds=900", "watch=1&timeoutSeconds=28"),
        ("watch=1&timeoutSeconds=1e9", "watch=1&timeoutSeconds=28"),
        (f"watch=1&timeoutSeconds={'9' * 5000}", "watch=1&timeoutSeconds=28"),
    ],
)
def test_a_watch_has_an_end(query: str, bounded: str) -> None:
    attributes = parse_attributes("GET", "/api/v1/pods", query)
    assert passthrough.target(attributes, query, NAMESPACE, 28) == f"/api/v1/pods?{bounded}"


@pytest.mark.parametrize(
    ("path", "query", "sent"),
    [
        ("/api/v1/secrets", "", "fieldSelector=metadata.namespace%21%3Ddaas-system"),
        (
            "/api/v1/secrets",
            "limit=5&fieldSelector=",
            "limit=5&fieldSelector=metadata.namespace%21%3Ddaas-system",
        ),
        (
            "/api/v1/secrets",
            "field%53elector=type%3DOpaque&limit=5",
            "limit=5&fieldSelector=type%3DOpaque%2Cmetadata.namespace%21%3Ddaas-system",
        ),
        (
            "/api/v1/watch/secrets",
            "",
            "timeoutSeconds=28&fieldSelector=metadata.namespace%21%3Ddaas-system",
        ),
        ("/api/v1/namespaces/default/secrets", "limit=5", "limit=5"),
        ("/apis/example.com/v1/secrets", "limit=5", "limit=5"),
    ],
)
def test_secrets_of_all_namespaces_leave_out_the_listeners(path: str, query: str, sent: str) -> None:
    attributes = parse_attributes("GET", path, query)
    assert passthrough.target(attributes, query, NAMESPACE, 28) == f"{path}?{sent}"


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "/api/v1/namespaces/default/pods/web/exec", "command=sh"),
        ("GET", "/api/v1/namespaces/default/pods/web/attach", ""),
        ("POST", "/api/v1/namespaces/default/pods/web/portforward", ""),
    ],
)
def test_streams_are_refused_with_501(method: str, path: str, query: str) -> None:
    with pytest.raises(StatusError) as caught:
        passthrough.refuse_streams(parse_attributes(method, path, query))
    assert caught.value.code == 501


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"KUBECONFIG .*absent"):
        load_configuration(tmp_path / "absent")


@pytest.mark.parametrize("content", ["", "{{{", "- a", "clusters: 7\ncurrent-context: x", "secret: \x00"])
def test_a_file_that_is_no_kubeconfig_is_named_without_its_content(content: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(content)
    with pytest.raises(ConfigurationError, match="KUBECONFIG") as caught:
        load_configuration(kubeconfig)
    assert "secret" not in str(caught.value)


def test_without_a_kubeconfig_the_service_account_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="KUBECONFIG is not set"):
        load_configuration(None)


def test_credentials_come_from_the_kubeconfig(tmp_path: Path, api: ScriptedApiServer) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "http://127.0.0.1:{api.port}/prefix"}}}}]
users: [{{name: test, user: {{token: from-the-file}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
"""
    )
    server = ApiServer(lambda: load_configuration(kubeconfig), connections=1)
    server.send(call(target="/version"), always)
    server.close()
    assert api.seen[0].target == "/prefix/version"
    assert api.seen[0].header("Authorization") == "Bearer from-the-file"
