"""From an HTTP request to Kubernetes request attributes, by the API server's own rules.

The rules are those of ``RequestInfoFactory.NewRequestInfo`` in k8s.io/apiserver
(pkg/endpoints/request/requestinfo.go): what the contract authorises must be what the API server, which reads
the same path again, believes that it executes. Where its reading depends on decoders that differ between
programs (``..``, ``//``, encoded separators, percent signs that decode twice), the request is refused instead
of guessed at: ``MalformedRequestError``.

A slash at the end of a resource path changes nothing for the API server (kube-apiserver 1.20 serves both), so
it is taken off; behind ``proxy`` it belongs to the workload's own path, and on non-resource paths it counts,
as for the API server's authorizer.

Stricter than the API server, besides that:

- the path prefix ``/proxy/`` (removed from Kubernetes years ago) is refused; ``/watch/`` is read-only;
- ``watch`` and ``fieldSelector`` may come once, and name one object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from k3s_daas.errors import MalformedRequestError
from k3s_daas.selectors import SelectorError, exact_match
from k3s_daas.status import StatusError

MAX_PATH_CHARS = 4096
MAX_QUERY_CHARS = 8192

# The contract's own bounds.
MAX_GROUP_CHARS = 253
MAX_SEGMENT_CHARS = 63
MAX_NAME_BYTES = 253

_RESOURCE_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
# HEAD counts as get everywhere: it tells no more than a GET does.
_URL_VERBS = {method: "get" if method == "HEAD" else method.lower() for method in _RESOURCE_VERBS}

_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_UPGRADE_SUBRESOURCES = frozenset({"exec", "attach", "portforward"})
_CHANNEL_SUBRESOURCES = _UPGRADE_SUBRESOURCES | {"proxy"}
_REVIEWS = frozenset(
    {
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authentication.k8s.io", "tokenreviews"),
    }
)

_WIRE_PATH = re.compile(r"/[!$->@-\[\]^_`a-~]*", re.ASCII)
_WIRE_QUERY = re.compile(r"[!\"$-:<-~]*", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Printable ASCII without separators and wildcards, as the contract has it.
_SEGMENT = re.compile(r"[!-)+-.0-~]+", re.ASCII)
_SAFE_IN_SEGMENT = "!$&'()*+,;=:@~-._"


@dataclass(frozen=True, slots=True)
class RequestAttributes:
    """What authorizers decide on. Empty strings mean "none"; ``path`` is the one canonical spelling.

    For a non-resource request only ``verb`` (lower-case method) and ``path`` are set. ``path`` is
    percent-encoded and carries what no attribute does: the tail behind a ``proxy``.
    """

    verb: str
    api_group: str
    api_version: str
    resource: str
    subresource: str
    namespace: str
    name: str
    path: str

    @property
    def is_resource_request(self) -> bool:
        return bool(self.resource)

    @property
    def is_read(self) -> bool:
        """Nothing in the cluster can change by it: no stake and no writing session is needed.

        A ``get`` that opens a channel into a workload (proxy, exec, attach, portforward) is none: nobody can
        tell beforehand what is done through it. The reviews are POSTs that only ask. The contract decides by
        the same rule.
        """
        if not self.is_resource_request:
            return self.verb == "get"
        if self.verb == "create":
            return not self.subresource and (self.api_group, self.resource) in _REVIEWS
        return self.verb in ("get", "list", "watch") and self.subresource not in _CHANNEL_SUBRESOURCES

    @property
    def needs_upgrade(self) -> bool:
        """exec, attach and port-forward: they only work over an upgraded connection."""
        return self.resource == "pods" and self.subresource in _UPGRADE_SUBRESOURCES

    @property
    def needs_exact_rule(self) -> bool:
        """So powerful that a ``*`` in a rule does not reach it."""
        return self.subresource == "proxy" or (self.resource, self.subresource) in (
            ("serviceaccounts", "token"),
            ("certificatesigningrequests", "approval"),
        )

    @property
    def combined_resource(self) -> str:
        """``resource`` or ``resource/subresource``, as rules write it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def decoded_path(self) -> str:
        """The path as the API server's authorizer compares it with nonResourceURLs."""
        return unquote(self.path)


def parse_attributes(method: str, path: str, query: str) -> RequestAttributes:
    """The attributes of a request as it stood on the wire: ``path`` percent-encoded, ``query`` without ``?``.

    ``MalformedRequestError`` if it can be read in more than one way; ``StatusError`` 405 for a method that
    Kubernetes does not serve.
    """
    if method not in _RESOURCE_VERBS:
        raise _method_not_allowed(method)
    segments, trailing_slash = _split_path(path)
    parameters = _parse_query(query)
    group, rest = _api_group(segments)
    if rest is None:
        canonical = _canonical(segments, trailing_slash)
        return RequestAttributes(_URL_VERBS[method], "", "", "", "", "", "", canonical)
    verb, version, parts = _verb_and_version(method, rest)
    namespace, parts = _namespace(parts)
    resource, name, subresource = [*parts, "", ""][:3]
    canonical = _canonical(segments, trailing_slash and subresource == "proxy")
    if not name and verb == "get":
        verb, name = _collection_read(parameters)
    if not name and verb == "delete":
        verb = "deletecollection"
    return _checked(
        RequestAttributes(verb, group, version, resource, subresource, namespace, name, canonical)
    )


def _method_not_allowed(method: str) -> StatusError:
    shown = method if re.fullmatch(r"[A-Za-z]{1,16}", method, re.ASCII) else "this method"
    return StatusError(405, "MethodNotAllowed", f"{shown} is not served: use {', '.join(_RESOURCE_VERBS)}")


