"""What is executed is what was authorised: paths that two programs could read differently are refused."""

import contextlib
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k3s_daas.attributes import MAX_PATH_CHARS, MAX_QUERY_CHARS, parse_attributes
from k3s_daas.errors import MalformedRequestError


@pytest.mark.parametrize(
    "path",
    [
        "",
        "api/v1/pods",
        "//api/v1/pods",
        "/api//v1/pods",
        "/api/v1/pods//",
        "/api/v1/namespaces//pods",
        "/api/v1/namespaces/a/../b/pods",
        "/api/v1/namespaces/./pods",
        "/api/v1/namespaces/%2e%2e/pods",
        "/api/v1/namespaces/.%2E/pods",
        "/..",
        "/healthz/..",
        "/api/v1/namespaces/a%2fb/pods",
        "/api/v1/namespaces/a%2Fb/pods",
        "/api/v1/pods/a%252fb",
        "/api/v1/pods/a%25",
        "/api/v1/pods/a%00",
        "/api/v1/pods/a%0ab",
        "/api/v1/pods/a%7f",
        "/api/v1/pods/a%c2%85",
        "/api/v1/pods/a%e2%80%ae",
        "/api/v1/pods/a%e2%80%a8b",
        "/api/v1/pods/a\\b",
        "/api/v1/pods/a%5cb",
        "/api/v1/pods/a%ff",
        "/api/v1/pods/a%c0%af",
        "/api/v1/pods/a%ed%a0%80",
        "/api/v1/pods/a%",
        "/api/v1/pods/a%4",
        "/api/v1/pods/a%zz",
        "/api/v1/pods/a b",
        "/api/v1/pods/a\tb",
        "/api/v1/pods/a?b",
        "/api/v1/pods/a#b",
        "/api/v1/pods/ä",
        "/api/v1/pods\n",
        "http://host/api/v1/pods",
        "/" + "a" * MAX_PATH_CHARS,
    ],
)
def test_ambiguous_paths_are_refused(path: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        parse_attributes("GET", path, "")
    assert len(path) < 4 or path[1:] not in str(caught.value), "a refusal does not repeat what it refuses"


@pytest.mark.parametrize(
    "query",
    [
        *("a;b", "watch=1;x=2", "a=%", "a=%zz", "a b", "a=%ff", "a=%00", "a=%0d%0a", "a#b", "ä=1", "a=\x00"),
        "a=" + "b" * MAX_QUERY_CHARS,
    ],
)
def test_ambiguous_queries_are_refused(query: str) -> None:
    with pytest.raises(MalformedRequestError):
        parse_attributes("GET", "/api/v1/pods", query)


def test_unusual_but_sound_names_are_kept() -> None:
    attributes = parse_attributes(
        "GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%20b:%C3%BC%2b", ""
    )
    assert attributes.name == "a b:ü+"
    assert attributes.path == "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%20b:%C3%BC+"


def test_a_query_does_not_change_what_is_authorised_by_its_spelling() -> None:
    plain = parse_attributes("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dweb&watch=true")
    spelt = parse_attributes("GET", "/api/v1/pods", "%66ieldSelector=metadata.name=web&watch=%74rue&&")
    assert plain == spelt


@pytest.mark.parametrize("path", ["/api/v1/nodes/n/proxy/%2e%2e/x", "/api/v1/nodes/n/proxy//x"])
def test_the_tail_behind_a_proxy_is_held_to_the_same_rules(path: str) -> None:
    with pytest.raises(MalformedRequestError):
        parse_attributes("GET", path, "")


SEGMENTS = st.one_of(
    st.sampled_from(
        ["api", "apis", "v1", "namespaces", "pods", "watch", "proxy", "status", "a", "..", ".", ""]
    ),
    st.sampled_from(["%2e", "%2f", "%25", "%5c", "%00", "%c3%bc", "a%20b", "~", "a;b", "a:b", "%61pi", "*"]),
    st.text("abAB%2fe.\\/;?# ü\u202e", max_size=6),
)


@given(method=st.sampled_from(["GET", "POST", "DELETE"]), segments=st.lists(SEGMENTS, max_size=10))
def test_whatever_is_accepted_has_one_reading(method: str, segments: list[str]) -> None:
    wire = "/" + "/".join(segments)
    with contextlib.suppress(MalformedRequestError):
        attributes = parse_attributes(method, wire, "")
        canonical = attributes.path
        # Decoding once more, re-quoting, or normalising as a URL leaves segments as they are.
        decoded = attributes.decoded_path
        # At most the slash at the end of a resource path is gone.
        assert unquote(wire) in (decoded, decoded + "/" * attributes.is_resource_request)
        assert unquote(decoded) == decoded
        assert decoded.split("/") == [unquote(segment) for segment in canonical.split("/")]
        assert urlsplit("https://host" + canonical).path == canonical
        assert not {"", ".", ".."} & set(decoded.strip("/").split("/")) or decoded == "/"
        assert quote(decoded, safe="/!$&'()*+,;=:@~-._") == canonical
        # The canonical form is a fixed point: reading it again says the same.
        assert parse_attributes(method, canonical, "") == attributes


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_but_a_refusal_comes_of_junk(path: str, query: str) -> None:
    with contextlib.suppress(MalformedRequestError):
        parse_attributes("GET", "/" + path, query)
