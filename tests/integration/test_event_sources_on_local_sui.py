"""Both event sources over real connections to the local Sui, whose ports misbehave (over a scripted VM)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from infra.local.certificates import LocalAuthority
from infra.local.sui.builder import TransactionBuilder, valid_now
from infra.local.sui.keys import ed25519_key
from infra.local.sui.ledger.objects import StoredObject
from infra.local.sui.server import LocalSui
from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.grpc_channel import Keepalive
from k3s_daas.sui.ledger import EventFilter
from listener_service.backoff import Backoff
from listener_service.event_source import (
    Covered,
    EventSource,
    LedgerEventSource,
    ReplayPlan,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
    WebSocketEndpoint,
    WebSocketEventSource,
)
from listener_service.event_source.settling import Settling
from tests.unit.ledger_world import DECLARATIONS, INTERFACE, OPENED, PACKAGE, BoxVm

KINDS = ("grpc", "websocket")
SOON_S = 20.0


class Chain:
    """A chain with a port of each kind, and a box: every number set in it is an event."""

    box: StoredObject

    def __init__(self, sui: LocalSui) -> None:
        self.sui = sui
        self.key = ed25519_key()
        self.nonce = 0
        self.ledgers: list[GrpcLedger] = []

    async def prepare(self) -> None:
        self.sui.ledger.datatypes.declare(PACKAGE, DECLARATIONS)
        await self.sui.faucet(self.key.address, 10**12, coins=0)
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, "box::share", transaction.u64(0))
        found = self.sui.ledger.final.get((await self._execute(transaction)).effects.changed[0].id)
        assert found is not None
        self.box = found

    async def emit(self, *numbers: int) -> None:
        transaction = TransactionBuilder()
        target = transaction.shared(self.box)
        for number in numbers:
            transaction.call(PACKAGE, "box::set", target, transaction.u64(number))
        assert (await self._execute(transaction)).effects.success

    async def _execute(self, transaction: TransactionBuilder) -> Any:
        self.nonce += 1
        encoded = transaction.build(self.key, expiration=valid_now(self.sui.ledger.chain_id, 0, self.nonce))
        return await self.sui.ledger.execute(encoded, [self.key.sign(encoded)])

    @property
    def tip(self) -> int:
        tip: int = self.sui.ledger.checkpoints.tip.sequence
        return tip

    def port(self, kind: str) -> int:
        return (self.sui.grpc_ports if kind == "grpc" else self.sui.jsonrpc_ports)[0]

    def source(self, kind: str) -> EventSource:
        """With every time a twentieth of the real one."""
        event_filter, replay = EventFilter((OPENED,)), ReplayPlan(window_ms=600_000)
        backoff = Backoff(base_s=0.02, cap_s=0.2)
        if kind == "grpc":
            ledger = GrpcLedger(
                f"http://127.0.0.1:{self.port(kind)}", keepalive=Keepalive(0.5, 0.5), timeout_s=2.0
            )
            self.ledgers.append(ledger)
            return LedgerEventSource(
                ledger, event_filter, self.sui.chain_id, replay, backoff=backoff, idle_timeout_s=0.8
            )
        endpoint = WebSocketEndpoint(f"ws://127.0.0.1:{self.port(kind)}", ping_every_s=0.5, pong_within_s=0.5)
        return WebSocketEventSource(
            endpoint.open,
            event_filter,
            self.sui.chain_id,
            replay,
            backoff=backoff,
            interval_s=0.25,
            _settling=Settling(500),
        )


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    vm = BoxVm()
    vm.gate.set()
    sui = LocalSui(vm=vm, packages=[INTERFACE], finality_ms=0, checkpoint_ms=50, ports=1, jsonrpc_ports=1)
    async with sui, asyncio.timeout(100):
        chain = Chain(sui)
        await chain.prepare()
        yield chain
        for ledger in chain.ledgers:
            await ledger.close()


class Heard:
    """What came so far."""

    def __init__(self) -> None:
        self.items: list[SourceItem] = []

    @property
    def numbers(self) -> list[int]:
        return [
            int.from_bytes(item.event.contents, "little")
            for item in self.items
            if isinstance(item, SourcedEvent)
        ]

    @property
    def covered(self) -> int:
        return max((item.checkpoint for item in self.items if isinstance(item, Covered)), default=-1)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not condition():  # noqa: ASYNC110  items come through a generator
                await asyncio.sleep(0.02)


@asynccontextmanager
async def heard(chain: Chain, kind: str, watermark: int | None) -> AsyncGenerator[Heard, None]:
    found = Heard()

    async def collect() -> None:
        items = chain.source(kind).items(watermark)
        try:
            async for item in items:
                found.items.append(item)
        finally:
            await items.aclose()

    task = asyncio.create_task(collect())
    try:
        yield found
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_past_and_present_come_once_and_are_covered(chain: Chain, kind: str) -> None:
    start = chain.tip
    await chain.emit(1, 2)
    async with heard(chain, kind, start) as found:
        await found.until(lambda: found.numbers == [1, 2])
        await chain.emit(3)
        await chain.emit(4, 5)
        await found.until(lambda: found.numbers == [1, 2, 3, 4, 5])
        last = chain.tip
        await found.until(lambda: found.covered >= last)
    events = [item for item in found.items if isinstance(item, SourcedEvent)]
    assert [item.event.type_tag for item in events] == [OPENED] * 5
    assert events[0].event.package == PACKAGE
    assert events[1].event.event_index == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        {"frozen": True},
        {"half_open": True},
        {"index_lag": 10_000},
        {"drop_streams_after": 0},
    ],
    ids=lambda fault: next(iter(fault)),
)
async def test_nothing_is_lost_to_a_port_that_misbehaves(
    chain: Chain, kind: str, fault: dict[str, Any]
) -> None:
    port = chain.port(kind)
    async with heard(chain, kind, chain.tip) as found:
        await chain.emit(1)
        await found.until(lambda: found.numbers == [1])
        chain.sui.misbehave(port, **fault)
        await chain.emit(2)
        chain.sui.drop_streams(port)
        await chain.emit(3, 4)
        # Long enough for every timeout to strike.
        await asyncio.sleep(1.0)
        chain.sui.behave(port)
        await chain.emit(5)
        await found.until(lambda: sorted(found.numbers) == [1, 2, 3, 4, 5])


@pytest.mark.parametrize("kind", KINDS)
async def test_duplicates_out_of_order_and_restarts(chain: Chain, kind: str) -> None:
    port = chain.port(kind)
    chain.sui.misbehave(port, duplicate_events=True, reorder_events=True)
    async with heard(chain, kind, chain.tip) as found:
        for number in range(0, 30, 3):
            await chain.emit(number, number + 1, number + 2)
            if number % 9 == 0:
                await chain.sui.endpoints[port].restart(100)
        await found.until(lambda: sorted(found.numbers) == list(range(30)))
        await asyncio.sleep(0.5)
    assert sorted(found.numbers) == list(range(30))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pruned_watermark_is_loud(chain: Chain, kind: str) -> None:
    start = chain.tip
    await chain.emit(1)
    while chain.tip < start + 4:  # noqa: ASYNC110  the chain makes checkpoints by itself
        await asyncio.sleep(0.02)
    lowest = chain.tip
    chain.sui.misbehave(chain.port(kind), lowest_available_checkpoint=lowest)
    items = chain.source(kind).items(start)
    with pytest.raises(WatermarkGapError, match=rf"DAAS_RESUME_AFTER_CHECKPOINT={lowest - 1}\b"):
        await anext(items)
    await items.aclose()


async def test_the_port_speaks_json_rpc(chain: Chain) -> None:
    """What is not an answer is an error with JSON-RPC's own codes."""
    async with connect(f"ws://127.0.0.1:{chain.port('websocket')}", proxy=None) as socket:

        async def ask(text: str) -> str:
            await socket.send(text)
            reply = await socket.recv()
            assert isinstance(reply, str)
            return reply

        assert '"code":-32700' in await ask("{")
        assert '"code":-32600' in await ask('[{"jsonrpc":"2.0","id":1,"method":"sui_getCheckpoint"}]')
        assert '"code":-32601' in await ask('{"jsonrpc":"2.0","id":1,"method":"sui_getObject"}')
        assert '"code":-32602' in await ask('{"id":1,"method":"sui_getCheckpoint","params":["99999999"]}')
        assert '"code":-32602' in await ask('{"id":1,"method":"suix_queryEvents","params":[{"Any":[]}]}')
        assert '"result":1,"id":7' in await ask(
            '{"id":7,"method":"suix_subscribeEvent","params":[{"All":[]}]}'
        )
        assert '"result":true' in await ask('{"id":8,"method":"suix_unsubscribeEvent","params":[1]}')


