"""API Gateway and Lambda as strict as the real ones, around the Chalice app.

Chalice's own local conversion builds the event. What AWS adds is added here (both header forms, `path`,
`httpMethod`, `resource`, base64 bodies, null instead of empty), and event and reply go through JSON in both
directions, with Lambda's size limit: what would die there dies here.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, unquote_plus

from chalice import Chalice
from chalice.local import LambdaContext, LambdaEventConverter, RouteMatcher

from infra.local.gateway.messages import HttpReply, HttpRequest, refusal

LAMBDA_PAYLOAD_BYTES = 6 * 1024 * 1024
# Request line and values of headers together; a quota of API Gateway's that cannot be raised.
HEAD_BYTES = 10_240
STAGE = "api"


class StrictGateway:
    """Answers HTTP requests through the app; safe to call from many threads at once.

    `cold_start_s` is how long the function takes to start: that much later than it arrived the first request
    reaches the app, as at AWS.
    """

    def __init__(
        self,
        app: Chalice,
        *,
        function_timeout_ms: int = 28_000,
        cold_start_s: float = 0.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._app = app
        self._converter = LambdaEventConverter(RouteMatcher(list(app.routes)), app.api.binary_types)
        self._function_timeout_ms = function_timeout_ms
        self._now_ms = now_ms
        self._cold_start_s = cold_start_s
        self._starting = threading.Lock()

    def handle(self, request: HttpRequest) -> HttpReply:
        """One request through event, function and reply; never raises for anything a client can send."""
        if _head_bytes(request) > HEAD_BYTES:
            return refusal(400, f"Request line and headers are larger than {HEAD_BYTES} bytes.")
        target = _canonical_target(request.target)
        if target is None:
            return refusal(400, "The request target is not a valid, UTF-8 encoded path and query.")
        try:
            event = self._converter.create_lambda_event(
                method=request.method,
                path=target,
                headers={name.lower(): value for name, value in request.headers},
                body=request.body,
            )
        except ValueError:
            # No route has this depth. The message repeats nothing of the request: it may carry a token.
            return refusal(404, "The server could not find the requested resource.")
        sent = json.dumps(self._completed(event, request, target))
        if len(sent) > LAMBDA_PAYLOAD_BYTES:
            return refusal(413, "The request is larger than the 6 MB that Lambda takes.")
        self._start_function()
        context = LambdaContext("gateway", 512, self._function_timeout_ms)
        received = json.dumps(self._app(json.loads(sent), context))
        if len(received) > LAMBDA_PAYLOAD_BYTES:
            return refusal(500, "The reply is larger than the 6 MB that Lambda returns.")
        return _reply(json.loads(received))

    def _start_function(self) -> None:
        with self._starting:
            time.sleep(self._cold_start_s)
            self._cold_start_s = 0.0

    def _completed(self, event: dict[str, Any], request: HttpRequest, target: str) -> dict[str, Any]:
        several: dict[str, list[str]] = {}
        for name, value in request.headers:
            several.setdefault(name, []).append(value)
        context = event["requestContext"]
        query = event["multiValueQueryStringParameters"]
        return {
            "resource": context["resourcePath"],
            "path": target.partition("?")[0],
            "httpMethod": request.method,
            # Lambda gets the last value of a repeated header here, all of them below.
            "headers": {name: values[-1] for name, values in several.items()},
            "multiValueHeaders": several,
            "queryStringParameters": {name: values[-1] for name, values in query.items()} if query else None,
            "multiValueQueryStringParameters": query,
            "pathParameters": event["pathParameters"] or None,
            "stageVariables": None,
            "requestContext": {
                **context,
                "stage": STAGE,
                "protocol": "HTTP/1.1",
                "requestId": str(uuid.uuid4()),
                "requestTimeEpoch": self._now_ms(),
            },
            "body": base64.b64encode(request.body).decode("ascii") if request.body else None,
            "isBase64Encoded": bool(request.body),
        }


def _head_bytes(request: HttpRequest) -> int:
    line = f"{request.method} {request.target} HTTP/1.1"
    return len(line) + sum(len(value) for _, value in request.headers)


def _canonical_target(target: str) -> str | None:
    """The target as Chalice's matcher can read it without loss; None for what no client may send."""
    if not target.startswith("/") or not target.isascii() or not target.isprintable():
        return None
    # Chalice's matcher would take a leading "//api" for a host name, and drop what follows a "#".
    if target.startswith("//") or " " in target or "#" in target:
        return None
    path, mark, query = target.partition("?")
    try:
        unquote(path, errors="strict")
        unquote_plus(query, errors="strict")
    except UnicodeDecodeError:
        return None
    # The matcher's URL parser would drop everything behind a ";" in the last segment.
    return path.replace(";", "%3B") + mark + query


def _reply(answer: dict[str, Any]) -> HttpReply:
    body = answer["body"]
    content = base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()
    several: dict[str, list[str]] = answer.get("multiValueHeaders") or {}
    headers = [
        (name, str(value)) for name, value in (answer.get("headers") or {}).items() if name not in several
    ]
    headers += [(name, str(value)) for name, values in several.items() for value in values]
    if not any(name.lower() == "content-type" for name, _ in headers):
        # API Gateway's default, also where it hurts (304).
        headers.append(("Content-Type", "application/json"))
    return HttpReply(int(answer["statusCode"]), tuple(headers), content)
