"""What a request may ask for that the way through API Gateway and the chain cannot carry, and how watches
are cut.

Everything refused here gets a Status that names the feature and what to do instead; nothing reaches the
chain.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote_plus

from chalicelib.http_request import GatewayRequest
from k3s_daas.attributes import RequestAttributes
from k3s_daas.headers import asks_for_upgrade
from k3s_daas.status import StatusError

# Subresources that are nothing but a stream in both directions: the command, and what to do instead.
STREAMING_SUBRESOURCES = {
    "exec": ("kubectl exec (and cp)", "run a Job and read its log"),
    "attach": ("kubectl attach", "read `kubectl logs`"),
    "portforward": ("kubectl port-forward", "expose the port with a Service"),
}
# How the API server reads a boolean parameter: present means true, except for these.
FALSE_VALUES = frozenset({"0", "false"})
# More digits than any time needs; Python refuses to read thousands of them.
SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def refuse_unsupported(request: GatewayRequest, attributes: RequestAttributes) -> None:
    """Raise a 501 StatusError that names the feature, or 422 for a watch list."""
    if attributes.needs_upgrade:
        command, instead = STREAMING_SUBRESOURCES[attributes.subresource]
        raise _not_implemented(f"{command} needs a stream, and this gateway carries none: {instead}")
    if asks_for_upgrade(request.headers):
        raise _not_implemented("this gateway carries no connection upgrades (WebSocket, SPDY)")
    parameters = parse_qsl(request.query, keep_blank_values=True)
    if attributes.subresource == "log" and _is_true(parameters, "follow"):
        raise _not_implemented(
            "kubectl logs --follow needs a stream, and this gateway carries none: "
            "leave --follow out, use --since or --tail"
        )
    if attributes.verb == "watch" and _is_true(parameters, "sendInitialEvents"):
        # The answer of an API server whose WatchList feature is off: clients list first and watch from there.
        raise StatusError(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: this gateway serves no watch lists: "
            "list first, then watch from that resourceVersion",
        )


def bounded_watch_query(query: str, limit_s: int) -> str:
    """The query with `timeoutSeconds` at most `limit_s`; all else stays as it is, in order."""
    kept: list[str] = []
    timeout = limit_s
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name != "timeoutSeconds":
            kept.append(pair)
        elif SECONDS.fullmatch(value) and 0 < int(value) < timeout:
            timeout = int(value)
    return "&".join([*filter(None, kept), f"timeoutSeconds={quote_plus(str(timeout))}"])


def _is_true(parameters: list[tuple[str, str]], name: str) -> bool:
    value = next((value for key, value in parameters if key == name), None)
    return value is not None and value.lower() not in FALSE_VALUES


def _not_implemented(message: str) -> StatusError:
    return StatusError(501, "NotImplemented", message)
