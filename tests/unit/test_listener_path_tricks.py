"""Whatever a gateway seals, the request that reaches the API server is the one that the contract authorised.

A gateway that was taken over chooses method, path, query and headers, and what it has the contract authorise.
The recording server's request lines are read by `kube_reading`, which knows nothing of the product.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unittest.mock import patch
from urllib.parse import unquote

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.envelope import RequestEnvelope
from k3s_daas.errors import MalformedRequestError
from k3s_daas.ids import request_id_text, to_hex
from k3s_daas.payload import split
from k3s_daas.sealing import request_info
from k3s_daas.status import StatusError
from listener_service.counts import Tally
from tests.unit.contract_world import CLUSTER, OWNER, SEAL
from tests.unit.kube_reading import Reading, read
from tests.unit.listener_world import World, on_chain, until
from tests.unit.running_listener import listener
from tests.unit.scripted_api_server import SeenRequest, scripted_api_server

BODY = b"body"
BATCH = 16
BATCHES = 12

IDENTITY = {"impersonate-user", "impersonate-group", "impersonate-extra-daas.io%2fseal"}
IDENTITY |= {"impersonate-extra-daas.io%2frequest-id"}

METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
OTHER_METHODS = st.sampled_from(["get", "OPTIONS", "CONNECT", "GET /api/v1/secrets HTTP/1.1\r\nX: y", ""])
NAMESPACES = st.sampled_from(
    ["default", "shop", "status", "finalize", "daas-system", "kube-system", "x", "watch"]
)
RESOURCES = st.sampled_from(["pods", "secrets", "nodes", "namespaces", "services", "deployments", "proxy"])
NAMES = st.sampled_from(
    ["web", "a.b", "system:node", "a%20b", "Web", "%C3%BC", "watch", "log", "..a", "web."]
)
SUBRESOURCES = st.sampled_from(["status", "log", "scale", "exec", "token", "proxy", "proxy/a/b", "proxy/a/"])
TRICKS = st.sampled_from(
    [
        *("..", ".", "", "%2e%2e", "%2E.", "..%2f", "%2f", "%5c", "%00", "%0d%0aX-Remote-User:%20admin"),
        *(
            "%252e%252e",
            "%25",
            "%",
            "\\",
            "..;",
            ";",
            "?",
            "#",
            "*",
            "%c0%ae%c0%ae",
            "%ef%bc%8f",
            " ",
            "\r\n",
        ),
        *(
            "namespaces",
            "kube-system",
            "secrets",
            "watch",
            "proxy",
            "x",
            "API",
            "Pods",
            "pods.",
            "%70ods",
            "ü",
        ),
    ]
)
QUERIES = st.sampled_from(
    [
        *(
            "",
            "",
            "",
            "limit=5",
            "watch=1",
            "watch=0",
            "watch=false&watch=1",
            "%77atch=1",
            "WATCH=1",
            "watch",
        ),
        *("fieldSelector=metadata.name%3Dweb", "fieldSelector=metadata.name%3Dweb&fieldSelector=a%3Db"),
        *("fieldSelector=metadata.name%3D%2e%2e", "fieldSelector=metadata.name!%3Dweb", "a;watch=1", "a=%zz"),
        *(
            "fieldSelector=metadata.name%3Ddb,metadata.name%3Dweb",
            "x=\r\nX-Remote-User: a",
            "watch=1 HTTP/1.1",
        ),
        *(
            "fieldSelector=metadata.namespace%3Dx,metadata.name%3D%3Dweb",
            "dryRun=All",
            "pretty=+",
            "watch=%31",
        ),
    ]
)
HEADERS = st.lists(
    st.sampled_from(
        [
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("User-Agent", "kubectl\r\nImpersonate-User: system:admin"),
            ("User-Agent", "kubectl\nImpersonate-Group: system:masters"),
            ("Impersonate-User", "system:admin"),
            ("impersonate_user", "system:admin"),
            ("IMPERSONATE-EXTRA-scopes", "all"),
            ("X-Remote-Group", "system:masters"),
            ("Authorization", "Bearer stolen"),
            ("Accept\r\nX-Remote-User", "admin"),
            ("Accept: a\r\nImpersonate-User", "admin"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "0"),
            ("Host", "elsewhere"),
            ("Connection", "Impersonate-User"),
            ("Accept", "a\0b"),
        ]
    ),
    max_size=2,
)


@dataclass(frozen=True)
class Line:
    """A request as it stands in an envelope."""

    method: str
    path: str
    query: str


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A request that somebody could mean."""
    if draw(st.integers(0, 9)) == 0:
        return Line(
            draw(METHODS), draw(st.sampled_from(["/version", "/openapi/v3", "/apis", "/openapi/x/"])), ""
        )
    parts = draw(st.sampled_from([["api", "v1"], ["apis", "apps", "v1"]])).copy()
    if draw(st.integers(0, 7)) == 0:
        parts.append("watch")
    if draw(st.booleans()):
        parts += ["namespaces", draw(NAMESPACES)]
    parts.append(draw(RESOURCES))
    if draw(st.booleans()):
        parts.append(draw(NAMES))
        if draw(st.integers(0, 2)) == 0:
            parts.append(draw(SUBRESOURCES))
    return Line(draw(METHODS), "/" + "/".join(parts), draw(QUERIES))


