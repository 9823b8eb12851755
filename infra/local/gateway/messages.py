"""One HTTP request and reply, between the TLS server and the event round trip."""

from __future__ import annotations

import json
from dataclasses import dataclass

_REASONS = {
    404: "NotFound",
    408: "Timeout",
    413: "RequestEntityTooLarge",
    501: "NotImplemented",
}


@dataclass(frozen=True)
class HttpRequest:
    """A request as read from the wire: `target` is path and query, headers in order with repetitions."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class HttpReply:
    """A reply to be written: headers without framing (Content-Length, Connection)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal(code: int, message: str) -> HttpReply:
    """A `metav1.Status`, as the deployed API's gateway responses give it for what never reaches the app."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "InternalError" if code >= 500 else "BadRequest"),
        "code": code,
    }
    return HttpReply(code, (("Content-Type", "application/json"),), json.dumps(body).encode())
