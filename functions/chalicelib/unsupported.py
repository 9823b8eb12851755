"""What a request may ask for that the way through API Gateway and the chain cannot carry.

Everything refused here gets a Status that names the feature and what to do instead; nothing reaches the
chain.
"""

from __future__ import annotations

import re

from chalicelib.http_request import GatewayRequest
from k3s_daas.attributes import RequestAttributes
from k3s_daas.errors import MalformedRequestError
from k3s_daas.headers import asks_for_upgrade
from k3s_daas.long_running import first_value, is_true
from k3s_daas.status import StatusError

# Subresources that are nothing but a stream in both directions: the command, and what to do instead.
STREAMING_SUBRESOURCES = {
    "exec": ("kubectl exec (and cp)", "run a Job and read its log"),
    "attach": ("kubectl attach", "read `kubectl logs`"),
    "portforward": ("kubectl port-forward", "expose the port with a Service"),
}


# As many digits as fit the API server's 64 bits, whichever they are.
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def refuse_unsupported(request: GatewayRequest, attributes: RequestAttributes) -> None:
    """Raise a 501 StatusError that names the feature, or 422 for a watch list; MalformedRequestError for a
    watch whose end is no number."""
    if attributes.needs_upgrade:
        command, instead = STREAMING_SUBRESOURCES[attributes.subresource]
        raise _not_implemented(f"{command} needs a stream, and this gateway carries none: {instead}")
    if asks_for_upgrade(request.headers):
        raise _not_implemented("this gateway carries no connection upgrades (WebSocket, SPDY)")
    if attributes.verb == "watch":
        _refuse_watch(request.query)


def _refuse_watch(query: str) -> None:
    if is_true(query, "sendInitialEvents"):
        # The answer of an API server whose WatchList feature is off: clients list first and watch from there.
        raise StatusError(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: this gateway serves no watch lists: "
            "list first, then watch from that resourceVersion",
        )
    # The API server gets another end, within the gateway's own time, and would never complain of this one.
    end = first_value(query, "timeoutSeconds")
    if end is not None and not _WHOLE_NUMBER.fullmatch(end):
        raise MalformedRequestError("timeoutSeconds is no whole number: send seconds, or leave it out")


def _not_implemented(message: str) -> StatusError:
    return StatusError(501, "NotImplemented", message)