@st.composite
def tricked(draw: st.DrawFn, line: Line) -> Line:
    """The request, bent."""
    parts = line.path.split("/")
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        at, trick = draw(st.integers(1, len(parts))), draw(TRICKS)
        kind = draw(st.sampled_from(["insert", "replace", "append", "double", "encode", "upper"]))
        if kind == "insert":
            parts.insert(at, trick)
        elif kind == "double":
            parts.insert(at, "")
        elif at < len(parts) and parts[at]:
            first = parts[at][0]
            parts[at] = {
                "replace": trick,
                "append": parts[at] + trick,
                "encode": f"%{ord(first) & 0xFF:02x}" + parts[at][1:],
                "upper": parts[at].upper(),
            }[kind]
    method = draw(OTHER_METHODS) if draw(st.integers(0, 14)) == 0 else line.method
    query = draw(QUERIES) if draw(st.integers(0, 3)) == 0 else line.query
    return Line(method, "/".join(parts), query)


@dataclass(frozen=True)
class Attack:
    """What the contract authorised, and what the gateway sealed."""

    authorised: OnChainAttributes
    sealed: Line
    headers: Sequence[tuple[str, str]]


@st.composite
def attacks(draw: st.DrawFn) -> Attack:
    meant = draw(lines())
    sealed = draw(tricked(meant if draw(st.integers(0, 5)) else draw(lines())))
    # Half of the time it has authorised whatever it sealed, if that can be read at all.
    authorised = (_attributes(sealed) if draw(st.booleans()) else None) or _attributes(meant)
    headers = [] if draw(st.integers(0, 3)) else draw(HEADERS)
    return Attack(authorised or OnChainAttributes("list", "", "v1", "pods"), sealed, headers)


def _attributes(line: Line) -> OnChainAttributes | None:
    try:
        return on_chain(line.method, line.path, line.query)
    except (MalformedRequestError, StatusError, StopIteration):
        return None


