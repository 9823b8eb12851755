"""What a client may try, as data: made by Hypothesis, which also makes a failure smaller.

Each request begins as one that is served, and is then spoilt in some places: so that the fuzz reaches what
lies behind the first check, too. Tokens are described and made when the request is sent, since they age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st

from tests.fuzz_gateway.events import SHAPES
from tests.fuzz_gateway.tokens import KINDS, TokenSpec
from tests.fuzz_gateway.vocabulary import (
    BODIES,
    CANARY,
    CARRIED,
    CONTENT_TYPES,
    DROPPED,
    HEADER_VALUES,
    KEYS,
    METHODS,
    NAMES,
    OK,
    OTHER_METHODS,
    PATHS,
    PLAIN_QUERIES,
    REFUSED,
    REPLIES,
    SEGMENTS,
    SERVED,
    VALUES,
    WATCHES,
)
from tests.instant.api_server import WireReply

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Hostile:
    """One request, the way its event is shaped, and what the API server says to it."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    token: TokenSpec
    shapes: tuple[str, ...] = ()
    reply: WireReply = OK

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def __repr__(self) -> str:
        """Enough to send it again; a body of many equal bytes as what it is."""
        body = repr(self.body) if len(self.body) < 200 else f"{self.body[:1]!r} * {len(self.body)}"
        parts = (self.method, self.path, self.query, self.headers)
        rest = f"{self.token!r}, {self.shapes!r}, {self.reply!r}"
        return f"Hostile({', '.join(map(repr, parts))}, {body}, {rest})"


Draw = st.DrawFn
Spoil = Callable[[Draw, Hostile], Hostile]


def _method(draw: Draw, request: Hostile) -> Hostile:
    return replace(request, method=draw(st.sampled_from(OTHER_METHODS)))


def _segment(draw: Draw, request: Hostile) -> Hostile:
    parts = request.path.split("/")
    place = draw(st.integers(1, len(parts)))
    new = draw(st.sampled_from(SEGMENTS) | st.text(max_size=12).map(quote))
    return replace(request, path="/".join([*parts[:place], new, *parts[place + draw(st.integers(0, 1)) :]]))


def _whole_path(draw: Draw, request: Hostile) -> Hostile:
    wild = st.text(max_size=30) | st.lists(st.sampled_from(SEGMENTS), max_size=15).map("/".join)
    deep = st.integers(12, 40).map(lambda count: "a/" * count)
    begin = draw(st.sampled_from(["/", "", "//", "/api/", "/apis/"]))
    return replace(request, path=begin + draw(wild | deep))


def _parameter(draw: Draw, request: Hostile) -> Hostile:
    name = draw(st.sampled_from(KEYS) | st.text(max_size=8).map(quote_plus))
    value = draw(st.sampled_from(VALUES) | st.text(max_size=12).map(quote_plus))
    pair = draw(
        st.sampled_from([f"{name}={value}", name, f"{name}={value}&{name}=true", f"&&{name}={value}"])
    )
    return replace(request, query="&".join(filter(None, [request.query, pair])))


def _header(draw: Draw, request: Hostile) -> Hostile:
    name = draw(st.sampled_from(NAMES) | st.text("abcXYZ-_", min_size=1, max_size=8))
    value = draw(st.sampled_from(HEADER_VALUES) | st.text(max_size=12))
    times = draw(st.sampled_from([1, 1, 1, 2, 30]))
    return replace(request, headers=(*request.headers, *([(name, value)] * times)))


def _other_case(draw: Draw, request: Hostile) -> Hostile:
    """A header once more, in other letters and with another value: not every reader sees two of one."""
    name, _ = draw(st.sampled_from([*request.headers, ("Authorization", "")]))
    twin = (name.swapcase(), draw(st.sampled_from(HEADER_VALUES)))
    headers = [*request.headers, twin] if draw(st.booleans()) else [twin, *request.headers]
    return replace(request, headers=tuple(headers))


def _content_type(draw: Draw, request: Hostile) -> Hostile:
    pair = ("Content-Type", draw(st.sampled_from(CONTENT_TYPES)))
    return replace(request, headers=(*request.headers, pair))


