"""The source that the settings ask for: one for each endpoint, and several as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from k3s_daas.sui.ledger import EventFilter, Ledger
from k3s_daas.sui.quorum import QuorumLedger
from listener_service.clock import Clock
from listener_service.event_source.endpoints import WebSocketEndpoints
from listener_service.event_source.interface import EventSource
from listener_service.event_source.ledger import LedgerEventSource
from listener_service.event_source.merged import MergedEventSource
from listener_service.event_source.replay import ReplayPlan
from listener_service.event_source.websocket import WebSocketEventSource


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events of which chain, and how far back without a watermark."""

    event_filter: EventFilter
    chain_id: str
    replay: ReplayPlan


def open_source(
    wanted: Wanted,
    ledger: Ledger,
    websockets: WebSocketEndpoints | None,
    *,
    clock: Clock,
    on_live: Callable[[], None],
    on_connected: Callable[[int], None] = lambda _: None,
) -> EventSource:
    """Over WebSocket if there are such endpoints, else over gRPC from every member of `ledger`. Nothing is
    connected yet.

    `on_live` is called whenever a source has caught up and a quorum of them had before, `on_connected` with
    the number of each that has, from 1.
    """
    common = (wanted.event_filter, wanted.chain_id, wanted.replay, clock)
    makers: list[Callable[..., EventSource]]
    if websockets is not None:
        quorum = websockets.quorum
        makers = [partial(WebSocketEventSource, at.open, *common) for at in websockets.endpoints]
    else:
        members, quorum = (
            (ledger.members, ledger.quorum) if isinstance(ledger, QuorumLedger) else ((ledger,), 1)
        )
        makers = [partial(LedgerEventSource, member, *common) for member in members]
    live: set[int] = set()

    def heard(number: int) -> None:
        live.add(number)
        on_connected(number + 1)
        if len(live) >= quorum:
            on_live()

    sources = [make(on_live=partial(heard, number)) for number, make in enumerate(makers)]
    return sources[0] if len(sources) == 1 else MergedEventSource(sources, quorum)
