"""The Chalice app: one route per path depth, and no refusal that is not a Kubernetes Status.

Every route leads to the same view; what a request means is decided from its path, not by routing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from chalice import Chalice, Response
from chalice.app import CaseInsensitiveMapping, Request

from chalicelib.api_event import is_complete, is_proxy_event
from chalicelib.http_request import (
    GatewayRequest,
    api_request_id_of,
    complete_event,
    request_from_event,
    source_of,
)
from chalicelib.journey import log_to_stderr
from chalicelib.replies import GatewayReply, status_of, status_reply
from k3s_daas.errors import DaasError
from k3s_daas.library_logs import where
from k3s_daas.status import StatusError

APP_NAME = "k3s-daas-gateway"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
# The only other method that API Gateway knows: without a route it would say that there is no such path.
REFUSED_METHODS = ["OPTIONS"]
# Of what is no request of kubectl's, and of what Chalice refuses by itself.
_REASONS = {403: "Forbidden", 404: "NotFound", 415: "UnsupportedMediaType"}
# In no event of API Gateway: the template has this function called on a schedule, too.
SCHEDULE = "aws.events"
# Kubernetes itself needs 8; only the tails of proxies are longer.
MAX_DEPTH = 12


class CommandGateway(Protocol):
    """What stands behind the routes."""

    def handle(self, request: GatewayRequest) -> GatewayReply:
        """Answer one request. Raises nothing that is not a bug."""
        ...

    def refuse(self, source: str, api_request_id: str | None, error: DaasError) -> GatewayReply:
        """Answer what cannot be read as a request, with the Status of `error`. Likewise."""
        ...

    def refresh(self) -> None:
        """Read anew what is the same for all commands. Raises what hinders it."""
        ...


class GatewayApp(Chalice):  # type: ignore[misc] # Chalice carries no types
    """A Chalice app that several threads may call at once.

    Chalice keeps the request in an attribute of the app; with threads, one request would be answered with
    another one's body and token.
    """

    def __init__(self, gateway: Callable[[], CommandGateway]) -> None:
        self._gateway = gateway
        self._per_thread = threading.local()
        super().__init__(app_name=APP_NAME, configure_logs=False)

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        """One invocation of the function: an API Gateway event, and the reply to it; or the schedule's."""
        if isinstance(event, dict) and event.get("source") == SCHEDULE:
            return self._gateway().refresh()
        # Chalice would fail outside of its own answers, or take it for a bug.
        if not is_proxy_event(event):
            return self._refuse({}, _refusal(400))
        asked = event.get("requestContext") or {}
        if asked.get("resourcePath") not in self.routes:
            # A route that somebody added at API Gateway.
            return self._refuse(event, _refusal(404))
        if not is_complete(event):
            return self._refuse(event, _refusal(400))
        if asked["httpMethod"] not in METHODS:
            return self._refuse(event, StatusError(405, "MethodNotAllowed", "this method is not served"))
        return super().__call__(complete_event(event), context)

    def _refuse(self, event: dict[str, Any], error: StatusError) -> Any:
        reply = _reply(lambda: _refused(self._gateway(), event, error))
        return _response(reply).to_dict(self.api.binary_types)

    @property
    def current_request(self) -> Request | None:
        """The request of this thread."""
        return getattr(self._per_thread, "request", None)

    @current_request.setter
    def current_request(self, request: Request | None) -> None:
        self._per_thread.request = request

    @property
    def lambda_context(self) -> Any:
        """The invocation's context, of this thread."""
        return getattr(self._per_thread, "context", None)

    @lambda_context.setter
    def lambda_context(self, context: Any) -> None:
        self._per_thread.context = context


def create_app(
    gateway: Callable[[], CommandGateway],
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> GatewayApp:
    """The app in front of whatever `gateway` returns; it is asked at each request, and never before the
    first one.

    `gateway` raises a DaasError while it cannot be made; the caller then gets that error's Status.
    """
    app = GatewayApp(gateway)
    app.api.binary_types = ["*/*"]

    def view(**_segments: str) -> Response:
        current = app.current_request
        assert current is not None, "Chalice sets the request before it calls a view"
        event = current.to_original_event()
        return _response(_reply(lambda: _answer(gateway(), event, now_ms())))

    for depth in range(MAX_DEPTH + 1):
        path = "/" + "/".join(f"{{s{index}}}" for index in range(depth))
        app.route(path, name=f"depth_{depth}", methods=[*METHODS, *REFUSED_METHODS], content_types=["*/*"])(
            view
        )
    app.register_middleware(_default_accept, "http")
    app.register_middleware(_only_statuses, "http")
    return app


def _answer(gateway: CommandGateway, event: dict[str, Any], now_ms: int) -> GatewayReply:
    try:
        request = request_from_event(event, now_ms)
    except DaasError as error:
        return _refused(gateway, event, error)
    return gateway.handle(request)


def _refused(gateway: CommandGateway, event: dict[str, Any], error: DaasError) -> GatewayReply:
    """The refusal; one of a method says which are served."""
    reply = gateway.refuse(source_of(event), api_request_id_of(event), error)
    if reply.status != 405:
        return reply
    return replace(reply, headers=(*reply.headers, ("Allow", ", ".join(METHODS))))


def _reply(answer: Callable[[], GatewayReply]) -> GatewayReply:
    """What `answer` returns, or else the Status of what it raises."""
    try:
        return answer()
    except DaasError as error:
        return status_reply(status_of(error, submitted=False))
    except Exception as error:  # noqa: BLE001 - Chalice would log the message, which may quote the request
        log_to_stderr(json.dumps({"event": "bug", "where": where(error)}))
        return status_reply(_refusal(500))


def _default_accept(request: Request, get_response: Callable[[Any], Response]) -> Response:
    """Chalice refuses a binary reply to a request without Accept, which HTTP allows."""
    if "accept" not in request.headers:
        request.headers = CaseInsensitiveMapping({**request.headers, "accept": "*/*"})
    return get_response(request)


def _only_statuses(request: Request, get_response: Callable[[Any], Response]) -> Response:
    """Chalice's own refusals (it writes them as objects, we only write bytes) and its errors, as a Status."""
    try:
        response = get_response(request)
    except Exception as error:  # noqa: BLE001 - Chalice would answer with no Status
        log_to_stderr(json.dumps({"event": "bug", "where": where(error)}))
        response = Response(body={}, status_code=500)
    if isinstance(response.body, bytes):
        return response
    return _response(status_reply(_refusal(response.status_code)))


def _refusal(code: int) -> StatusError:
    if 400 <= code < 500:
        reason = _REASONS.get(code, "BadRequest")
        return StatusError(code, reason, "the gateway cannot serve this request")
    return StatusError(500, "InternalError", "the gateway failed inside: ask the cluster's operator")


def _response(reply: GatewayReply) -> Response:
    headers: dict[str, str | list[str]] = {}
    for name, value in reply.headers:
        known = headers.get(name)
        if known is None:
            headers[name] = value
        else:
            headers[name] = [*(known if isinstance(known, list) else [known]), value]
    return Response(body=reply.body, headers=headers, status_code=reply.status)