def _many_parameters(draw: Draw, request: Hostile) -> Hostile:
    pair = f"{draw(st.sampled_from(KEYS))}={draw(st.sampled_from(['', '1', CANARY]))}"
    return replace(request, query="&".join([request.query, *[pair] * draw(st.sampled_from([2, 100, 3_000]))]))


def _refused_header(draw: Draw, request: Hostile) -> Hostile:
    pair = (draw(st.sampled_from(REFUSED)), draw(st.sampled_from(["root", "SPDY/3.1", CANARY])))
    return replace(request, headers=(*request.headers, pair))


def _body(draw: Draw, request: Hostile) -> Hostile:
    return replace(request, body=draw(st.sampled_from(BODIES) | st.binary(max_size=300)))


def _token(draw: Draw, request: Hostile) -> Hostile:
    kind = draw(st.sampled_from(KINDS))
    return replace(request, token=TokenSpec(kind, draw(st.integers(0, 400)), draw(st.integers(1, 127))))


def _shape(draw: Draw, request: Hostile) -> Hostile:
    return replace(request, shapes=(*request.shapes, draw(st.sampled_from(sorted(SHAPES)))))


def _reply(draw: Draw, request: Hostile) -> Hostile:
    return replace(request, reply=draw(st.sampled_from(REPLIES)))


SPOILS: tuple[Spoil, ...] = (
    *(
        _method,
        _segment,
        _segment,
        _whole_path,
        _parameter,
        _parameter,
        _header,
        _header,
        _other_case,
        _content_type,
        _refused_header,
        _many_parameters,
        _body,
    ),
    *(_token, _token, _shape, _reply, _reply),
)


def corpus() -> Iterator[Hostile]:
    """Everything once, with nothing else spoilt: so that no rule is left to chance."""
    get = Hostile("GET", SERVED[0], "limit=5", (), b"", TokenSpec("full"))
    post = replace(get, method="POST", body=b'{"kind":"Pod"}')
    for path in dict.fromkeys(PATHS):
        yield from (replace(get, path=path), replace(post, path=path))
    yield replace(get, path="/a" * 13)
    for segment in SEGMENTS:
        yield replace(get, path=f"{SERVED[0]}/{segment}")
    for method in (*METHODS, *OTHER_METHODS):
        yield replace(get, method=method)
    yield from _known_headers(get)
    for media in CONTENT_TYPES:
        yield replace(post, method="PATCH", headers=(("Content-Type", media),))
    for query in WATCHES:
        yield replace(get, query=query)
        yield replace(get, path=f"{SERVED[1]}/log", query=query.replace("watch", "follow"))
    for kind in KINDS:
        yield replace(get, token=TokenSpec(kind, 200))
    for kind in ("read-only", "one-namespace"):
        yield replace(post, token=TokenSpec(kind))
    for shape in SHAPES:
        yield replace(post, shapes=(shape,))
    for reply in REPLIES:
        yield replace(get, reply=reply)
    for body in BODIES:
        yield replace(post, body=body)


def _known_headers(get: Hostile) -> Iterator[Hostile]:
    for name in (*DROPPED, *REFUSED):
        yield replace(get, headers=((name, CANARY),))
    for pair in CARRIED:
        yield replace(get, headers=(pair, pair))
    for name, value in (("Authorization", "Bearer x"), ("User-Agent", "b"), ("Accept", "*/*")):
        yield replace(get, headers=((name, value), (name.swapcase(), CANARY)))


@st.composite
def hostile_requests(draw: Draw) -> Hostile:
    """Any of them; about one in three is served."""
    method = draw(st.sampled_from(METHODS))
    body = b'{"kind":"Pod"}' if method not in ("GET", "HEAD") else b""
    dropped = tuple(
        (name, CANARY) for name in draw(st.lists(st.sampled_from(DROPPED), max_size=6, unique=True))
    )
    carried = tuple(draw(st.lists(st.sampled_from(CARRIED), max_size=3, unique=True)))
    headers: Headers = (("Accept", "application/json"), ("User-Agent", "kubectl/v1.37.1"), *dropped, *carried)
    query = draw(st.sampled_from(PLAIN_QUERIES))
    request = Hostile(method, draw(st.sampled_from(PATHS)), query, headers, body, TokenSpec("full"))
    for spoil in draw(st.lists(st.sampled_from(SPOILS), max_size=3)):
        request = spoil(draw, request)
    return request
