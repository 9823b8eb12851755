"""Which HTTP headers cross the chain, in either direction: allowlists, never "all but".

What is not listed is dropped silently (proxies add a dozen headers), except headers that try to choose an
identity: those are refused, so that nobody believes that they had an effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from k3s_daas.errors import ForbiddenError, MalformedRequestError

# Canonical spelling by lower-case name. Accept-Encoding is absent on purpose: the envelope compresses.
REQUEST_HEADERS: dict[str, str] = {
    name.lower(): name
    for name in (
        "Accept",
        "Content-Type",
        "If-Match",
        "If-None-Match",
        "User-Agent",
        "Kubectl-Command",
        "Kubectl-Session",
        "X-Stream-Protocol-Version",
    )
}

# No Location (a redirect would send the bearer token elsewhere), no Set-Cookie, no WWW-Authenticate.
RESPONSE_HEADERS: dict[str, str] = {
    name.lower(): name
    for name in (
        "Allow",
        "Audit-Id",
        "Cache-Control",
        "Content-Encoding",
        "Content-Type",
        "ETag",
        "Last-Modified",
        "Retry-After",
        "Vary",
        "Warning",
    )
}

# Lists by definition (RFC 9110); several lines mean the same as one with commas.
_REPEATABLE = frozenset({"accept", "if-match", "if-none-match", "x-stream-protocol-version"})

# Of these there is one in a reply. Some pod behind a proxy may send more; clients take the first.
_SINGLE_IN_REPLIES = frozenset({"audit-id", "content-type", "etag", "last-modified", "retry-after"})

_IDENTITY_PREFIXES = ("impersonate-", "x-remote-")
_UPGRADE_HEADERS = ("upgrade", "x-stream-protocol-version")
_UPGRADE_PREFIX = "sec-websocket-"

# Visible ASCII, space, tab, and the bytes above that HTTP calls opaque (RFC 9110, obs-text): in UTF-8, which
# warnings may be written in, half of them are C1 controls to Latin-1.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
MAX_VALUE_CHARS = 8 * 1024


def admit_request_headers(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that travel to the API server, canonically spelled, in the caller's order.

    ``ForbiddenError`` for a header that chooses an identity (also with ``_`` for ``-``, which some servers
    take for the same) or a second ``Authorization``; ``MalformedRequestError`` for a value that is no header
    value, or for the second of a header that has only one. ``Authorization`` itself never travels.
    """
    admitted: list[tuple[str, str]] = []
    seen: set[str] = set()
    for name, value in pairs:
        lower = name.strip().lower().replace("_", "-")
        if lower.startswith(_IDENTITY_PREFIXES):
            raise ForbiddenError(
                f"the header {lower} chooses an identity; here the seal decides who you are: "
                "remove --as and --as-group"
            )
        if lower == "authorization" and lower in seen:
            raise ForbiddenError("two Authorization headers: send one bearer token")
        if name.lower() in REQUEST_HEADERS:
            if lower in seen and lower not in _REPEATABLE:
                raise MalformedRequestError(f"the header {lower} comes twice: send it once")
            admitted.append((REQUEST_HEADERS[lower], _checked(lower, value)))
        seen.add(lower)
    return admitted


def filter_response_headers(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of an API server's reply that reach kubectl, canonically spelled, repeated ones kept.

    One with a value that is no header value is dropped: it is not worth the whole reply. So is the second of
    a header that has only one.
    """
    kept: list[tuple[str, str]] = []
    seen: set[str] = set()
    for name, value in pairs:
        lower = name.lower()
        if lower not in RESPONSE_HEADERS or not _VALUE.fullmatch(value) or len(value) > MAX_VALUE_CHARS:
            continue
        if lower not in seen or lower not in _SINGLE_IN_REPLIES:
            kept.append((RESPONSE_HEADERS[lower], value))
        seen.add(lower)
    return kept


def asks_for_upgrade(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether the caller wants another protocol (exec, attach, port-forward), which cannot be carried."""
    names = [name.lower() for name, _ in pairs]
    return any(name in _UPGRADE_HEADERS or name.startswith(_UPGRADE_PREFIX) for name in names)


def _checked(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise MalformedRequestError(f"the header {name} has characters that no header may have")
    if len(value) > MAX_VALUE_CHARS:
        raise MalformedRequestError(f"the header {name} is longer than {MAX_VALUE_CHARS} characters")
    return value
