"""The connection to the API server: raw HTTP over the `kubernetes` package's configuration.

Addresses, certificates, tokens and proxies come from that package (kubeconfig or in-cluster); requests do
not go through its generated client, which knows a fixed set of resources and decodes what must pass
untouched.

What a caller can rely on:

1. Not one byte of a request is written before `may_start` said yes, asked after the connection stands.
2. A request is written at most once; nothing here retries what may have arrived. The one exception is a
   request that the API server refused with 401: it was not executed, and is sent again if the credentials
   on disk changed. Not if it is for a proxy: there the 401 may be a pod's, which did what it was asked.
3. Redirects are not followed, and bodies are not decoded.
4. The exception says whether the API server may have seen the request: `NotSentError` means it did not.
5. Credentials that were rotated on disk count from the next request on; one that expires is renewed before,
   and a plugin that hangs meanwhile holds up those calls only that have none without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from math import inf
from typing import Any

import urllib3

from listener_service.api_call import (
    ApiCall,
    ApiServerError,
    NoReplyError,
    NotSentError,
    RawReply,
    ReplyTimeoutError,
    ReplyTooLargeError,
)
from listener_service.api_way import Way
from listener_service.gated_pools import gate
from listener_service.live_reply import LiveReply, TooMuchError
from listener_service.reloading import Reloading

_CONNECT_TIMEOUT_S = 5.0
# Between attempts to load credentials that are out of date.
_RENEWAL_PAUSE_S = 5.0
# How long calls wait for it while the old ones count: files are read by then. The other bound is a part of
# the call's time, which leaves the lead's renewal enough of its own.
_RENEWAL_PATIENCE_S = 2.0
_RENEWAL_SHARE = 4
_READ_BYTES = 64 * 1024
# Zero would mean not to wait at all, and fail although there is something.
_LEAST_WAIT_S = 0.001


class ApiServer:
    """One API server, with `connections` kept open. Thread-safe; calls block the thread.

    `called` hears of each call: its reply's status, or None if no complete reply came. It must not wait.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        *,
        connections: int,
        called: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._called = called
        self._connections = connections
        self._way = Way.by(load(), connections)
        self._reloading = Reloading(self._replace, pause_s=_RENEWAL_PAUSE_S)

    def send(self, call: ApiCall, may_start: Callable[[], bool], live: LiveReply | None = None) -> RawReply:
        """Sends one request and reads the whole reply; with `live`, what that one takes of a good one.

        Raises `ApiServerError`, and `UncutError` of a `live` reply.
        """
        try:
            reply = self._send(call, may_start, live)
        except (NotSentError, NoReplyError, ReplyTimeoutError):
            self._called(None)
            raise
        self._called(reply.status)
        return reply

    def _send(self, call: ApiCall, may_start: Callable[[], bool], live: LiveReply | None) -> RawReply:
        deadline = time.monotonic() + call.timeout_s
        way = self._current(call, deadline)
        reply = self._send_once(way, call, deadline, may_start, live)
        if reply.status == HTTPStatus.UNAUTHORIZED and not call.proxied and self._reload(way, deadline):
            reply = self._send_once(self._way, call, deadline, may_start, live)
        return reply

    def close(self) -> None:
        """Closes the idle connections."""
        self._way.pool.clear()

    def _current(self, call: ApiCall, deadline: float) -> Way:
        """Loads again what is out of date. While it still counts, it is not waited for long.

        Raises `NotSentError` if what there is has ended.
        """
        if self._way.is_stale:
            self._reloading.begin_if_due()
            patience_s = min(_RENEWAL_PATIENCE_S, call.timeout_s / _RENEWAL_SHARE)
            self._reloading.wait(deadline, patience_s=inf if self._way.is_expired else patience_s)
        way = self._way
        if way.is_expired:
            raise NotSentError("the listener's credentials for the API server have ended and are not renewed")
        return way

    def _reload(self, refused: Way, deadline: float) -> bool:
        """Reads kubeconfig or service account again; whether there are other credentials than the refused."""
        if self._way.fingerprint == refused.fingerprint:
            self._reloading.begin()
            self._reloading.wait(deadline)
        return self._way.fingerprint != refused.fingerprint

    def _replace(self) -> None:
        way, replaced = Way.by(self._load(), self._connections), self._way
        if way.fingerprint == replaced.fingerprint and not replaced.is_stale:
            return
        self._way = way
        # Requests that are still on their way keep their connections.
        replaced.pool.clear()

    def _send_once(
        self,
        way: Way,
        call: ApiCall,
        deadline: float,
        may_start: Callable[[], bool],
        live: LiveReply | None,
    ) -> RawReply:
        left_s = max(_LEAST_WAIT_S, deadline - time.monotonic())
        fields = urllib3.HTTPHeaderDict()
        for name, value in call.headers:
            fields.add(name, value)
        if way.authorization is not None:
            fields["Authorization"] = way.authorization
        gate.may_start, gate.passed = may_start, False
        try:
            response = way.pool.urlopen(
                call.method,
                way.origin + call.target,
                body=call.body or None,
                headers=fields,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT_TIMEOUT_S, left_s), read=left_s),
            )
            try:
                if live is None or response.status != HTTPStatus.OK:
                    content = _read(response, deadline, call)
                else:
                    content = _read_live(response, live)
            except BaseException:
                response.close()
                raise
            if live is not None and live.was_cut_short:
                response.close()
            response.release_conn()
            return RawReply(response.status, tuple(response.headers.items()), content)
        except ApiServerError:
            raise
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _translate(error, gate.passed) from error
        finally:
            gate.may_start = None


def _read(response: urllib3.BaseHTTPResponse, deadline: float, call: ApiCall) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := _next(response, deadline):
        size += len(chunk)
        if size > call.max_reply_bytes:
            raise ReplyTooLargeError(f"the API server's reply has more than {call.max_reply_bytes} bytes")
        if call.grow is not None and not call.grow(size, deadline):
            raise ReplyTimeoutError("there was no memory for the API server's reply in time")
        chunks.append(chunk)
        if time.monotonic() > deadline:
            raise ReplyTimeoutError("the API server's reply was not complete in time")
    return b"".join(chunks)


def _next(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    assert isinstance(response, urllib3.HTTPResponse), "the pools speak HTTP/1.1"
    # The library would wait for each piece as long as for the whole.
    if response.connection is not None and response.connection.sock is not None:
        response.connection.sock.settimeout(max(_LEAST_WAIT_S, deadline - time.monotonic()))
    return response.read1(_READ_BYTES, decode_content=False)


def _read_live(response: urllib3.BaseHTTPResponse, live: LiveReply) -> bytes:
    assert isinstance(response, urllib3.HTTPResponse), "the pools speak HTTP/1.1"
    content_type = response.headers.get("Content-Type", "")
    try:
        return live.read(response, content_type, _READ_BYTES)
    except TooMuchError:
        raise ReplyTooLargeError("the API server's reply has too many bytes") from None


def _translate(error: Exception, sent: bool) -> ApiServerError:
    """Exceptions of the HTTP library carry addresses and paths, so only their kind is told."""
    kind = type(error).__name__
    if not sent:
        return NotSentError(f"the API server cannot be reached ({kind})")
    if isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return ReplyTimeoutError("the API server did not reply in time")
    return NoReplyError(f"the connection to the API server broke before its reply was complete ({kind})")
