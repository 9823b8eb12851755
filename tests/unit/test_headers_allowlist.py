"""Which headers cross the chain."""

import pytest

from k3s_daas.errors import ForbiddenError, MalformedRequestError
from k3s_daas.headers import admit_request_headers, asks_for_upgrade, filter_response_headers


def test_only_listed_headers_travel_and_in_one_spelling() -> None:
    admitted = admit_request_headers(
        [
            ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            ("ACCEPT-ENCODING", "gzip"),
            ("Authorization", "Bearer kdaas1.x"),
            ("content-type", "application/vnd.kubernetes.protobuf"),
            ("Cookie", "a=b"),
            ("Host", "gateway"),
            ("kubectl-command", "kubectl apply"),
            ("Kubectl-Session", "0b6f"),
            ("User-Agent", "kubectl/v1.37.1"),
            ("X-Amzn-Trace-Id", "Root=1"),
            ("X-Forwarded-For", "10.0.0.1"),
        ]
    )
    assert admitted == [
        ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
        ("Content-Type", "application/vnd.kubernetes.protobuf"),
        ("Kubectl-Command", "kubectl apply"),
        ("Kubectl-Session", "0b6f"),
        ("User-Agent", "kubectl/v1.37.1"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Impersonate-User",
        "impersonate-group",
        "Impersonate-Extra-daas.io%2Fseal",
        "IMPERSONATE-UID",
        "Impersonate_User",
        "X-Remote-User",
        "x-remote-extra-scopes",
        "X_Remote_Group",
        " Impersonate-User",
        "Impersonate-User ",
    ],
)
def test_choosing_an_identity_is_refused(name: str) -> None:
    with pytest.raises(ForbiddenError, match=r"identity.*--as") as caught:
        admit_request_headers([("Accept", "*/*"), (name, "system:masters")])
    assert "system:masters" not in str(caught.value)


def test_two_credentials_are_refused() -> None:
    with pytest.raises(ForbiddenError, match="one bearer token"):
        admit_request_headers([("Authorization", "Bearer a"), ("authorization", "Bearer b")])


@pytest.mark.parametrize("name", ["Content-Type", "User-Agent", "Kubectl-Session"])
def test_a_single_header_comes_once(name: str) -> None:
    with pytest.raises(MalformedRequestError, match="twice"):
        admit_request_headers([(name, "a"), (name.lower(), "b")])


def test_lists_may_come_in_several_lines() -> None:
    pairs = [("If-None-Match", '"a"'), ("If-None-Match", '"b"')]
    assert admit_request_headers(pairs) == pairs


@pytest.mark.parametrize(
    "value", ["a\r\nImpersonate-User: root", "a\nb", "a\x00", "a\x7f", "\u0100", "a" * 9000]
)
def test_a_value_that_is_no_header_value_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequestError, match="user-agent"):
        admit_request_headers([("User-Agent", value)])


def test_texts_in_utf_8_pass_as_the_bytes_that_they_are() -> None:
    warning = '299 - "É ist “veraltet”"'.encode().decode("latin-1")
    assert any("\x80" <= char < "\xa0" for char in warning)
    assert filter_response_headers([("Warning", warning)]) == [("Warning", warning)]
    assert admit_request_headers([("User-Agent", warning)]) == [("User-Agent", warning)]


def test_replies_keep_what_kubectl_needs_and_nothing_that_redirects_or_sets_cookies() -> None:
    kept = filter_response_headers(
        [
            ("content-type", "application/json"),
            ("Warning", '299 - "one"'),
            ("Warning", '299 - "two"'),
            ("retry-after", "1"),
            ("audit-id", "a"),
            ("etag", '"x"'),
            ("Cache-Control", "no-cache, private"),
            ("Location", "https://elsewhere"),
            ("Set-Cookie", "a=b"),
            ("WWW-Authenticate", "Basic"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "5"),
            ("Vary", "a\r\nSet-Cookie: x"),
        ]
    )
    assert kept == [
        ("Content-Type", "application/json"),
        ("Warning", '299 - "one"'),
        ("Warning", '299 - "two"'),
        ("Retry-After", "1"),
        ("Audit-Id", "a"),
        ("ETag", '"x"'),
        ("Cache-Control", "no-cache, private"),
    ]


def test_of_what_a_reply_has_once_the_first_is_kept() -> None:
    pairs = [("Content-Type", "a/b"), ("Vary", "Accept"), ("content-type", "c/d"), ("Vary", "Origin")]
    assert filter_response_headers(pairs) == [pairs[0], pairs[1], pairs[3]]


@pytest.mark.parametrize(
    ("name", "upgrade"),
    [
        ("Upgrade", True),
        ("Sec-WebSocket-Protocol", True),
        ("x-stream-protocol-version", True),
        ("Connection", False),
        ("Accept", False),
    ],
)
def test_an_upgrade_is_recognised_by_its_headers(name: str, upgrade: bool) -> None:
    assert asks_for_upgrade([("Accept", "*/*"), (name, "v5.channel.k8s.io")]) is upgrade
