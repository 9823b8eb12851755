"""One WebSocket port: JSON-RPC messages in and out, subscriptions, misbehaviour between answer and wire."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import ssl
from collections import Counter
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from ..ledger.ledger import Ledger
from ..rpc.port import Port
from .errors import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR, RpcError
from .filters import Predicate, event_filter
from .methods import Methods
from .rendering import event_json

logger = logging.getLogger(__name__)
SUBSCRIBE, UNSUBSCRIBE = "suix_subscribeEvent", "suix_unsubscribeEvent"


class JsonRpcEndpoint(Port):
    """One port over a ledger. Calls are counted by their method's name."""

    def __init__(self, ledger: Ledger, calls: Counter[str]) -> None:
        super().__init__(ledger)
        self._calls = calls
        self._methods = Methods(self.view)
        self._subscriptions = itertools.count(1)
        self._connections: set[ServerConnection] = set()
        self._server: Server | None = None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close(close_connections=False)
            self.drop_connections()
            await self._server.wait_closed()

    def drop_connections(self) -> None:
        for connection in self._connections:
            connection.transport.abort()

    async def _listen(self, port: int, tls: ssl.SSLContext | None) -> int:
        self._server = await serve(
            self._serve, "127.0.0.1", port, ssl=tls, compression=None, process_request=self._greet
        )
        [socket] = self._server.sockets
        number: int = socket.getsockname()[1]
        return number

    def _greet(self, connection: ServerConnection, _: Request) -> None:
        if self.misbehaviour.away:
            connection.transport.abort()

    def _freeze_connections(self, frozen: bool) -> None:
        for connection in self._connections:
            if frozen:
                connection.transport.pause_reading()
            else:
                connection.transport.resume_reading()

    async def _serve(self, connection: ServerConnection) -> None:
        """One connection, until it is closed."""
        self._connections.add(connection)
        pushing: dict[int, asyncio.Task[None]] = {}
        try:
            if self.misbehaviour.frozen:
                connection.transport.pause_reading()
            async for text in connection:
                await self._answer(connection, text, pushing)
        except ConnectionClosed:
            logger.debug("a client hung up")
        finally:
            self._connections.discard(connection)
            for task in pushing.values():
                task.cancel()
            await asyncio.gather(*pushing.values(), return_exceptions=True)

    async def _answer(
        self, connection: ServerConnection, text: str | bytes, pushing: dict[int, asyncio.Task[None]]
    ) -> None:
        request_id = None
        begin: asyncio.Event | None = None
        try:
            request = _parsed(text)
            request_id = request["id"]
            name, parameters = request["method"], request.get("params") or []
            self._calls[name] += 1
            self._maybe_fail(name)
            if name == SUBSCRIBE:
                begin = asyncio.Event()
                outcome = self._subscribe(connection, parameters, pushing, begin)
            elif name == UNSUBSCRIBE:
                outcome = _unsubscribe(parameters, pushing)
            else:
                outcome = self._methods.call(name, parameters)
            reply = {"jsonrpc": "2.0", "result": outcome, "id": request_id}
        except RpcError as error:
            reply = {
                "jsonrpc": "2.0",
                "error": {"code": error.code, "message": str(error)},
                "id": request_id,
            }
        await self._send(connection, reply)
        if begin is not None:
            begin.set()

    def _subscribe(
        self,
        connection: ServerConnection,
        parameters: list[Any],
        pushing: dict[int, asyncio.Task[None]],
        begin: asyncio.Event,
    ) -> int:
        matches = event_filter(parameters[0] if parameters else None)
        number = next(self._subscriptions)
        pushing[number] = asyncio.create_task(self._push(connection, number, matches, begin))
        return number

    async def _push(
        self, connection: ServerConnection, number: int, matches: Predicate, begin: asyncio.Event
    ) -> None:
        """Events from the tip on, once the subscription has been answered."""
        checkpoints = self.view.follow(self.view.tip.sequence + 1)
        await begin.wait()
        sent = 0
        with contextlib.suppress(ConnectionClosed):
            async for checkpoint in checkpoints:
                for indexed in filter(matches, self.view.pushed_events(checkpoint)):
                    event = event_json(self.view.ledger.datatypes, indexed, self.misbehaviour)
                    for _ in range(2 if self.misbehaviour.duplicate_events else 1):
                        limit = self.misbehaviour.drop_streams_after
                        if limit is not None and sent >= limit:
                            connection.transport.abort()
                            return
                        await self.misbehaviour.deliver()
                        parameters = {"subscription": number, "result": event}
                        notification = {"jsonrpc": "2.0", "method": SUBSCRIBE, "params": parameters}
                        await self._send(connection, notification)
                        sent += 1

    async def _send(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        await self._before_sending()
        await connection.send(json.dumps(message, separators=(",", ":")))

    def _maybe_fail(self, name: str) -> None:
        error = self.misbehaviour.failure(name, after=False)
        if error is not None:
            raise RpcError(INTERNAL_ERROR, error.message or "the node was told to fail")


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError as error:
        raise RpcError(PARSE_ERROR, "Parse error") from error
    if not isinstance(request, dict) or "id" not in request or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Invalid request")
    return request


def _unsubscribe(parameters: list[Any], pushing: dict[int, asyncio.Task[None]]) -> bool:
    task = pushing.pop(parameters[0], None) if parameters else None
    if task is not None:
        task.cancel()
    return task is not None
