"""A request to the API server, its reply, and what there is instead of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from k3s_daas.errors import DaasError

Grow = Callable[[int, float], bool]


class ApiServerError(DaasError):
    """The API server gave no complete reply. `sent` says whether the request may have reached it."""

    sent = True


class NotSentError(ApiServerError):
    """The API server cannot be reached: the request was not sent."""

    sent = False


class NotStartedError(ApiServerError):
    """`may_start` said no: the request was not sent."""

    sent = False


class NoReplyError(ApiServerError):
    """The connection broke after the request was sent."""


class ReplyTimeoutError(ApiServerError):
    """No complete reply in time."""


class ReplyTooLargeError(ApiServerError):
    """The reply has more bytes than the caller takes; it was not read to the end."""


@dataclass(frozen=True, slots=True, repr=False)
class ApiCall:
    """One request. `target` is path and query as on the wire.

    `headers` hold neither Host, Authorization nor framing. `timeout_s` bounds the call from its start to
    the last byte in; a reply over `max_reply_bytes` is not taken. `grow` is asked for memory while a reply
    comes in, with its size and the deadline; it may wait until then, and without it the reply is dropped.
    `proxied`: whoever answers may be behind the API server.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    timeout_s: float
    max_reply_bytes: int
    grow: Grow | None = None
    proxied: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class RawReply:
    """A complete reply. `body` is as on the wire (not decoded)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
