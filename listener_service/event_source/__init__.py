"""Where requests come from: the port and its gRPC implementation."""

from listener_service.event_source.interface import (
    Covered,
    EventSource,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
)
from listener_service.event_source.ledger import LedgerEventSource, ReplayPlan

__all__ = [
    "Covered",
    "EventSource",
    "LedgerEventSource",
    "ReplayPlan",
    "SourceItem",
    "SourcedEvent",
    "WatermarkGapError",
]
