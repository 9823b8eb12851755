"""What holds whatever a client sends: of the reply, the API server's request, the chain and the logs."""

from __future__ import annotations

import gzip
import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.kube import request_info
from k3s_daas.answers import ANSWERS, ERRORS
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.events import ApiRequested
from tests.fuzz_gateway.hostile import Hostile
from tests.fuzz_gateway.vocabulary import CANARY
from tests.instant.api_server import NAMESPACE, WireReply, WireRequest
from tests.instant.ledger import Execution
from tests.instant.stack import API_SERVER_TOKEN, HOLDER

# Written out, not taken from the product: a header that it lists anew is looked at by a person.
REQUEST_HEADERS = {
    *(
        "accept",
        "content-type",
        "if-match",
        "if-none-match",
        "user-agent",
        "kubectl-command",
        "kubectl-session",
    ),
    "x-stream-protocol-version",
}
REPLY_HEADERS = {
    *("allow", "audit-id", "cache-control", "content-encoding", "content-type", "etag", "last-modified"),
    *("retry-after", "vary", "warning"),
}
DISCOVERY_ETAG = '"d"'
SINGLE = {"Content-Type", "Retry-After", "ETag"}
DIAGNOSTIC_HEADERS = {"server-timing", "x-daas-request-id", "x-daas-request-digest", "x-daas-response-digest"}
OURS = {"host", "authorization", "accept-encoding", "content-length", "user-agent"}
_SEAL, _REQUEST_ID = "impersonate-extra-daas.io%2fseal", "impersonate-extra-daas.io%2frequest-id"
IDENTITY = {"impersonate-user", "impersonate-group", _SEAL, _REQUEST_ID}
# Refusals of a gateway whose chain, store and API server are well; 502 is for replies that nobody may see.
OWN_CODES = {400, 401, 403, 404, 405, 413, 422, 429, 501, 502}
TABLED = {answer.code for answer in ANSWERS.values()} | {code for _, code, _, _ in ERRORS} | {501, 503, 504}
REASONS = {
    400: {"BadRequest"},
    401: {"Unauthorized"},
    403: {"Forbidden"},
    404: {"NotFound"},
    405: {"MethodNotAllowed"},
    413: {"RequestEntityTooLarge"},
    422: {"Invalid"},
    429: {"TooManyRequests"},
    501: {"NotImplemented"},
    502: {"BadGateway"},
}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Seen:
    """One exchange, from all sides. `sent` is what the client sent, with its token in it."""

    hostile: Hostile
    sent: HttpRequest
    token: str
    received: HttpReply
    arrived: Sequence[WireRequest]
    executed: Sequence[Execution]
    """Transactions of the gateway."""
    logged: Sequence[str]

    @property
    def kept(self) -> bool:
        """The reply came from the cache of discovery."""
        return any("cache;desc=" in value for name, value in self.received.headers if name == "Server-Timing")


def demand(condition: bool, what: str) -> None:
    """`what` must hold."""
    if not condition:
        raise BrokenError(what)


def check(seen: Seen) -> str:
    """How it ended (`served`, `kept` or the code of a refusal); raises BrokenError."""
    _no_redirect(seen.received)
    _no_secret(seen)
    _no_bug(seen)
    _chain(seen)
    if seen.arrived:
        demand(len(seen.arrived) == 1, "one request is sent to the API server once")
        _servable([name.strip().lower().replace("_", "-") for name, _ in _sent_headers(seen)])
        _arrived(seen, seen.arrived[0], seen.executed[0].commands[0])
        said = discovery_reply(seen.arrived[0]) or seen.hostile.reply
        if _is_presentable(said):
            _passed(seen, said)
            return "served"
        _refused(seen, {413, 502})
        return str(seen.received.status)
    if seen.kept and seen.received.status in (200, 304):
        demand(seen.hostile.token.is_good, "nothing kept is given to who has no good token")
        return "kept"
    _refused(seen, OWN_CODES - {502})
    return str(seen.received.status)


def discovery_reply(request: WireRequest) -> WireReply | None:
    """Discovery is answered alike every time, since the gateway keeps it."""
    if "impersonate-user: daas:discovery" not in (
        f"{name.lower()}: {value}" for name, value in request.headers
    ):
        return None
    return WireReply(
        200, (("Content-Type", "application/json"), ("ETag", DISCOVERY_ETAG)), request.target.encode()
    )