# --- the wire itself


async def refuses(connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("Authorization") == "Bearer good":
        return None
    return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", Headers())


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def tls_server(directory: Path) -> AsyncGenerator[tuple[str, ssl.SSLContext], None]:
    """An echo behind TLS and a bearer token, and a context that trusts its authority."""
    authority = LocalAuthority(directory)
    files = authority.issue("websocket")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(files.certificate, files.key)
    async with serve(echo, "127.0.0.1", 0, ssl=server_side, process_request=refuses) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://127.0.0.1:{port}", ssl.create_default_context(cadata=authority.pem.decode())


async def test_a_certificate_and_a_token_are_needed_and_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with tls_server(tmp_path) as (url, trusting):
        wire = await WebSocketEndpoint(url, bearer=lambda: "good", tls=trusting).open()
        await wire.send("heard")
        assert await wire.receive() == "heard"
        await wire.close()
        with pytest.raises(LedgerUnavailableError, match="DAAS_SUI_WEBSOCKET_TOKEN_FILE") as refused:
            await WebSocketEndpoint(url, bearer=lambda: "not-the-one", tls=trusting).open()
        assert "not-the-one" not in str(refused.value)
        # The server in this process logs what it is sent; our side must not.
        ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
        assert not [line for line in ours if "not-the-one" in line or "Bearer" in line or "heard" in line]
        with pytest.raises(LedgerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await WebSocketEndpoint(url, bearer=lambda: "good").open()
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.check_hostname = False
        with pytest.raises(ConfigurationError, match="must verify"):
            await WebSocketEndpoint(url, tls=careless).open()


async def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    async def other(connection: ServerConnection) -> None:
        seen.append(str(connection.request and connection.request.headers.get("Authorization")))

    async with serve(other, "127.0.0.1", 0) as elsewhere:
        target = next(iter(elsewhere.sockets)).getsockname()[1]

        async def away(connection: ServerConnection, request: Request) -> Response:
            return Response(HTTPStatus.FOUND, "Found", Headers(Location=f"ws://127.0.0.1:{target}/"))

        async with serve(other, "127.0.0.1", 0, process_request=away) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            with pytest.raises(LedgerUnavailableError, match="answered 302"):
                await WebSocketEndpoint(f"ws://127.0.0.1:{port}", bearer=lambda: "good").open()
    assert seen == []


async def test_a_message_above_the_bound_ends_the_connection() -> None:
    async def bomb(connection: ServerConnection) -> None:
        await connection.send("x" * (5 << 20))

    async with serve(bomb, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        wire = await WebSocketEndpoint(f"ws://127.0.0.1:{port}").open()
        with pytest.raises(LedgerUnavailableError, match="too big"):
            await wire.receive()
        await wire.close()


async def test_pings_are_answered_and_a_peer_that_answers_none_is_given_up() -> None:
    forgotten = asyncio.Event()

    async def asks_then_freezes(connection: ServerConnection) -> None:
        await (await connection.ping())
        await connection.send("alive")
        # As a peer whose machine is gone: what is sent to it is neither read nor refused.
        connection.transport.pause_reading()
        await forgotten.wait()

    async with serve(asks_then_freezes, "127.0.0.1", 0, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        wire = await WebSocketEndpoint(f"ws://127.0.0.1:{port}", ping_every_s=0.05, pong_within_s=0.5).open()
        async with asyncio.timeout(SOON_S):
            assert await wire.receive() == "alive"
            with pytest.raises(LedgerUnavailableError, match="ping timeout"):
                await wire.receive()
            await wire.close()
        forgotten.set()
