"""Text messages over a verified WebSocket: the only part of the listener that knows the `websockets` package.

What is bounded here: the handshake in time, a message in size, frames that nobody has read yet in number.
Compression is not offered and redirects are not followed: the first would let a small frame become a large
message, the second would take the bearer token to another host.

A connection that is dead is noticed within `PING_EVERY_S` + `PONG_WITHIN_S`, whether or not anything is
asked.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError

# At debug level the package logs the handshake, with path and bearer token, and every message.
_transport_log = logging.getLogger(f"{__name__}.transport")
_transport_log.setLevel(logging.WARNING)

PING_EVERY_S = 10.0
PONG_WITHIN_S = 5.0
_OPEN_WITHIN_S = 10.0
_CLOSE_WITHIN_S = 1.0
# Fifty events with the node's rendering of each; the contract's take some KiB.
_MAX_MESSAGE_BYTES = 4 << 20
_MAX_UNREAD_FRAMES = 16


class Wire(Protocol):
    """A connection that carries text messages both ways.

    1. `receive` may be cancelled; no message is lost by that.
    2. Every failure is `LedgerUnavailableError`, and after one the wire is of no further use.
    3. Messages and what is buffered of them are bounded: whoever does not read stops the other side.
    """

    async def send(self, text: str) -> None:
        """Sends one message."""
        ...

    async def receive(self) -> str:
        """The next message."""
        ...

    async def close(self) -> None:
        """Ends the connection, within a second even if the peer is gone."""
        ...


OpenWire = Callable[[], Awaitable[Wire]]


@dataclass(frozen=True, slots=True)
class WebSocketEndpoint:
    """Where a WebSocket is served. `bearer` is read anew for each connection, so that tokens may rotate.

    `tls` replaces the system's trust store; it must verify certificates, as the default does.
    """

    url: str
    bearer: Callable[[], str | None] = field(default=lambda: None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    ping_every_s: float = PING_EVERY_S
    pong_within_s: float = PONG_WITHIN_S

    def __str__(self) -> str:
        """Without path and query, where providers put keys."""
        parts = urlsplit(self.url)
        return f"WebSocket endpoint {parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    async def open(self) -> Wire:
        """Connects. Raises `LedgerUnavailableError`."""
        token = self.bearer()
        try:
            connection = await _Connect(
                self.url,
                ssl=self._context(),
                additional_headers={"Authorization": f"Bearer {token}"} if token else None,
                open_timeout=_OPEN_WITHIN_S,
                close_timeout=_CLOSE_WITHIN_S,
                ping_interval=self.ping_every_s,
                ping_timeout=self.pong_within_s,
                max_size=_MAX_MESSAGE_BYTES,
                max_queue=_MAX_UNREAD_FRAMES,
                compression=None,
                proxy=None,
                logger=_transport_log,
            )
        except InvalidStatus as error:
            raise LedgerUnavailableError(f"the {self} {_refusal(error.response.status_code)}") from error
        except InvalidHandshake as error:
            raise LedgerUnavailableError(f"the {self} does not speak WebSocket: {error}") from error
        except TimeoutError as error:
            raise LedgerUnavailableError(f"the {self} did not answer within {_OPEN_WITHIN_S:g} s") from error
        except (OSError, WebSocketException) as error:
            raise LedgerUnavailableError(
                f"no connection to the {self} ({type(error).__name__}: {error}): check that it runs"
            ) from error
        return _OpenWebSocket(connection, str(self))

    def _context(self) -> ssl.SSLContext | None:
        if not self.url.startswith("wss:"):
            return None
        context = self.tls or ssl.create_default_context()
        if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
            raise ConfigurationError("TLS to a Sui endpoint must verify certificate and host name")
        return context


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(frozen=True, slots=True)
class _OpenWebSocket:
    connection: ClientConnection
    name: str

    async def send(self, text: str) -> None:
        try:
            await self.connection.send(text)
        except WebSocketException as error:
            raise self._lost(error) from error

    async def receive(self) -> str:
        try:
            return await self.connection.recv(decode=True)
        except (WebSocketException, UnicodeDecodeError) as error:
            raise self._lost(error) from error

    async def close(self) -> None:
        await self.connection.close()

    def _lost(self, error: Exception) -> LedgerUnavailableError:
        return LedgerUnavailableError(f"the connection to the {self.name} ended: {error}")


def _refusal(status: int) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"refuses us ({status}): check DAAS_SUI_WEBSOCKET_TOKEN_FILE"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return (
            "serves JSON-RPC without WebSocket (405): set jsonrpc-server-type to both at the fullnode, "
            "or use DAAS_EVENT_SOURCE=grpc"
        )
    return f"answered {status} instead of opening a WebSocket"