def _api_group(segments: list[str]) -> tuple[str, list[str] | None]:
    """The API group and what follows it (version first), or None for a non-resource path."""
    if segments and segments[0].lower() in ("api", "apis") and not segments[0].islower():
        raise MalformedRequestError("API paths begin with /api or /apis, in lower case")
    if len(segments) >= 3 and segments[0] == "api":
        return "", segments[1:]
    if len(segments) >= 4 and segments[0] == "apis":
        return segments[1], segments[2:]
    return "", None


def _verb_and_version(method: str, rest: list[str]) -> tuple[str, str, list[str]]:
    version, parts = rest[0], rest[1:]
    if parts[0] == "proxy":
        raise MalformedRequestError("the /proxy/ path prefix is not served: use the proxy subresource")
    if parts[0] != "watch":
        return _RESOURCE_VERBS[method], version, parts
    if len(parts) < 2:
        raise MalformedRequestError("the path ends after /watch: name a resource")
    if method not in ("GET", "HEAD"):
        raise _method_not_allowed(method)
    return "watch", version, parts[1:]


def _namespace(parts: list[str]) -> tuple[str, list[str]]:
    """``namespaces`` is a resource, and the scope of what follows unless that is one of its subresources."""
    if parts[0] != "namespaces" or len(parts) < 2:
        return "", parts
    if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
        return parts[1], parts[2:]
    return parts[1], parts


def _collection_read(parameters: dict[str, list[str]]) -> tuple[str, str]:
    """list or watch, and the one name that a field selector leaves."""
    watch = _single(parameters, "watch")
    # Every value but these two is true to Kubernetes, the empty one included.
    verb = "list" if watch is None or watch.lower() in ("false", "0") else "watch"
    selector = _single(parameters, "fieldSelector")
    try:
        name = exact_match(selector, "metadata.name") if selector else ""
    except SelectorError as error:
        raise MalformedRequestError(f"the fieldSelector is malformed: {error}") from error
    # Like the API server: a name that no path could carry names nothing.
    return verb, "" if name in (".", "..") or "/" in name or "%" in name else name


def _checked(attributes: RequestAttributes) -> RequestAttributes:
    """Shapes and lengths that the contract demands, so that a refusal costs no gas."""
    for what, value, limit in (
        ("API group", attributes.api_group, MAX_GROUP_CHARS),
        ("API version", attributes.api_version, MAX_SEGMENT_CHARS),
        ("resource", attributes.resource, MAX_SEGMENT_CHARS),
        ("subresource", attributes.subresource, MAX_SEGMENT_CHARS),
        ("namespace", attributes.namespace, MAX_SEGMENT_CHARS),
    ):
        if value and (len(value) > limit or not _SEGMENT.fullmatch(value)):
            raise MalformedRequestError(f"the {what} in the path is longer than {limit} or no plain word")
    if len(attributes.name.encode()) > MAX_NAME_BYTES:
        raise MalformedRequestError(f"the name in the path is longer than {MAX_NAME_BYTES} bytes")
    if not attributes.name.isprintable() or "\\" in attributes.name:
        raise MalformedRequestError("the name has a backslash or characters that cannot be printed")
    return attributes


def _split_path(path: str) -> tuple[list[str], bool]:
    """Decoded segments, and whether a slash ends the path."""
    if len(path) > MAX_PATH_CHARS:
        raise MalformedRequestError(f"the path is longer than {MAX_PATH_CHARS} characters")
    if not _WIRE_PATH.fullmatch(path) or _BAD_ESCAPE.search(path):
        raise MalformedRequestError("the path is not an absolute, percent-encoded URL path")
    if path == "/":
        return [], False
    encoded = path[1:].split("/")
    trailing_slash = encoded[-1] == ""
    if trailing_slash:
        encoded.pop()
    return [_decode_segment(segment) for segment in encoded], trailing_slash


def _decode_segment(encoded: str) -> str:
    try:
        segment = unquote(encoded, errors="strict")
    except UnicodeDecodeError as error:
        raise MalformedRequestError("the path is not UTF-8") from error
    if segment in ("", ".", ".."):
        raise MalformedRequestError("the path has an empty segment, or . or ..: write it without them")
    # A percent sign that is left would decode once more in a program that decodes twice.
    if "/" in segment or "\\" in segment or "%" in segment or not segment.isprintable():
        raise MalformedRequestError(
            "the path has an encoded slash, backslash or percent sign, or characters that cannot be printed"
        )
    return segment


def _canonical(segments: list[str], trailing_slash: bool) -> str:
    path = "/" + "/".join(quote(segment, safe=_SAFE_IN_SEGMENT) for segment in segments)
    return path + "/" if trailing_slash else path


def _parse_query(query: str) -> dict[str, list[str]]:
    """Values by key, both decoded. What Go and others split differently (``;``) is refused."""
    if len(query) > MAX_QUERY_CHARS:
        raise MalformedRequestError(f"the query is longer than {MAX_QUERY_CHARS} characters")
    if not _WIRE_QUERY.fullmatch(query) or _BAD_ESCAPE.search(query):
        raise MalformedRequestError("the query is not percent-encoded, or has a semicolon: encode it as %3B")
    parameters: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        parameters.setdefault(_decode_query(key), []).append(_decode_query(value))
    return parameters


def _decode_query(encoded: str) -> str:
    try:
        text = unquote(encoded.replace("+", " "), errors="strict")
    except UnicodeDecodeError as error:
        raise MalformedRequestError("the query is not UTF-8") from error
    if _CONTROL.search(text):
        raise MalformedRequestError("the query has control characters")
    return text


def _single(parameters: dict[str, list[str]], key: str) -> str | None:
    values = parameters.get(key, [])
    if len(values) > 1:
        raise MalformedRequestError(f"the query has {key} more than once: send it once")
    return values[0] if values else None
