"""The smallest HTTP/1.1 server that the faucet and the control port need: JSON in, JSON out, one reply each.

Bound to 127.0.0.1, without TLS and authentication: it belongs to a test network on one machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

logger = logging.getLogger(__name__)
MAX_BODY_BYTES = 1 << 20
READ_TIMEOUT_S = 10.0
Handler = Callable[[str, str, Any], Awaitable[Any]]
"""(method, path, body or None) -> reply."""


class HttpError(Exception):
    """A reply other than 200."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class JsonServer:
    """Serves one handler on one port."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._connections):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            status, reply = await self._reply(reader)
            body = json.dumps(reply).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        except ConnectionError:
            logger.debug("a client hung up")
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> tuple[HTTPStatus, Any]:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                method, path, body = await _read_request(reader)
            return HTTPStatus.OK, await self._handler(method, path, body)
        except HttpError as error:
            return error.status, {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return HTTPStatus.BAD_REQUEST, {"error": f"{type(error).__name__}: {error}"}
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return HTTPStatus.REQUEST_TIMEOUT, {"error": "the request did not come completely"}


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    try:
        method, target, _ = head[0].split(" ")
    except ValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, "not an HTTP request") from error
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if "transfer-encoding" in headers:
        raise HttpError(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length")
    length = int(headers.get("content-length", "0"))
    if length > MAX_BODY_BYTES:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes are read")
    body = await reader.readexactly(length)
    return method, target.partition("?")[0], json.loads(body) if body else None
