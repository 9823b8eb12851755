"""The methods: what each answers from one port's view of the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ledger.checkpoints import ExecutedTransaction, IndexedEvent
from ..ledger.digests import parse_base58
from ..rpc.view import NodeView
from .errors import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from .filters import event_filter
from .rendering import checkpoint_json, event_json

PAGE = 50
_CHAIN_IDENTIFIER_BYTES = 4


class Methods:
    """Answers calls; subscriptions are the port's business."""

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._methods: dict[str, Callable[..., Any]] = {
            "sui_getChainIdentifier": self._chain_identifier,
            "sui_getLatestCheckpointSequenceNumber": self._latest_checkpoint,
            "sui_getCheckpoint": self._checkpoint,
            "suix_queryEvents": self._query_events,
        }

    def call(self, name: str, parameters: list[Any]) -> Any:
        """The result.

        Raises:
            RpcError: there is no such method, or it refuses its parameters.
        """
        method = self._methods.get(name)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        try:
            return method(*parameters)
        except (TypeError, ValueError, KeyError) as error:
            raise RpcError(INVALID_PARAMS, f"Invalid params: {error}") from error

    def _chain_identifier(self) -> str:
        chain: bytes = self._view.ledger.chain_id
        return chain[:_CHAIN_IDENTIFIER_BYTES].hex()

    def _latest_checkpoint(self) -> str:
        return str(self._view.tip.sequence)

    def _checkpoint(self, number: str) -> Any:
        found = self._view.checkpoint(int(number))
        if found is None:
            raise RpcError(INVALID_PARAMS, f"Verified checkpoint not found for sequence number: {number}")
        return checkpoint_json(found)

    def _query_events(
        self,
        query: Any,
        cursor: dict[str, Any] | None = None,
        limit: int | None = None,
        descending: bool | None = None,
    ) -> Any:
        matches = event_filter(query)
        size = min(PAGE if limit is None else int(limit), PAGE)
        if size < 1:
            raise RpcError(INVALID_PARAMS, "the limit is at least 1")
        shown = self._shown(cursor, descending=bool(descending))
        found = [indexed for indexed in shown if matches(indexed)]
        if cursor is not None:
            # As on a fullnode: whatever comes first, it is taken for the cursor's own event.
            del found[:1]
        events = [self._event(indexed) for indexed in found[:size]]
        return {
            "data": events,
            "nextCursor": events[-1]["id"] if events else cursor,
            "hasNextPage": len(found) > size,
        }

    def _shown(self, cursor: dict[str, Any] | None, *, descending: bool) -> list[IndexedEvent]:
        """Events from the cursor on, itself included, in the order asked for."""
        view = self._view
        tip, oldest = view.indexed_tip, view.checkpoint(view.lowest_checkpoint)
        first, end = tip.events_after if oldest is None else oldest.first_event, tip.events_after
        if cursor is not None:
            place = self._position(cursor)
            first, end = (first, min(end, place + 1)) if descending else (max(first, place), end)
        events = list(view.events(first, end))
        return events[::-1] if descending else events

    def _position(self, cursor: dict[str, Any]) -> int:
        """The position in the chain of a cursor, which may be no event at all."""
        executed = self._view.transaction(parse_base58(cursor["txDigest"]))
        indexed_tip = self._view.indexed_tip.sequence
        if executed is None or executed.checkpoint is None or executed.checkpoint > indexed_tip:
            raise RpcError(
                INVALID_PARAMS,
                f"Could not find the referenced transaction [TransactionDigest({cursor['txDigest']})].",
            )
        return self._first_event(executed) + min(int(cursor["eventSeq"]), len(executed.events))

    def _first_event(self, executed: ExecutedTransaction) -> int:
        assert executed.checkpoint is not None, "an indexed transaction is in a checkpoint"
        checkpoint = self._view.ledger.checkpoints.checkpoints[executed.checkpoint]
        before = checkpoint.transactions[: executed.index]
        return checkpoint.first_event + sum(len(transaction.events) for transaction in before)

    def _event(self, indexed: IndexedEvent) -> dict[str, Any]:
        return event_json(self._view.ledger.datatypes, indexed, self._view.misbehaviour)
