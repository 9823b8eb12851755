"""One gRPC port: methods by name, errors as status codes, misbehaviour between handler and wire."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.errors import TransactionRefusedError
from ..ledger.ledger import Ledger
from .masks import MaskError
from .port import Port

logger = logging.getLogger(__name__)
PREFIX = "/sui.rpc.v2."
Message = Any
Unary = Callable[[Message], Awaitable[Message]]
Streaming = Callable[[Message], AsyncIterator[Message]]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC: ``path`` is ``Service/Method``; request and response classes carry that method's name."""

    path: str
    handle: Unary | Streaming
    streams: bool = False

    @property
    def name(self) -> str:
        return self.path.partition("/")[2]


_STREAMING = frozenset(
    {
        "ListCheckpoints",
        "ListTransactions",
        "ListEvents",
        "SubscribeCheckpoints",
        "SubscribeTransactions",
        "SubscribeEvents",
    }
)
ALL_METHODS = {
    "LedgerService": (
        "GetServiceInfo", "GetObject", "BatchGetObjects", "GetTransaction", "BatchGetTransactions",
        "GetCheckpoint", "GetEpoch", "ListCheckpoints", "ListTransactions", "ListEvents",
    ),
    "MovePackageService": ("GetPackage", "GetDatatype", "GetFunction", "ListPackageVersions"),
    "NameService": ("LookupName", "ReverseLookupName"),
    "SignatureVerificationService": ("VerifySignature",),
    "StateService": ("ListDynamicFields", "ListOwnedObjects", "GetCoinInfo", "GetBalance", "ListBalances"),
    "SubscriptionService": ("SubscribeCheckpoints", "SubscribeTransactions", "SubscribeEvents"),
    "TransactionExecutionService": ("ExecuteTransaction", "SimulateTransaction"),
}  # fmt: skip
"""Every method of ``sui.rpc.v2``; those without a handler answer UNIMPLEMENTED."""


class Endpoint(Port):
    """One gRPC port over a ledger."""

    def __init__(self, ledger: Ledger, calls: Counter[str]) -> None:
        super().__init__(ledger)
        self._calls = calls
        self._methods: dict[str, Method] = {}
        self._connections: dict[_Watched, None] = {}
        self._server: _WatchedServer | None = None

    def add(self, methods: list[Method]) -> None:
        self._methods.update({method.path: method for method in methods})

    async def _listen(self, port: int, tls: ssl.SSLContext | None) -> int:
        self._server = _WatchedServer([self], self)
        await self._server.start("127.0.0.1", port, ssl=tls)
        return self._server.listening_port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self.drop_connections()
            await self._server.wait_closed()

    def _freeze_connections(self, frozen: bool) -> None:
        for connection in self._connections:
            connection.freeze(frozen)

    def drop_connections(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def connected(self, connection: _Watched) -> None:
        self._connections[connection] = None
        if self.misbehaviour.away:
            connection.abort()
            return
        connection.freeze(self.misbehaviour.frozen)

    def disconnected(self, connection: _Watched) -> None:
        self._connections.pop(connection, None)

    def __mapping__(self) -> dict[str, Handler]:
        mapping = {}
        for service, names in ALL_METHODS.items():
            for name in names:
                path = f"{service}/{name}"
                method = self._methods.get(path) or Method(path, _unimplemented)
                mapping[PREFIX + path] = Handler(
                    self._serve(method),
                    Cardinality.UNARY_STREAM if name in _STREAMING else Cardinality.UNARY_UNARY,
                    getattr(v2, f"{name}Request"),
                    getattr(v2, f"{name}Response"),
                )
        return mapping

    def _serve(self, method: Method) -> Callable[[Any], Awaitable[None]]:
        async def serve(stream: Any) -> None:
            request = await stream.recv_message()
            self._calls[method.name] += 1
            try:
                await self._answer(method, request, stream)
            except GRPCError:
                raise
            except TransactionRefusedError as refused:
                raise GRPCError(Status[refused.reason.value], str(refused)) from refused
            except MaskError as error:
                raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.exception("%s failed", method.path)
                raise GRPCError(Status.INTERNAL, f"{method.name} failed inside the local ledger") from error

        return serve

    async def _answer(self, method: Method, request: Message, stream: Any) -> None:
        await self._before_sending()
        self._maybe_fail(method, after=False)
        if method.streams:
            await self._answer_with_stream(method, request, stream)
            return
        response = await method.handle(request)  # type: ignore[misc]  # unary methods are awaitable
        self._maybe_fail(method, after=True)
        await self._before_sending()
        await stream.send_message(response)

    async def _answer_with_stream(self, method: Method, request: Message, stream: Any) -> None:
        sent = 0
        async for frame in method.handle(request):  # type: ignore[union-attr]  # streaming methods iterate
            limit = self.misbehaviour.drop_streams_after
            if limit is not None and sent >= limit:
                raise GRPCError(Status.UNAVAILABLE, "the node was told to drop streams")
            self._maybe_fail(method, after=True)
            if method.name.startswith("Subscribe"):
                await self.misbehaviour.deliver()
            await self._before_sending()
            await stream.send_message(frame)
            sent += 1

    def _maybe_fail(self, method: Method, *, after: bool) -> None:
        error = self.misbehaviour.failure(method.name, after=after)
        if error is not None:
            raise error


async def _unimplemented(_: Message) -> Message:
    raise GRPCError(Status.UNIMPLEMENTED, "this method is not simulated by the local ledger")


class _Watched(asyncio.Protocol):
    """grpclib's protocol, with a hand on its connection."""

    def __init__(self, inner: asyncio.Protocol, endpoint: Endpoint) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP and TLS transports are"
        self._transport = transport
        self._inner.connection_made(transport)
        self._endpoint.connected(self)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.disconnected(self)
        self._inner.connection_lost(exc)

    def freeze(self, frozen: bool) -> None:
        assert self._transport is not None, "only connected protocols are frozen"
        if frozen and self._transport.is_reading():
            self._transport.pause_reading()
        elif not frozen and not self._transport.is_reading():
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _WatchedServer(Server):  # type: ignore[misc]  # grpclib is followed as untyped
    def __init__(self, handlers: list[Any], endpoint: Endpoint) -> None:
        super().__init__(handlers)
        self._endpoint = endpoint

    def _protocol_factory(self) -> _Watched:
        return _Watched(super()._protocol_factory(), self._endpoint)

    @property
    def listening_port(self) -> int:
        """The port that the operating system gave."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port
