"""One gRPC connection to a Sui endpoint: where it goes, how long we wait, and what its failures mean.

grpclib's and h2's exceptions end here. What a reply says is not looked at, except for its gRPC status.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from h2.exceptions import H2Error

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.grpc_writes import JoinedWrites
from k3s_daas.sui.ledger import ForgedReplyError

T = TypeVar("T")

# The connection broke. (TimeoutError is an OSError as well and is always handled before.)
_BROKEN = (StreamTerminatedError, OSError, H2Error)
# What protobuf decoding makes of junk, of nesting without end and of moments after the year 9999, and
# grpclib of a reply without a message.
_UNREADABLE = (
    ProtocolError,
    AssertionError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    RecursionError,
    OverflowError,
)
_HTTPS_PORT = 443
_HTTP_PORT = 80
# Cancelling a call takes one round of the event loop; this only bounds a bug.
_RESET_TIMEOUT_S = 1.0
# Sixty objects of the largest size that Sui allows. What we ask for is smaller by far.
MAX_MESSAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Keepalive:
    """HTTP/2 pings, so that a peer that is frozen or gone is noticed even when nothing is sent."""

    interval_s: float = 10.0
    """Between two pings, with or without open calls."""
    timeout_s: float = 5.0
    """Without an answer for this long the connection counts as broken."""


class StatusReplyError(Exception):
    """The endpoint answered a call with a gRPC status, by its name. Internal to the adapter.

    `after_break` says that an earlier attempt of the same call broke, so that this status speaks only for the
    later one.
    """

    def __init__(self, status: str, message: str, *, after_break: bool) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.after_break = after_break


class GrpcConnection:
    """A channel that is opened on first use, in the event loop of that use, and stays with that loop."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None, keepalive: Keepalive) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"the Sui endpoint is http://host:port or https://host, not {url!r}")
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise ConfigurationError("a gRPC endpoint has no path, query or user: give scheme, host and port")
        self._host = parts.hostname
        try:
            self._port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT)
        except ValueError as error:
            raise ConfigurationError(f"the port of the Sui endpoint {url!r} is not a port") from error
        self._tls = _verifying(tls) if parts.scheme == "https" else None
        if parts.scheme == "http" and tls is not None:
            raise ConfigurationError("TLS settings are given, but the Sui endpoint is http://: use https://")
        self._keepalive = keepalive
        self._channel: Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __str__(self) -> str:
        return f"Sui endpoint {self._host}:{self._port}"

    async def unary(self, call: Callable[[Channel], Awaitable[T]], timeout_s: float) -> T:
        """Makes a call, and once more with the same message if the connection broke; both within `timeout_s`.

        Raises `StatusReplyError` for a gRPC status, else `LedgerUnavailableError`.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        broken: BaseException | None = None
        for _ in range(2):
            try:
                return await _isolated(call(self._open()), deadline - asyncio.get_running_loop().time())
            except GRPCError as error:
                after_break = broken is not None
                raise StatusReplyError(
                    error.status.name, error.message or "", after_break=after_break
                ) from error
            except TimeoutError as error:
                raise LedgerUnavailableError(f"the {self} did not answer within {timeout_s:g} s") from error
            except _BROKEN as error:
                broken = error
            except _OversizedError as error:
                raise self._oversized(error) from error
            except _UNREADABLE as error:
                raise ForgedReplyError(f"the {self} sent a reply that cannot be read") from error
        raise self._unreachable(broken) from broken

    async def stream(
        self, call: Callable[[Channel], AsyncGenerator[T, None]], idle_timeout_s: float
    ) -> AsyncGenerator[T, None]:
        """The messages of a streaming call; ends where the endpoint ends it.

        Raises `LedgerUnavailableError` on every failure, and when no message came for `idle_timeout_s`.
        """
        messages = call(self._open())
        try:
            while True:
                message = await self._next(messages, idle_timeout_s)
                if message is None:
                    return
                yield message
        finally:
            await messages.aclose()

    async def close(self) -> None:
        """Closes the channel for good."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _open(self) -> Channel:
        if self._closed:
            raise LedgerUnavailableError(f"the connection to the {self} has been closed")
        loop = asyncio.get_running_loop()
        if self._channel is None:
            self._loop = loop
            self._channel = _BoundedChannel(
                self._host, self._port, ssl=self._tls, config=self._configuration()
            )
        elif loop is not self._loop:
            # A call from a second loop hangs for ever, after the endpoint has executed it.
            raise RuntimeError("a GrpcLedger belongs to one event loop: make one for each loop")
        return self._channel

    def _configuration(self) -> Configuration:
        interval = float(self._keepalive.interval_s)
        return Configuration(
            _keepalive_time=interval,
            _keepalive_timeout=float(self._keepalive.timeout_s),
            _keepalive_permit_without_calls=True,
            # 0: any number. A subscription without events sends nothing but pings.
            _http2_max_pings_without_data=0,
            # Below the interval, else grpclib skips every second ping.
            _http2_min_sent_ping_interval_without_data=interval / 2,
        )

    async def _next(self, messages: AsyncGenerator[T, None], idle_timeout_s: float) -> T | None:
        """The next message, or None at the end of the stream."""
        try:
            return await _isolated(anext(messages, None), idle_timeout_s)
        except GRPCError as error:
            raise LedgerUnavailableError(
                f"the {self} ended the stream: {error.status.name} {error.message or ''}"
            ) from error
        except TimeoutError as error:
            raise LedgerUnavailableError(f"the {self} sent nothing for {idle_timeout_s:g} s") from error
        except _BROKEN as error:
            raise self._unreachable(error) from error
        except _OversizedError as error:
            raise self._oversized(error) from error
        except _UNREADABLE as error:
            raise ForgedReplyError(f"the {self} sent a message that cannot be read") from error

    def _unreachable(self, cause: BaseException | None) -> LedgerUnavailableError:
        return LedgerUnavailableError(
            f"no connection to the {self} ({type(cause).__name__}: {cause}): check that it runs"
        )

    def _oversized(self, error: _OversizedError) -> ForgedReplyError:
        return ForgedReplyError(f"the {self} sent {error}: use another endpoint")


