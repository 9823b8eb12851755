"""A holder with all rights, and somebody with none, against the whole stack: the listener's namespace stays
shut, and nobody chooses an identity.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.local.kubectl import find_kubectl
from k3s_daas.cli.holder import Holder

pytestmark = pytest.mark.timeout(180)

RESERVED = "daas-system"
PODS = "/api/v1/namespaces/default/pods"


def token(stack: Any, name: str) -> str:
    holder = Holder.load(stack.state / "keys" / f"{name}.json")
    return holder.token(time.time_ns() // 1_000_000).encode()


def send(
    stack: Any, method: str, target: str, headers: Sequence[tuple[str, str]] = (), holder: str = "operator"
) -> tuple[int, dict[str, Any]]:
    """One request as it is written here: no client normalises it. No `holder` sends no token."""
    gateway = urlsplit(stack.endpoints["gateway"])
    trust = ssl.create_default_context(cafile=str(stack.state / "tls" / "ca.crt"))
    connection = http.client.HTTPSConnection(str(gateway.hostname), gateway.port, timeout=40, context=trust)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        if holder:
            connection.putheader("Authorization", f"Bearer {token(stack, holder)}")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        reply = connection.getresponse()
        body = reply.read()
        assert reply.getheader("Location") is None
        return reply.status, json.loads(body) if body else {}
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", f"/api/v1/namespaces/{RESERVED}", 403),
        ("GET", f"/api/v1/namespaces/{RESERVED}/secrets", 403),
        ("GET", "/api/v1/namespaces/%64aas-system/secrets", 403),
        ("GET", f"/api/v1/watch/namespaces/{RESERVED}/secrets", 403),
        ("GET", f"/api/v1/namespaces?fieldSelector=metadata.name%3D{RESERVED}", 403),
        ("GET", f"/api/v1/namespaces/default/../{RESERVED}/secrets", 400),
        ("GET", f"/api/v1/namespaces/default/%2e%2e/{RESERVED}/secrets", 400),
        ("GET", f"/api/v1/namespaces/default/%252e%252e/{RESERVED}/secrets", 400),
        ("GET", f"/api/v1/namespaces/default%2f{RESERVED}/secrets", 400),
        ("GET", f"//api/v1/namespaces/{RESERVED}/secrets", 400),
        ("GET", f"/API/v1/namespaces/{RESERVED}/secrets", 400),
        ("GET", f"/api/v1/proxy/namespaces/{RESERVED}/pods/x", 400),
        ("PUT", f"/api/v1/namespaces/{RESERVED}/finalize", 403),
        ("POST", f"/api/v1/namespaces/{RESERVED}/serviceaccounts/daas-listener/token", 403),
        ("DELETE", f"/api/v1/namespaces/{RESERVED}", 403),
    ],
)
def test_no_spelling_reaches_the_listeners_namespace(
    shared_stack: Any, method: str, target: str, code: int
) -> None:
    status, body = send(shared_stack, method, target)
    assert (status, body["kind"]) == (code, "Status")


def test_the_listeners_secrets_are_in_no_list_of_all_namespaces(shared_stack: Any) -> None:
    admin = shared_stack.state / "keys" / "kubernetes-admin.kubeconfig"
    for namespace in (RESERVED, "default"):
        created = [
            *(str(find_kubectl()), "--kubeconfig", str(admin), "-n", namespace),
            *("create", "secret", "generic", "key-of-" + namespace, "--from-literal=key=value"),
        ]
        subprocess.run(created, check=True, capture_output=True, timeout=60)
    for selector in ("", f"?fieldSelector=metadata.namespace%3D{RESERVED}", "?fieldSelector=type%3DOpaque"):
        status, body = send(shared_stack, "GET", f"/api/v1/secrets{selector}")
        assert status == 200
        found = {item["metadata"]["namespace"] for item in body["items"]}
        assert RESERVED not in found
        assert ("default" in found) == (RESERVED not in selector)


@pytest.mark.parametrize(
    "header",
    [
        ("Impersonate-User", "system:admin"),
        ("IMPERSONATE_GROUP", "system:masters"),
        ("X-Remote-User", "admin"),
        ("authorization", "Bearer another"),
    ],
)
def test_nobody_chooses_an_identity(shared_stack: Any, header: tuple[str, str]) -> None:
    assert send(shared_stack, "GET", PODS, [header])[0] == 403


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_no_header_changes_what_a_reader_does(shared_stack: Any, header: str) -> None:
    status, body = send(shared_stack, "GET", PODS, [(header, "DELETE")], holder="viewer")
    assert (status, body["kind"]) == (200, "PodList")


@pytest.mark.parametrize(
    "query", ["watch=0&watch=1", "watch=0&%77atch=1", "fieldSelector=a%3Db&fieldSelector="]
)
def test_a_query_that_reads_two_ways_is_refused(shared_stack: Any, query: str) -> None:
    assert send(shared_stack, "GET", f"{PODS}?{query}")[0] == 400


def test_without_a_token_there_is_nothing_to_see(shared_stack: Any) -> None:
    for target in ("/", "/version", "/api", "/healthz", PODS):
        status, body = send(shared_stack, "GET", target, holder="")
        assert (status, body["reason"]) == (401, "Unauthorized")


def test_no_log_holds_a_token(shared_stack: Any) -> None:
    send(shared_stack, "GET", PODS)
    for log in (shared_stack.state / "logs").iterdir():
        assert "kdaas1." not in log.read_text()


def test_a_refusal_is_in_a_file_of_its_own_and_metrics_are_in_the_log(shared_stack: Any) -> None:
    logs = shared_stack.state / "logs"
    target = f"/api/v1/namespaces/{RESERVED}/secrets/only-asked-for-here"
    assert send(shared_stack, "GET", target)[0] == 403
    lines = [json.loads(line) for line in (logs / "refusals.log").read_text().splitlines()]
    [refusal] = [line for line in lines if line.get("name") == "only-asked-for-here"]
    assert (refusal["event"], refusal["code"], refusal["source"]) == ("refusal", 403, "127.0.0.1")
    assert "kdaas" not in "".join(map(json.dumps, lines))
    written = [
        json.loads(line) for line in (logs / "gateway.log").read_text().splitlines() if line[:1] == "{"
    ]
    reported = [line for line in written if line.get("event") == "metrics"]
    assert {"code", "verb"} <= next(line for line in written if line.get("event") == "request").keys()
    assert any(line.get("Reason") == "EReservedNamespace" for line in reported)
    assert any("MemoryRss" in line for line in reported)
