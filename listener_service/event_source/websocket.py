"""The EventSource over JSON-RPC and WebSocket, for fullnodes and proxies that still serve it.

The subscription is what makes it fast, the index is what makes it complete. Every connection subscribes
first; then it reads the index from the resume cursor to its end, again and again, and delivers what is pushed
in between. So an event that the stream loses is late by one interval, and the watermark follows the index
(`settling`). An event that only the index shows proves that the stream is dead, and ends the connection.

The cursor lives as long as the process. After a restart the place is found by time: a page after the other
backwards, until an event is older than the checkpoint behind the watermark.

Noticed as dead: a peer that is silent, within the pings' 15 s and the calls' 10 s; a stream that is silent
while calls are answered, within two intervals of an event that it should have brought.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.ledger import EventFilter
from listener_service.backoff import Backoff
from listener_service.clock import Clock, SystemClock
from listener_service.event_source.index_proof import IndexProof
from listener_service.event_source.interface import Covered, SourcedEvent, SourceItem
from listener_service.event_source.json_rpc import CallRefusedError, JsonRpc
from listener_service.event_source.places import find_place, first_moment_ms
from listener_service.event_source.recent import Recent
from listener_service.event_source.reconnecting import reconnecting
from listener_service.event_source.replay import ReplayPlan
from listener_service.event_source.settling import OLD_MS, Settling
from listener_service.event_source.sui_json import (
    SUBSCRIBE,
    EventId,
    ModuleFilter,
    QueriedPage,
    SuiJson,
    timed_event,
)
from listener_service.event_source.wire import OpenWire

_log = logging.getLogger(__name__)

SETTLE_S = 10.0
# An index that is behind for so long is worth a line in the log, and then once in so long.
_LAG_WORTH_TELLING_MS = 60_000


@dataclass(slots=True)
class WebSocketEventSource:
    """See the module docstring. `on_live` is called each time that a connection is subscribed and caught up
    once. Raises `ConfigurationError` if the filter's types are of several modules.

    `interval_s` lies between two passes over the index.
    """

    open_wire: OpenWire
    event_filter: EventFilter
    chain_id: str
    replay: ReplayPlan
    clock: Clock = field(default_factory=SystemClock)
    backoff: Backoff = field(default_factory=Backoff)
    interval_s: float = 5.0
    on_live: Callable[[], None] = lambda: None
    _covered: int | None = None
    _seen: Recent = field(default_factory=Recent)
    _settling: Settling = field(default_factory=lambda: Settling(int(SETTLE_S * 1000)))
    _lagging_since_ms: int | None = None
    _filter: ModuleFilter = field(init=False)

    def __post_init__(self) -> None:
        self._filter = ModuleFilter(self.event_filter)

    async def items(self, watermark: int | None) -> AsyncGenerator[SourceItem, None]:
        """See `EventSource`. Raises `WatermarkGapError` and `ConfigurationError`."""
        self._covered = watermark
        async with aclosing(reconnecting(self._connection, self.clock, self.backoff)) as items:
            async for item in items:
                yield item

    async def _connection(self) -> AsyncGenerator[SourceItem, None]:
        rpc = JsonRpc(await self.open_wire(), self.clock, SUBSCRIBE)
        try:
            async with aclosing(self._conversation(rpc, SuiJson(rpc, self._filter))) as items:
                async for item in items:
                    yield item
        finally:
            await rpc.close()

    async def _conversation(self, rpc: JsonRpc, sui: SuiJson) -> AsyncGenerator[SourceItem, None]:
        """One connection's life: ends only by an exception."""
        if not await sui.serves(self.chain_id):
            raise ConfigurationError(
                f"the WebSocket endpoint serves another chain than {self.chain_id}, which the trust roots "
                "pin: correct DAAS_SUI_WEBSOCKET_URL or DAAS_TRUST_ROOTS_FILE"
            )
        await sui.subscribe()
        stream = _Stream(self.clock.now_ms() + self._settling.settle_ms)
        # Asked each time: a node that has pruned what follows the watermark lists the rest without a word.
        first_ms = await first_moment_ms(sui, self._covered, self.replay)
        if not self._settling.is_placed:
            self._settling.place(await find_place(sui, first_ms))
        proof = IndexProof(sui)
        is_first = True
        while True:
            started_ms = self.clock.now_ms()
            async with aclosing(self._pass(rpc, sui, proof, stream, started_ms)) as found:
                async for item in found:
                    yield item
            if is_first:
                is_first = False
                self.on_live()
            async with aclosing(self._pushed(rpc, stream, started_ms)) as pushed:
                async for item in pushed:
                    yield item

    async def _pass(
        self, rpc: JsonRpc, sui: SuiJson, proof: IndexProof, stream: _Stream, started_ms: int
    ) -> AsyncGenerator[SourceItem, None]:
        """What the index holds behind the resume cursor, and what is pushed meanwhile."""
        tip = await sui.tip()
        proven = tip if await proof.shows(tip) else None
        self._tell_lag(started_ms, is_lagging=proven is None)
        cursor = self._settling.cursor
        while True:
            page = await self._page(sui, cursor)
            for value in rpc.kept():
                for item in self._live(value, stream):
                    yield item
            for timed in page.events:
                event = timed.event
                if timed.is_before(started_ms - OLD_MS):
                    self._settling.listed_old(event.position)
                if self._filter.wants(event) and self._seen.is_new(event.position):
                    stream.owes(event.position, started_ms)
                    yield SourcedEvent(event, replayed=True)
            cursor = page.last or cursor
            if not page.has_next:
                break
        stream.check(started_ms)
        covered = self._settling.passed(started_ms, self.clock.now_ms(), proven, cursor)
        if covered is not None and (self._covered is None or covered > self._covered):
            self._covered = covered
            yield Covered(covered)

    async def _page(self, sui: SuiJson, cursor: EventId | None) -> QueriedPage:
        try:
            return await sui.query(cursor)
        except CallRefusedError as error:
            if cursor is not None and not error.transient:
                # Another node behind the same name, or one that has pruned the transaction.
                self._settling.displace()
            raise

    async def _pushed(
        self, rpc: JsonRpc, stream: _Stream, started_ms: int
    ) -> AsyncGenerator[SourceItem, None]:
        """What is pushed until the next pass is due."""
        due_ms = started_ms + int(self.interval_s * 1000)
        while (left_ms := due_ms - self.clock.now_ms()) > 0:
            value = await rpc.notification(left_ms / 1000)
            if value is None:
                return
            for item in self._live(value, stream):
                yield item

    def _live(self, value: Any, stream: _Stream) -> list[SourceItem]:
        event = timed_event(value).event
        stream.brought(event.position)
        if not self._filter.wants(event) or not self._seen.is_new(event.position):
            return []
        return [SourcedEvent(event, replayed=False)]

    def _tell_lag(self, now_ms: int, *, is_lagging: bool) -> None:
        if not is_lagging:
            self._lagging_since_ms = None
            return
        if self._lagging_since_ms is None:
            self._lagging_since_ms = now_ms
        if now_ms - self._lagging_since_ms >= _LAG_WORTH_TELLING_MS:
            self._lagging_since_ms = now_ms
            _log.warning(
                "the endpoint's event index is behind its checkpoints for a minute: the watermark waits"
            )


@dataclass(slots=True)
class _Stream:
    """What a subscription owes: events that the index shows and that happened since it began."""

    answerable_from_ms: int
    """Passes begun earlier may find events from before the subscription."""
    _owed: dict[EventId, int] = field(default_factory=dict)

    def owes(self, event: EventId, pass_ms: int) -> None:
        """A pass found an event that was not pushed."""
        if pass_ms >= self.answerable_from_ms:
            self._owed[event] = pass_ms

    def brought(self, event: EventId) -> None:
        """An event was pushed."""
        self._owed.pop(event, None)

    def check(self, pass_ms: int) -> None:
        """Raises `LedgerUnavailableError` if an earlier pass found what has not been pushed since."""
        if any(found_ms < pass_ms for found_ms in self._owed.values()):
            raise LedgerUnavailableError("the subscription has lost an event that the index shows")