class _OversizedError(ProtocolError):  # type: ignore[misc]  # grpclib is followed as untyped
    """The endpoint announced a message that nothing we ask for can need."""


class _BoundedChannel(Channel):  # type: ignore[misc]  # grpclib is followed as untyped
    """grpclib reads whatever length a message's header announces, up to 4 GiB, into memory."""

    def _protocol_factory(self) -> H2Protocol:
        plain = super()._protocol_factory()
        return _BoundedProtocol(plain.handler, plain.config, plain.h2_config)


class _BoundedProtocol(H2Protocol):  # type: ignore[misc]  # grpclib is followed as untyped
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(JoinedWrites(cast("asyncio.Transport", transport)))
        create = self.connection.create_stream

        def create_bounded(**arguments: Any) -> Any:
            stream = create(**arguments)
            stream.recv_data = partial(_receive_bounded, stream.recv_data)
            return stream

        self.connection.create_stream = create_bounded


async def _receive_bounded(receive: Callable[[int], Awaitable[bytes]], size: int) -> bytes:
    if size > MAX_MESSAGE_BYTES:
        raise _OversizedError(f"a message of {size} bytes, more than {MAX_MESSAGE_BYTES}")
    return await receive(size)


async def _isolated(call: Awaitable[T], timeout_s: float) -> T:
    """Awaits a grpclib call in a task of its own, for at most `timeout_s`; raises what the call raises.

    grpclib cancels the task that waits in a call when the connection breaks, turns that into an error, and
    never takes the cancellation back. In the caller's task that would break its timeouts and task groups.
    """

    async def run() -> T:
        return await call

    task = asyncio.create_task(run())
    try:
        done, _ = await asyncio.wait({task}, timeout=max(timeout_s, 0))
        if not done:
            task.cancel()
            # Lets grpclib reset the stream, so that the endpoint stops working on it.
            await asyncio.wait({task}, timeout=_RESET_TIMEOUT_S)
            raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
        task.add_done_callback(_retrieve)
    if task.cancelled():
        raise StreamTerminatedError("the call was cancelled from within")
    return task.result()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Looks at an abandoned call's exception, so that asyncio does not report it as forgotten."""
    if not task.cancelled():
        task.exception()


def _verifying(tls: ssl.SSLContext | None) -> ssl.SSLContext:
    """A context that verifies the peer and speaks HTTP/2."""
    context = tls or ssl.create_default_context()
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigurationError("TLS to a Sui endpoint must verify certificate and host name")
    context.set_alpn_protocols(["h2"])
    return context
