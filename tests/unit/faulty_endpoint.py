"""A chain of events in memory, served by one endpoint over both protocols, which breaks as it is told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import to_hex
from k3s_daas.sui.digests import digest_bytes, to_base58
from k3s_daas.sui.ledger import ChainEvent, EventFilter, EventFrame, EventPage, ServiceInfo
from listener_service.event_source.wire import Wire
from tests.unit.contract_world import CHAIN_ID
from tests.unit.memory_ledger import MemoryLedger
from tests.unit.virtual_time import VirtualClock

PACKAGE = b"\x11" * 32
WANTED = f"{to_hex(PACKAGE)}::events::Wanted"
OTHER = f"{to_hex(PACKAGE)}::events::Other"
PAGE = 3
CALL_TIMEOUT_S = 10.0


def event(number: int, checkpoint: int, tag: str = WANTED) -> ChainEvent:
    return ChainEvent(
        package=PACKAGE,
        module="gateway",
        type_tag=tag,
        sender=b"\x22" * 32,
        contents=number.to_bytes(4, "big"),
        transaction_digest=to_base58(number.to_bytes(32, "big")),
        event_index=number % 3,
        checkpoint=checkpoint,
    )


@dataclass
class Endpoint:
    """The chain, and what goes wrong on the way from it. Faults last until they are taken back.

    Every message that leaves passes `gate`: `messages` counts them.
    """

    clock: VirtualClock = field(default_factory=VirtualClock)
    tip: int = 100
    lowest: int = 0
    events: list[ChainEvent] = field(default_factory=list)
    times_ms: dict[int, int] = field(default_factory=dict)
    messages: int = 0
    connections: int = 0
    away: bool = False
    frozen: bool = False
    mute: bool = False
    """Open streams bring nothing any more, and calls are answered."""
    duplicate: bool = False
    reorder: bool = False
    index_lag: int = 0
    """Checkpoints that lists do not show yet."""
    cut_at: int | None = None
    """The connection breaks instead of this message."""
    freeze_at: int | None = None
    """Nothing more is sent on the connection whose turn this message is."""
    _streams: list[asyncio.Queue[list[ChainEvent] | None]] = field(default_factory=list)
    _broken: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, *numbers: int) -> None:
        """One checkpoint with these events, and one of another type that nobody wants."""
        self.tip += 1
        self.times_ms[self.tip] = self.clock.now_ms()
        made = [event(number, self.tip) for number in numbers]
        if made:
            made.append(event(1_000_000 + numbers[0], self.tip, OTHER))
        self.events.extend(made)
        if self.mute:
            self._streams.clear()
        pushed = made[::-1] if self.reorder else made
        for stream in self._streams:
            stream.put_nowait([*pushed, *pushed[:1]] if self.duplicate else pushed)

    def restart(self) -> None:
        """Breaks every connection."""
        self._broken.set()
        self._broken = asyncio.Event()
        self._streams.clear()

    @property
    def open(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    @property
    def indexed(self) -> list[ChainEvent]:
        """What lists show."""
        return [e for e in self.events if self.lowest <= (e.checkpoint or 0) <= self.tip - self.index_lag]

    def connect(self) -> asyncio.Event:
        """Set when the connection breaks."""
        if self.away:
            raise LedgerUnavailableError("nobody listens")
        self.connections += 1
        return self._broken

    def subscribe(self) -> asyncio.Queue[list[ChainEvent] | None]:
        queue: asyncio.Queue[list[ChainEvent] | None] = asyncio.Queue()
        self._streams.append(queue)
        return queue

    async def gate(self, connection: asyncio.Event) -> None:
        """One message leaves, or does not."""
        if connection.is_set():
            raise LedgerUnavailableError("the connection broke")
        number = self.messages
        if number == self.cut_at:
            self.cut_at = None
            self.restart()
            raise LedgerUnavailableError("the connection was cut")
        if number == self.freeze_at:
            self.freeze_at = None
            self.frozen = True
        if self.frozen:
            await connection.wait()
            raise LedgerUnavailableError("the connection broke")
        self.messages += 1

    def thaw(self) -> None:
        """New connections work; the frozen ones are lost."""
        self.frozen = False
        self.restart()


class FaultyLedger(MemoryLedger):
    """The endpoint over gRPC, as its adapter shows it: deadlines and idle timeouts are the adapter's."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self.endpoint = endpoint

    async def service_info(self) -> ServiceInfo:
        connection = self.endpoint.connect()
        await self._within(self.endpoint.gate(connection), CALL_TIMEOUT_S)
        return ServiceInfo(CHAIN_ID, 1, self.endpoint.tip, self.endpoint.lowest, self.endpoint.clock.now_ms())

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        connection = self.endpoint.connect()
        place = int(after or b"0")
        while True:
            await self._within(self.endpoint.gate(connection), CALL_TIMEOUT_S)
            shown = [e for e in self.endpoint.indexed if (e.checkpoint or 0) >= (start_checkpoint or 0)]
            found = [e for e in shown if e.type_tag in event_filter.types][place : place + PAGE]
            place += len(found)
            if len(found) == PAGE:
                before = (found[-1].checkpoint or 0) - 1
                yield EventPage(found, str(place).encode(), before, last=False)
                continue
            yield EventPage(
                found, str(place).encode(), self.endpoint.tip - self.endpoint.index_lag, last=True
            )
            return

    async def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        assert idle_timeout_s is not None, "a stream without an idle timeout hangs for ever"
        endpoint, connection = self.endpoint, self.endpoint.connect()
        await self._within(endpoint.gate(connection), idle_timeout_s)
        queue, reached = endpoint.subscribe(), endpoint.tip
        yield EventFrame(None, reached, b"")
        while True:
            events = await self._within(_next(queue, connection), idle_timeout_s)
            reached += 1
            for found in events:
                if found.type_tag in event_filter.types:
                    await self._within(endpoint.gate(connection), idle_timeout_s)
                    yield EventFrame(found, reached - 1, b"")
            await self._within(endpoint.gate(connection), idle_timeout_s)
            yield EventFrame(None, reached, b"")

    async def _within(self, work: Any, seconds: float) -> Any:
        try:
            return await asyncio.wait_for(work, seconds)
        except TimeoutError as error:
            raise LedgerUnavailableError(f"nothing came for {seconds:g} s") from error


