"""What a request may ask for that the way through API Gateway and the chain cannot carry.

Everything refused here gets a Status that names the feature and what to do instead; nothing reaches the
chain.
"""

from __future__ import annotations

from chalicelib.http_request import GatewayRequest
from k3s_daas.attributes import RequestAttributes
from k3s_daas.headers import asks_for_upgrade
from k3s_daas.long_running import is_true
from k3s_daas.status import StatusError

# Subresources that are nothing but a stream in both directions: the command, and what to do instead.
STREAMING_SUBRESOURCES = {
    "exec": ("kubectl exec (and cp)", "run a Job and read its log"),
    "attach": ("kubectl attach", "read `kubectl logs`"),
    "portforward": ("kubectl port-forward", "expose the port with a Service"),
}


def refuse_unsupported(request: GatewayRequest, attributes: RequestAttributes) -> None:
    """Raise a 501 StatusError that names the feature, or 422 for a watch list."""
    if attributes.needs_upgrade:
        command, instead = STREAMING_SUBRESOURCES[attributes.subresource]
        raise _not_implemented(f"{command} needs a stream, and this gateway carries none: {instead}")
    if asks_for_upgrade(request.headers):
        raise _not_implemented("this gateway carries no connection upgrades (WebSocket, SPDY)")
    if attributes.verb == "watch" and is_true(request.query, "sendInitialEvents"):
        # The answer of an API server whose WatchList feature is off: clients list first and watch from there.
        raise StatusError(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: this gateway serves no watch lists: "
            "list first, then watch from that resourceVersion",
        )


def _not_implemented(message: str) -> StatusError:
    return StatusError(501, "NotImplemented", message)
