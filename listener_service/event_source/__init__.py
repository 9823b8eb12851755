"""Where requests come from: the port, its gRPC and JSON-RPC implementations, and several endpoints as one."""

from listener_service.event_source.endpoints import WebSocketEndpoints, websockets_from_environment
from listener_service.event_source.interface import (
    Covered,
    EventSource,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
)
from listener_service.event_source.ledger import LedgerEventSource
from listener_service.event_source.merged import MergedEventSource
from listener_service.event_source.opening import Wanted, open_source
from listener_service.event_source.replay import ReplayPlan
from listener_service.event_source.websocket import WebSocketEventSource
from listener_service.event_source.wire import WebSocketEndpoint

__all__ = [
    "Covered",
    "EventSource",
    "LedgerEventSource",
    "MergedEventSource",
    "ReplayPlan",
    "SourceItem",
    "SourcedEvent",
    "Wanted",
    "WatermarkGapError",
    "WebSocketEndpoint",
    "WebSocketEndpoints",
    "WebSocketEventSource",
    "open_source",
    "websockets_from_environment",
]
