"""The Chalice app as `chalice local` calls it: Chalice's own event, its own local gateway, no JSON between.

For comparison with the strict round trip. What this event lacks (`requestTimeEpoch`, base64 bodies, both
header forms) the app has to do without.
"""

from __future__ import annotations

import base64

from chalice import Chalice
from chalice.config import Config
from chalice.local import LocalGateway, LocalGatewayException

from infra.local.gateway.messages import HttpReply, HttpRequest, refusal


class ChaliceLocalGateway:
    """Answers HTTP requests through the app; safe to call from many threads at once."""

    def __init__(self, app: Chalice, *, function_timeout_s: int = 28) -> None:
        config = Config.create(chalice_app=app, lambda_timeout=function_timeout_s)
        self._gateway = LocalGateway(app, config)

    def handle(self, request: HttpRequest) -> HttpReply:
        """One request through Chalice's local gateway."""
        try:
            answer = self._gateway.handle_request(
                method=request.method,
                path=request.target,
                headers=dict(request.headers),
                body=request.body or None,
            )
        except LocalGatewayException:
            # No route has this depth. Chalice's own text repeats the token.
            return refusal(404, "The server could not find the requested resource.")
        body = answer["body"] or ""
        content = base64.b64decode(body) if answer.get("isBase64Encoded") else _bytes(body)
        several: dict[str, list[str]] = answer.get("multiValueHeaders") or {}
        single: dict[str, str] = answer.get("headers") or {}
        headers = [(name, str(value)) for name, value in single.items() if name not in several]
        headers += [(name, str(value)) for name, values in several.items() for value in values]
        return HttpReply(int(answer["statusCode"]), tuple(headers), content)


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body
