"""Where requests come from: the port, its gRPC implementation, and several endpoints as one."""

from listener_service.event_source.interface import (
    Covered,
    EventSource,
    SourcedEvent,
    SourceItem,
    WatermarkGapError,
)
from listener_service.event_source.ledger import LedgerEventSource
from listener_service.event_source.merged import MergedEventSource
from listener_service.event_source.replay import ReplayPlan

__all__ = [
    "Covered",
    "EventSource",
    "LedgerEventSource",
    "MergedEventSource",
    "ReplayPlan",
    "SourceItem",
    "SourcedEvent",
    "WatermarkGapError",
]
