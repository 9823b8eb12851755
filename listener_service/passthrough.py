"""What crosses to the API server and back, and how: pure functions, no I/O.

The request that runs is the one that was authorised: method and canonical path from the parsed attributes,
the query as it came (only a watch is given an end, and Secrets of all namespaces leave out the listener's),
an allowlist of headers, and the holder's identity (for discovery, which is the same for every holder, that of
`daas:discovery`).
"""

from __future__ import annotations

from urllib.parse import quote, unquote_plus

from k3s_daas.attributes import RequestAttributes
from k3s_daas.contract.events import ApiRequested
from k3s_daas.discovery import DISCOVERY_USER, is_discovery
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.headers import admit_request_headers, filter_response_headers
from k3s_daas.ids import request_id_text, to_hex
from k3s_daas.long_running import bounded_watch
from k3s_daas.status import StatusError
from listener_service.api_call import RawReply

_EXTRA_PREFIX = "Impersonate-Extra-"
# A `/` is not allowed in a header name, so the API server decodes percent escapes in extra keys.
_SEAL_HEADER = _EXTRA_PREFIX + quote("daas.io/seal", safe="")
_REQUEST_ID_HEADER = _EXTRA_PREFIX + quote("daas.io/request-id", safe="")


def refuse_streams(attributes: RequestAttributes) -> None:
    """Raises a 501 `StatusError` for what is a stream in both directions, whatever the gateway let
    through."""
    if attributes.needs_upgrade:
        raise _not_implemented("exec, attach and port-forward need a connection that cannot be carried here")


def _not_implemented(message: str) -> StatusError:
    return StatusError(501, "NotImplemented", message)


def target(attributes: RequestAttributes, query: str, listener_namespace: str, longest_watch_s: int) -> str:
    """Path and query as they go on the wire."""
    if attributes.verb == "watch":
        query = bounded_watch(query, longest_watch_s)
    if _is_about_all_secrets(attributes):
        query = _without_namespace(query, listener_namespace)
    return f"{attributes.path}?{query}" if query else attributes.path


def _is_about_all_secrets(attributes: RequestAttributes) -> bool:
    """The listener's keys may be Secrets of its namespace, which is closed to everybody; no role's rule can
    express "all namespaces but one"."""
    return (
        (attributes.api_group, attributes.resource) == ("", "secrets")
        # API servers delete in one namespace only, but not every server is one of theirs.
        and attributes.verb in ("list", "watch", "deletecollection")
        and not attributes.namespace
    )


def _without_namespace(query: str, namespace: str) -> str:
    """The query with one more term in its `fieldSelector`, of which there is one at most."""
    term = f"metadata.namespace!={namespace}"
    kept: list[str] = []
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        if unquote_plus(key) == "fieldSelector":
            term = f"{unquote_plus(value)},{term}" if value else term
        else:
            kept.append(pair)
    return "&".join([*kept, f"fieldSelector={quote(term, safe='')}"])


def request_headers(
    requested: ApiRequested, envelope: RequestEnvelope, attributes: RequestAttributes
) -> list[tuple[str, str]]:
    """The caller's admitted headers, then who he is. `attributes` are the ones that were authorised.

    Raises `ForbiddenError` or `MalformedRequestError` for headers that the gateway should have refused.
    """
    headers = admit_request_headers(envelope.headers)
    if not any(name == "User-Agent" for name, _ in headers):
        headers.append(("User-Agent", "k3s-daas-listener"))
    return [
        *headers,
        # The answer is compressed once, inside its envelope.
        ("Accept-Encoding", "identity"),
        *impersonation_headers(requested, attributes),
    ]


def impersonation_headers(requested: ApiRequested, attributes: RequestAttributes) -> list[tuple[str, str]]:
    """Whom the API server takes the caller for. The group is the seal's role; system groups are never named:
    the API server adds `system:authenticated` itself.

    Discovery runs as one user for all, without a role: the gateway keeps the reply for other holders. The
    extras still say on whose behalf, for the cluster's audit log.
    """
    if is_discovery(attributes):
        identity = [("Impersonate-User", DISCOVERY_USER)]
    else:
        identity = [
            ("Impersonate-User", f"sui:{to_hex(requested.requester)}"),
            ("Impersonate-Group", f"daas:role:{requested.role}"),
        ]
    return [
        *identity,
        (_SEAL_HEADER, to_hex(requested.seal)),
        (_REQUEST_ID_HEADER, request_id_text(requested.request_id)),
    ]


def response(reply: RawReply, *, proxied: bool = False) -> ResponseEnvelope:
    """The API server's reply as it goes back; `proxied`: it may be that of a pod, service or node behind it.

    Raises a 502 `StatusError` for what must not reach the caller: a redirect (kubectl would send its token to
    the target), a switch of protocols, what is no HTTP status, and a 401, which is not about the caller's
    credentials (kubectl would take it for that, and ask again).
    """
    if reply.status < 200 or (300 <= reply.status < 400 and reply.status != 304):
        raise StatusError(
            502, "BadGateway", f"the API server answered {reply.status}, which is not followed here"
        )
    if reply.status > 599:
        # A pod behind a proxy may say so; the contract would refuse it, and what ran must be recorded.
        raise StatusError(
            502, "BadGateway", f"the answer was {reply.status}, which is not the status of an HTTP response"
        )
    if reply.status == 401:
        who = "what is behind the proxy, or the API server," if proxied else "the API server"
        raise StatusError(
            502, "BadGateway", f"{who} refuses the listener's credentials: ask the cluster's operator"
        )
    return ResponseEnvelope(reply.status, tuple(filter_response_headers(reply.headers)), reply.body)


def status_response(status: StatusError, request_id: bytes) -> ResponseEnvelope:
    """A refusal of our own as a response."""
    status = status.with_request_id(request_id_text(request_id))
    return ResponseEnvelope(status.code, tuple(status.headers()), status.body())