async def _next(queue: asyncio.Queue[list[ChainEvent] | None], connection: asyncio.Event) -> list[ChainEvent]:
    """What is pushed next; raises when the connection breaks."""
    getting, breaking = asyncio.ensure_future(queue.get()), asyncio.ensure_future(connection.wait())
    try:
        await asyncio.wait({getting, breaking}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            raise LedgerUnavailableError("the connection broke")
        return getting.result() or []
    finally:
        getting.cancel()
        breaking.cancel()


class FaultyWire:
    """The endpoint over JSON-RPC, one connection of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection = endpoint.connect()
        self._out: asyncio.Queue[str] = asyncio.Queue()
        self._pushing: asyncio.Task[None] | None = None

    async def send(self, text: str) -> None:
        request = json.loads(text)
        try:
            outcome = {"result": self._answer(request["method"], request["params"])}
        except LookupError as error:
            outcome = {"error": {"code": -32602, "message": f"Could not find {error}"}}
        self._out.put_nowait(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}))

    async def receive(self) -> str:
        getting = asyncio.ensure_future(self._out.get())
        breaking = asyncio.ensure_future(self._connection.wait())
        try:
            await asyncio.wait({getting, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                raise LedgerUnavailableError("the connection broke")
            await self._endpoint.gate(self._connection)
            return getting.result()
        finally:
            getting.cancel()
            breaking.cancel()

    async def close(self) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.gather(self._pushing, return_exceptions=True)

    def _answer(self, method: str, parameters: list[Any]) -> object:
        endpoint = self._endpoint
        match method:
            case "sui_getChainIdentifier":
                return digest_bytes(CHAIN_ID)[:4].hex()
            case "sui_getLatestCheckpointSequenceNumber":
                return str(endpoint.tip)
            case "sui_getCheckpoint":
                number = int(parameters[0])
                if not endpoint.lowest <= number <= endpoint.tip:
                    raise LookupError(f"checkpoint {number}")
                moment = endpoint.times_ms.get(number, endpoint.clock.now_ms() - 3_600_000)
                before = [e for e in endpoint.events if (e.checkpoint or 0) <= number]
                digests = [e.transaction_digest for e in before if e.checkpoint == number]
                return {
                    "timestampMs": str(moment),
                    "networkTotalTransactions": str(len(before)),
                    "transactions": digests,
                }
            case "suix_subscribeEvent":
                assert parameters == [{"MoveEventModule": {"package": to_hex(PACKAGE), "module": "events"}}]
                self._pushing = asyncio.ensure_future(self._push(endpoint.subscribe()))
                return 7
            case "suix_queryEvents":
                return self._query(*parameters[1:])
        raise AssertionError(f"{method} is not what a source asks")

    def _query(self, cursor: dict[str, str] | None, limit: int, descending: bool) -> object:
        shown = self._endpoint.indexed[::-1] if descending else self._endpoint.indexed
        place = 0
        if cursor is not None:
            digests = [e.transaction_digest for e in shown]
            if cursor["txDigest"] not in digests:
                raise LookupError(f"the referenced transaction {cursor['txDigest']}")
            # Like the real one: whatever comes first from the cursor on is left out.
            place = digests.index(cursor["txDigest"]) + 1
        found = shown[place : place + min(limit, PAGE)]
        return {
            "data": [self._json(e) for e in found],
            "nextCursor": None,
            "hasNextPage": place + len(found) < len(shown),
        }

    async def _push(self, stream: asyncio.Queue[list[ChainEvent] | None]) -> None:
        while True:
            for pushed in await stream.get() or []:
                parameters = {"subscription": 7, "result": self._json(pushed)}
                self._out.put_nowait(
                    json.dumps({"jsonrpc": "2.0", "method": "suix_subscribeEvent", "params": parameters})
                )

    def _json(self, found: ChainEvent) -> dict[str, object]:
        return {
            "id": {"txDigest": found.transaction_digest, "eventSeq": str(found.event_index)},
            "packageId": to_hex(found.package),
            "transactionModule": found.module,
            "sender": to_hex(found.sender),
            "type": found.type_tag,
            "parsedJson": {"what": "nobody reads"},
            "bcsEncoding": "base64",
            "bcs": base64.b64encode(found.contents).decode(),
            "timestampMs": str(self._endpoint.times_ms.get(found.checkpoint or 0, 0)),
        }


def wires(endpoint: Endpoint) -> Any:
    """What opens connections to the endpoint."""

    async def open_wire() -> Wire:
        return FaultyWire(endpoint)

    return open_wire
