"""An API Gateway event becomes the request that kubectl sent.

API Gateway takes a request apart; what the API server needs is put together again here: the percent-encoded
path (reported encoded or decoded, depending on the place), the query with repeated parameters in order,
every header, and the body as bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from k3s_daas.errors import MalformedRequestError, PayloadTooLargeError

# What may stand in a path segment as it is (RFC 3986: unreserved, sub-delims, ":" and "@").
SEGMENT_SAFE = "!$&'()*+,;=:@~-._"
# As at the API server.
MAX_BODY_BYTES = 3 * 1024 * 1024
# Callers whose address API Gateway does not tell share one name, and so one limit.
UNKNOWN_SOURCE = "unknown"
# Whoever has one IPv6 address has 2^64 of them.
IPV6_SITE_BITS = 64
# Null where a request has none, or missing: it depends on where the event comes from.
_OPTIONAL = (
    "headers",
    "multiValueHeaders",
    "queryStringParameters",
    "multiValueQueryStringParameters",
    "pathParameters",
    "stageVariables",
    "body",
)


@dataclass(frozen=True, repr=False)
class GatewayRequest:
    """One HTTP request as kubectl sent it. `path` and `query` are percent-encoded.

    `source` is who sent it, as far as limits know: an IPv4 address or an IPv6 network. `api_request_id` is
    API Gateway's own name for it. It has no text form: its headers hold the bearer token.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    arrival_ms: int
    source: str = UNKNOWN_SOURCE
    api_request_id: str | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header, by case-insensitive name."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


def complete_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with every field that Chalice reads without asking whether it is there."""
    headers = {name: value for name, value in (event.get("headers") or {}).items() if value is not None}
    return {**dict.fromkeys(_OPTIONAL), **event, "headers": headers}


def request_from_event(event: Mapping[str, Any], now_ms: int) -> GatewayRequest:
    """Convert an API Gateway proxy event (version 1).

    The arrival time is API Gateway's `requestTimeEpoch`, so that a cold start counts against the command's
    deadlines; `now_ms` stands in where the event has none. Raises MalformedRequestError, and
    PayloadTooLargeError for a body over `MAX_BODY_BYTES`, which is not decoded.
    """
    context = event["requestContext"]
    return GatewayRequest(
        method=str(context["httpMethod"]),
        path=_path(event),
        query=_query(event),
        headers=_headers(event),
        body=_body(event),
        arrival_ms=_arrival(context, now_ms),
        source=source_of(event),
        api_request_id=api_request_id_of(event),
    )


def source_of(event: Mapping[str, Any]) -> str:
    """Who sent the request: the peer of API Gateway's own connection. What headers say of a source
    (X-Forwarded-For) is the caller's to write, and never looked at."""
    identity = (event.get("requestContext") or {}).get("identity") or {}
    try:
        address = ip_address(str(identity.get("sourceIp")))
    except ValueError:
        return UNKNOWN_SOURCE
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        return str(ip_network((address.packed, IPV6_SITE_BITS), strict=False))
    return str(address)


def api_request_id_of(event: Mapping[str, Any]) -> str | None:
    """API Gateway's name for the request, which its own refusals show as well."""
    found = (event.get("requestContext") or {}).get("requestId")
    return found if isinstance(found, str) else None


def _path(event: Mapping[str, Any]) -> str:
    """The path from the route's parameters, in the order in which the route names them.

    A slash at its end belongs to no parameter, but it counts: behind a proxy, an API server answers its lack
    with a redirect.
    """
    names = [part[1:-1] for part in str(event["requestContext"]["resourcePath"]).split("/") if part]
    parameters = event.get("pathParameters") or {}
    try:
        segments = [unquote(str(parameters[name]), errors="strict") for name in names]
        path = "/" + "/".join(quote(segment, safe=SEGMENT_SAFE) for segment in segments)
    except UnicodeError:
        raise MalformedRequestError("The request path is not valid UTF-8 after percent-decoding.") from None
    asked = str(event.get("path") or event["requestContext"].get("path") or "")
    return path + "/" if segments and asked.endswith("/") else path


def _query(event: Mapping[str, Any]) -> str:
    several: Mapping[str, list[str]] = event.get("multiValueQueryStringParameters") or {}
    single: Mapping[str, str] = event.get("queryStringParameters") or {}
    # A query that got lost would make a real write of a dry run.
    parameters = several or {name: [value] for name, value in single.items()}
    pairs = ((name, value) for name, values in parameters.items() for value in values)
    try:
        return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    except UnicodeEncodeError:
        raise MalformedRequestError("The query is not valid UTF-8 after percent-decoding.") from None


def _headers(event: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    several: Mapping[str, list[str]] = event.get("multiValueHeaders") or {}
    if several:
        return tuple((name, value) for name, values in several.items() for value in values)
    return tuple((event.get("headers") or {}).items())


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body")
    if body is None:
        return b""
    if isinstance(body, bytes):
        return _bounded(body)
    try:
        if not event.get("isBase64Encoded"):
            return _bounded(str(body).encode())
        # Before it is decoded: padding is two characters at most.
        _check_size(len(body) * 3 // 4 - 2)
        return _bounded(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError):
        raise MalformedRequestError("The request body is neither text nor valid base64.") from None


def _bounded(body: bytes) -> bytes:
    _check_size(len(body))
    return body


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise PayloadTooLargeError(
            f"the request body is larger than {MAX_BODY_BYTES} bytes: send less at once",
            size=size,
            limit=MAX_BODY_BYTES,
        )


def _arrival(context: Mapping[str, Any], now_ms: int) -> int:
    reported = context.get("requestTimeEpoch")
    # A time in the future would stretch every deadline of the command.
    return min(int(reported), now_ms) if isinstance(reported, int) else now_ms
