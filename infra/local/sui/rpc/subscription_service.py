"""``SubscriptionService``: streams that begin at the tip and never end well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from .endpoint import Method
from .event_lists import subscribe_events
from .filters import transaction_filter
from .ledger_service import CHECKPOINT_DEFAULT, LedgerService, mask_of
from .view import NodeView


class SubscriptionService:
    def __init__(self, view: NodeView, reads: LedgerService) -> None:
        self._view = view
        self._reads = reads

    def methods(self) -> list[Method]:
        return [
            Method("SubscriptionService/SubscribeCheckpoints", self.subscribe_checkpoints, streams=True),
            Method("SubscriptionService/SubscribeEvents", self.subscribe_events, streams=True),
        ]

    async def subscribe_checkpoints(self, request: Any) -> AsyncIterator[Any]:
        mask = mask_of(v2.Checkpoint, request.read_mask, CHECKPOINT_DEFAULT)
        filtered = request.filter is not None
        matches = transaction_filter(request.filter)
        tip = self._view.tip
        if filtered:
            yield v2.SubscribeCheckpointsResponse(cursor=tip.sequence)
        async for checkpoint in self._view.follow(tip.sequence + 1):
            frame = v2.SubscribeCheckpointsResponse(cursor=checkpoint.sequence)
            if not filtered or any(map(matches, checkpoint.transactions)):
                frame.checkpoint = self._reads.checkpoint_message(checkpoint, mask)
            yield frame

    def subscribe_events(self, request: Any) -> AsyncIterator[Any]:
        return subscribe_events(self._view, request)