def test_what_runs_is_what_was_authorised() -> None:
    ran: Counter[str] = Counter()

    @settings(
        max_examples=BATCHES,
        deadline=None,
        derandomize=True,
        # A failing batch is short enough to read.
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(st.lists(attacks(), min_size=BATCH, max_size=BATCH))
    def attack(batch: list[Attack]) -> None:
        ran.update(asyncio.run(_run(batch)))

    attack()
    # Otherwise it would have shown nothing.
    assert ran["ran"] >= 30
    assert ran["refused"] >= 30


async def _run(batch: list[Attack]) -> Counter[str]:
    world = World()
    with scripted_api_server() as api:
        made: dict[bytes, Attack] = {}
        async with listener(world, api) as running:
            for one in batch:
                requested, event = world.command(authorised=one.authorised, payload=_sealed(world, one))
                made[requested.request_id] = one
                world.ledger.publish(event)
            counts = running.service.counts
            assert isinstance(counts, Tally)
            await until(
                lambda: len(world.answers()) + counts.by_reason["malformed-envelope"] == len(made), seconds=20
            )
        for seen in api.seen:
            one = made.pop(bytes.fromhex(_identity(seen)["impersonate-extra-daas.io%2frequest-id"]))
            _check(seen, one)
        answers = world.answers()
        assert all(answers[one][0] != 200 for one in made if one in answers), "nothing else ran"
        return Counter(ran=len(api.seen), refused=len(made))


def _sealed(world: World, attack: Attack) -> Callable[[bytes], Sequence[bytes]]:
    """The ciphertext of an envelope that the product would refuse to write."""
    line = attack.sealed
    key = world.reply_key.public_bytes()
    envelope = RequestEnvelope(line.method, line.path, line.query, tuple(attack.headers), BODY, key)

    def seal(request_id: bytes) -> Sequence[bytes]:
        with patch.object(RequestEnvelope, "_check"):
            plain = envelope.encode()
        return split(world.sealing_key.public_key.seal(plain, request_info(CLUSTER, SEAL, request_id)))

    return seal


def _identity(seen: SeenRequest) -> dict[str, str]:
    """The headers that choose an identity: ours, each once, and no others."""
    found = [(name.lower(), value) for name, value in seen.headers]
    chosen = {
        name: value for name, value in found if name.startswith(("impersonate", "x-remote", "authoriz"))
    }
    assert len([name for name, _ in found if name in chosen]) == len(chosen)
    assert set(chosen) - IDENTITY == set()
    assert chosen["impersonate-extra-daas.io%2fseal"] == to_hex(SEAL)
    if chosen["impersonate-user"] == "daas:discovery":
        assert "impersonate-group" not in chosen
    else:
        assert chosen["impersonate-user"] == f"sui:{to_hex(OWNER)}"
        assert chosen["impersonate-group"] == "daas:role:operator"
    assert len([name for name, _ in found if name in ("content-length", "transfer-encoding")]) <= 1
    assert len([name for name, _ in found if name == "host"]) == 1
    return chosen


def _check(seen: SeenRequest, attack: Attack) -> None:
    reading: Reading = read(seen.method, seen.target)
    authorised = attack.authorised
    if reading.resource:
        assert (*reading.values, "") == authorised.values()
        assert "daas-system" not in (reading.namespace, reading.name), "the listener's own"
    else:
        pattern = authorised.non_resource_url
        assert pattern
        assert reading.verb == authorised.verb or (reading.verb, authorised.verb) == ("head", "get")
        assert reading.path == pattern or (pattern[-1] == "*" and reading.path.startswith(pattern[:-1]))
    # The other readings of a path that programs on the way may have.
    segments = reading.path.split("/")
    assert not {".", ".."} & set(segments)
    assert "//" not in reading.path
    assert unquote(reading.path) == reading.path
    assert seen.body == BODY
    assert reading.path.isprintable()


def test_the_model_tells_tricks_from_requests() -> None:
    """A model that reads everything alike could not fail."""
    plain = read("GET", "/api/v1/namespaces/x/pods/web")
    assert plain.values == ("get", "", "v1", "pods", "", "x", "web")
    assert (
        read("GET", "/api/v1/namespaces/x/../y/pods").values
        != read("GET", "/api/v1/namespaces/y/pods").values
    )
    assert read("GET", "/api/v1/namespaces/x/pods?watch=0").verb == "list"
    assert read("GET", "/api/v1/namespaces/x/pods?watch=").verb == "watch"
    assert read("DELETE", "/api/v1/pods").verb == "deletecollection"
    assert read("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dweb").name == "web"
    assert read("GET", "/api/v1/watch/pods").verb == "watch"
    assert request_id_text(bytes(16)) == "00" * 16
