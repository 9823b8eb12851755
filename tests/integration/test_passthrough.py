"""Requests and replies cross gateway, chain and listener byte for byte: any that a client may send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, quote_plus, unquote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from k3s_daas.headers import REQUEST_HEADERS, RESPONSE_HEADERS
from k3s_daas.rbac import Rule
from tests.instant.api_server import WireReply, WireRequest
from tests.instant.stack import API_SERVER_TOKEN, HOLDER, InstantStack, instant_stack

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EVERYTHING = (
    Rule(("*",), ("*",), ("*", "services/proxy", "pods/proxy")),
    Rule(("*",), non_resource_urls=("*",)),
)
CONTENT_TYPES = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
    "application/cbor-seq",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/octet-stream",
    "text/plain; charset=utf-8",
)
# What the listener adds for the API server, or the HTTP library for the connection.
OURS = {"host", "authorization", "accept-encoding", "content-length", "user-agent"}
REPLY_STATUSES = [200, 201, 202, 204, 304, 400, 403, 404, 405, 406, 409, 410, 415, 422, 429, 500, 503, 504]

# Every byte that may stand in a header's value; blanks at its ends are no part of it.
VALUES = st.text([chr(code) for code in (*range(0x20, 0x7F), *range(0x80, 0x100))], max_size=40).map(
    str.strip
)
WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
NAMES = st.one_of(
    WORDS,
    st.sampled_from(["system:node", "a b", "a;b", "https:web:8443", "ünïcode", "a+b", "x,y", "€", "@$&="]),
)
VERSIONS = st.sampled_from(["/api/v1", "/apis/apps/v1", "/apis/example.com/v1alpha1"])


@st.composite
def segments(draw: st.DrawFn) -> str:
    """One encoded path segment, in any of the spellings that mean the same."""
    return quote(draw(NAMES), safe=draw(st.sampled_from(["", "!$&'()*+,;=:@~", ":@&=+$,;"])))


@st.composite
def paths(draw: st.DrawFn) -> str:
    resource = draw(st.sampled_from(["pods", "configmaps", "widgets"]))
    base = draw(VERSIONS)
    if draw(st.booleans()):
        base += "/namespaces/" + draw(st.sampled_from(["default", "demo"]))
    kind = draw(st.sampled_from(["collection", "object", "subresource", "proxy", "url"]))
    name = draw(segments())
    if kind == "collection":
        return f"{base}/{resource}"
    if kind == "object":
        return f"{base}/{resource}/{name}"
    if kind == "subresource":
        return f"{base}/{resource}/{name}/" + draw(st.sampled_from(["status", "scale", "log", "eviction"]))
    if kind == "proxy":
        tail = draw(st.lists(segments(), max_size=4))
        end = draw(st.sampled_from(["", "/"]))
        return "/".join(["/api/v1/namespaces/default/services", name, "proxy", *tail]) + end
    return (
        "/"
        + "/".join(["metrics", *draw(st.lists(segments(), max_size=5))])
        + draw(st.sampled_from(["", "/"]))
    )


# The values of these decide on the verb, or change on the way; other tests look at them.
_KEYS = st.sampled_from(["labelSelector", "limit", "dryRun", "fieldManager", "x", "continue", "ключ", "a b"])
QUERIES = st.lists(st.tuples(_KEYS, st.text(max_size=12).filter(str.isprintable)), max_size=6)


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    pairs: list[tuple[str, str]]
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def target(self) -> str:
        query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in self.pairs)
        return f"{self.path}?{query}" if query else self.path

    @property
    def admitted(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self.headers if name.lower() in REQUEST_HEADERS]


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    method = draw(st.sampled_from(METHODS))
    body = draw(st.binary(max_size=2_000)) if method not in ("GET", "HEAD") or draw(st.booleans()) else b""
    headers = [("Content-Type", draw(st.sampled_from(CONTENT_TYPES)))] if body else []
    for name in ("Accept", "User-Agent", "Kubectl-Command", "Kubectl-Session", "If-Match"):
        if draw(st.booleans()):
            headers.append((draw(st.sampled_from([name, name.lower(), name.upper()])), draw(VALUES)))
    headers += [("If-None-Match", value) for value in draw(st.lists(VALUES, max_size=2))]
    for name in ("Cookie", "X-Forwarded-For", "X-Amzn-Trace-Id", "Forwarded", "Via", "Origin", "X-Custom"):
        if draw(st.booleans()):
            headers.append((name, draw(VALUES)))
    return Sent(method, draw(paths()), draw(QUERIES), tuple(headers), body)


@st.composite
def replies(draw: st.DrawFn) -> WireReply:
    headers: list[tuple[str, str]] = []
    if draw(st.booleans()):
        headers.append(
            ("Content-Type", draw(st.sampled_from([*CONTENT_TYPES, "application/json;stream=watch"])))
        )
    for name in (
        "ETag",
        "Audit-Id",
        "Retry-After",
        "Cache-Control",
        "Last-Modified",
        "Location",
        "Set-Cookie",
    ):
        if draw(st.booleans()):
            headers.append((name, draw(VALUES)))
    headers += [("Warning", f'299 - "{value}"') for value in draw(st.lists(VALUES, max_size=3))]
    return WireReply(draw(st.sampled_from(REPLY_STATUSES)), tuple(headers), draw(st.binary(max_size=2_000)))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstantStack]:
    with instant_stack(tmp_path_factory.mktemp("instant"), EVERYTHING) as running:
        yield running


def crossed(stack: InstantStack, sent: Sent) -> WireRequest:
    """What reached the API server last, once, without the headers that are ours."""
    seen = stack.api.requests.pop()
    assert stack.api.requests == []
    assert seen.values("Authorization") == [f"Bearer {API_SERVER_TOKEN}"]
    assert seen.values("Accept-Encoding") == ["identity"]
    if sent.path.rstrip("/") != "/metrics":
        assert seen.values("Impersonate-User") == [HOLDER]
    return seen


def grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """API Gateway keeps the order of the values of each key, and of the keys where they came first."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


@settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(sent=requests(), reply=replies())
def test_what_a_client_sends_arrives_and_what_is_answered_comes_back(
    stack: InstantStack, sent: Sent, reply: WireReply
) -> None:
    stack.api.requests.clear()
    stack.api.answer = lambda _: reply
    received = stack.send(sent.method, sent.target, sent.headers, sent.body)
    seen = crossed(stack, sent)

    path, _, query = seen.target.partition("?")
    assert (seen.method, seen.body) == (sent.method, sent.body)
    assert [unquote(part) for part in path.split("/")] == [unquote(part) for part in sent.path.split("/")]
    pairs = parse_qsl(query, keep_blank_values=True)
    assert list(grouped(pairs).items()) == list(grouped(sent.pairs).items())
    if list(grouped(sent.pairs)) == [name for name, _ in sent.pairs]:
        # As client-go spells a query, it arrives to the letter.
        assert query == sent.target.partition("?")[2]
    passed = [(name.lower(), value) for name, value in seen.headers if name.lower() in REQUEST_HEADERS]
    if not any(name == "user-agent" for name, _ in sent.admitted):
        passed.remove(("user-agent", "k3s-daas-listener"))
    assert sorted(passed) == sorted(sent.admitted)
    foreign = {name.lower() for name, _ in seen.headers} - REQUEST_HEADERS.keys() - OURS
    assert all(name.startswith("impersonate-") for name in foreign)

    assert received.status == reply.status
    bodiless = sent.method == "HEAD" or reply.status in (204, 304)
    assert received.body == (b"" if bodiless else reply.body)
    expected = [(name, value) for name, value in reply.headers if name.lower() in RESPONSE_HEADERS]
    if not any(name == "Content-Type" for name, _ in expected):
        expected += [pair for pair in received.headers if pair[0] == "Content-Type"]
    diagnostic = [name for name, _ in received.headers if name.lower() not in RESPONSE_HEADERS]
    assert set(diagnostic) <= {"Server-Timing", *(n for n in diagnostic if n.startswith("X-Daas-"))}
    kept = [pair for pair in received.headers if pair[0] not in diagnostic]
    assert sorted(kept) == sorted(expected)