def _no_redirect(reply: HttpReply) -> None:
    demand(100 < reply.status < 600, f"{reply.status} is no status")
    demand(not 300 <= reply.status < 400 or reply.status == 304, f"a redirect: {reply.status}")
    for name, value in reply.headers:
        demand(_HEADER_NAME.fullmatch(name) is not None, f"no header name: {name!r}")
        demand(not {"\r", "\n", "\0"} & set(value), f"no header value: {value!r}")
        demand(name.lower() in REPLY_HEADERS | DIAGNOSTIC_HEADERS, f"a header that is not listed: {name}")


def _no_secret(seen: Seen) -> None:
    """Neither the token nor its secret in any text that we write, nor a body, a query, a dropped header."""
    texts = [*seen.logged, str(seen.received.headers)]
    if not seen.arrived and not seen.kept:
        texts.append(seen.received.body.decode("latin-1"))
    tail = seen.token[-40:]
    for text in texts:
        demand(len(tail) < 40 or tail not in text, "a token is written down")
        demand(CANARY not in text, f"what nobody should write down is: {text[:300]}")
    for request in seen.arrived:
        carried = tail in str(request.headers) and not _was_listed(seen, tail)
        demand(len(tail) < 40 or not carried, "a token reaches the API server")


def _was_listed(seen: Seen, tail: str) -> bool:
    """The client himself wrote it into a header that travels."""
    return any(tail in value for name, value in seen.sent.headers if name.strip().lower() in REQUEST_HEADERS)


def _no_bug(seen: Seen) -> None:
    for line in seen.logged:
        parsed = json.loads(line)
        demand(parsed.get("event") != "bug", f"a bug: {line}")
        demand(parsed.get("level") not in ("error", "critical"), f"the listener fails: {line[:2_000]}")


def _chain(seen: Seen) -> None:
    demand(len(seen.executed) <= 1, "one request is one command")
    for execution in seen.executed:
        demand(not execution.broken, f"gas for what the contract refuses: {sorted(execution.broken)}")
        demand(bool(seen.arrived), "gas for what never reaches the API server")
        demand(seen.hostile.token.is_good, f"gas for a bad token: {seen.hostile.token}")


def _servable(names: list[str]) -> None:
    """Who chooses an identity or a protocol is told that he cannot; nothing is served as if he had not."""
    chosen = [name for name in names if name.startswith(("impersonate-", "x-remote-"))]
    demand(not chosen, f"served in spite of {chosen}")
    demand(names.count("authorization") <= 1, "served with two credentials")
    demand(not [name for name in names if name == "upgrade" or name.startswith("sec-websocket-")], "upgraded")


def _sent_headers(seen: Seen) -> tuple[tuple[str, str], ...]:
    """Those of the event: in one of its shapes, only the last of a repeated header is left."""
    if any(shape.startswith("multiValueHeaders") for shape in seen.hostile.shapes):
        return tuple(dict(seen.sent.headers).items())
    return seen.sent.headers


def _arrived(seen: Seen, request: WireRequest, command: ApiRequested) -> None:
    _arrived_headers(seen, request)
    _arrived_target(seen, request, command.attributes)
    demand(request.method == seen.sent.method, "another method arrives than was sent")
    if not seen.hostile.shapes:
        demand(request.body == seen.sent.body, "another body arrives than was sent")


def _arrived_headers(seen: Seen, request: WireRequest) -> None:
    names = [name.lower() for name, _ in request.headers]
    demand(set(names) <= REQUEST_HEADERS | OURS | IDENTITY, f"unlisted headers arrive: {names}")
    for name in OURS | IDENTITY:
        demand(names.count(name) <= 1, f"{name} arrives more than once")
    demand(request.values("Authorization") == [f"Bearer {API_SERVER_TOKEN}"], "another credential arrives")
    demand(request.values("Accept-Encoding") == ["identity"], "the caller chooses the encoding")
    user, group = request.values("Impersonate-User"), request.values("Impersonate-Group")
    as_holder = (user, group) == ([HOLDER], ["daas:role:operator"])
    demand(as_holder or (user, group) == (["daas:discovery"], []), f"another identity: {user} {group}")
    own = {"user-agent": ["k3s-daas-listener"]}
    if not as_holder:
        # What is kept of discovery is asked for anew on the gateway's own condition.
        own["if-none-match"] = [DISCOVERY_ETAG]
    for name in REQUEST_HEADERS:
        # Spaces and tabs around a value are none of it (RFC 9110, 5.5).
        sent = [value.strip(" \t") for key, value in seen.sent.headers if key.lower() == name]
        values = request.values(name)
        demand(
            all(value.strip(" \t") in sent for value in values) or values == own.get(name),
            f"{name} is made up: {values}",
        )


def _arrived_target(seen: Seen, request: WireRequest, authorised: OnChainAttributes) -> None:
    path, _, query = request.target.partition("?")
    decoded = unquote(path, errors="strict")
    demand(re.fullmatch(r"[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]+", path) is not None, f"no plain path: {path!r}")
    tidy = posixpath.normpath(decoded) + ("/" if decoded.endswith("/") and decoded != "/" else "")
    demand(
        decoded == tidy and "%" not in decoded and "\\" not in decoded, f"a path of two readings: {path!r}"
    )
    pairs = parse_qsl(query, keep_blank_values=True)
    demand(
        as_read(request.method, decoded, pairs, authorised) == authorised,
        f"{path} is not what was authorised",
    )
    sent = {unquote(name.replace("+", " ")) for name, _ in _sent_pairs(seen)}
    demand(
        sent <= {name for name, _ in pairs}, f"a part of the query is lost: {seen.hostile.query} -> {query}"
    )
    if authorised.resource == "secrets" and authorised.verb in ("list", "watch") and not authorised.namespace:
        excluded = f"metadata.namespace!={NAMESPACE}"
        demand(any(excluded in value for name, value in pairs if name == "fieldSelector"), "secrets of ours")


def _sent_pairs(seen: Seen) -> list[tuple[str, str]]:
    parts = seen.sent.target.partition("?")[2].split("&")
    return [(name, value) for name, _, value in (part.partition("=") for part in parts) if name or value]


def as_read(
    method: str, path: str, pairs: list[tuple[str, str]], authorised: OnChainAttributes
) -> OnChainAttributes:
    """What an API server reads out of the request, by its own rules."""
    watch_prefix = re.fullmatch(r"(/api/[^/]+|/apis/[^/]+/[^/]+)/watch(/.+)", path)
    read = path if watch_prefix is None else watch_prefix[1] + watch_prefix[2]
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    if first.get("watch") == "":
        first["watch"] = "true"
    info = request_info.parse(method, read, first)
    if not info.is_resource:
        pattern = authorised.non_resource_url
        matches = path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
        return OnChainAttributes(
            info.verb.replace("head", "get"), non_resource_url=pattern if matches else ""
        )
    verb = "watch" if watch_prefix is not None else info.verb
    subresource = info.subresource.partition("/")[0]
    name = info.name
    if info.verb == "deletecollection" or verb != info.verb:
        name = authorised.name if authorised.name in (info.name, "") else info.name
    return OnChainAttributes(verb, info.group, info.version, info.resource, subresource, info.namespace, name)


def _is_presentable(reply: WireReply) -> bool:
    return (
        200 <= reply.status < 300 or reply.status == 304 or 400 <= reply.status < 600
    ) and reply.status != 401


def _passed(seen: Seen, reply: WireReply) -> None:
    received = seen.received
    demand(received.status == reply.status, f"{reply.status} comes back as {received.status}")
    body = received.body
    given = dict(reply.headers)
    if "Content-Encoding" not in given and ("Content-Encoding", "gzip") in received.headers:
        body = gzip.decompress(body)
    bodiless = seen.sent.method == "HEAD" or reply.status in (204, 304)
    demand(body == (b"" if bodiless else reply.body), "another body comes back than was answered")
    for name in given:
        if name.lower() in REPLY_HEADERS:
            wanted = [value for key, value in reply.headers if key == name]
            got = [value for key, value in received.headers if key == name]
            demand(got == (wanted[:1] if name in SINGLE else wanted), f"{name} comes back as {got}")


def _refused(seen: Seen, codes: set[int]) -> None:
    """A Status of the table's codes, with all that kubectl reads of it."""
    received = seen.received
    demand(
        received.status in TABLED & codes | codes & {404, 405, 422}, f"{received.status} is no code for this"
    )
    types = [value for name, value in received.headers if name.lower() == "content-type"]
    demand(types == ["application/json"], f"a refusal's type: {types}")
    try:
        status = json.loads(received.body)
    except ValueError:
        raise BrokenError(f"{received.status} comes without a Status: {received.body[:200]!r}") from None
    kind = (status.get("kind"), status.get("apiVersion"), status.get("status"), status.get("code"))
    demand(kind == ("Status", "v1", "Failure", received.status), f"no Status: {status}")
    demand(status.get("reason") in REASONS[received.status], f"{received.status} for {status.get('reason')}")
    demand(
        isinstance(status.get("message"), str) and len(status["message"]) > 10, "a Status without a sentence"
    )
    if not seen.hostile.token.is_good and seen.hostile.token.kind != "none":
        demand(seen.token not in received.body.decode() or len(seen.token) < 8, "a refusal quotes the token")
