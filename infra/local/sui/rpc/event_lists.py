"""Events of the past in order, with cursors, and of the present as they come.

A cursor is a place in the canonical order of all events: 8 bytes, big-endian, ``2p + 1`` on the event with
position p (since genesis) and ``2p`` in the gap before it. So a cursor excludes "its" event as a lower and as
an upper bound, and a gap excludes nothing. Clients treat it as opaque.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.checkpoints import Checkpoint, IndexedEvent
from .filters import event_filter
from .masks import Tree, apply_mask, parse_mask
from .messages import indexed_event_message
from .view import NodeView

DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
_CURSOR_BYTES = 8


def at_event(position: int) -> bytes:
    return (2 * position + 1).to_bytes(_CURSOR_BYTES, "big")


def before_event(position: int) -> bytes:
    return (2 * position).to_bytes(_CURSOR_BYTES, "big")


def _place(cursor: bytes | None, default: int) -> int:
    if not cursor:
        return default
    if len(cursor) != _CURSOR_BYTES:
        raise GRPCError(Status.INVALID_ARGUMENT, "the cursor is not one that this server gave")
    return int.from_bytes(cursor, "big")


@dataclass(frozen=True, slots=True)
class _Interval:
    """Positions ``first`` ≤ p < ``end`` of events in checkpoints ``lowest`` to ``highest``."""

    first: int
    end: int
    lowest: int
    highest: int
    stop: Any


def _interval(view: NodeView, request: Any) -> _Interval:
    """The events that a request spans, and why it stops at the end: intersected bounds."""
    options = request.options or v2.QueryOptions()
    tip, checkpoints = view.indexed_tip, view.ledger.checkpoints.checkpoints
    reasons = v2.QueryEndReason
    lowest = max(request.start_checkpoint or 0, view.lowest_checkpoint)
    highest, stop = tip.sequence, reasons.LEDGER_TIP
    if request.end_checkpoint is not None and request.end_checkpoint <= tip.sequence + 1:
        highest, stop = request.end_checkpoint - 1, reasons.CHECKPOINT_BOUND
    first = checkpoints[lowest].first_event if lowest <= tip.sequence else tip.events_after
    end = checkpoints[highest].events_after if highest >= 0 else 0
    after, before = _place(options.after, 0), _place(options.before, 2 * end)
    first = max(first, (after + 1) // 2)
    if before // 2 < end:
        end, stop = before // 2, reasons.CURSOR_BOUND
    return _Interval(first, max(first, end), lowest, highest, stop)


async def list_events(view: NodeView, request: Any) -> AsyncIterator[Any]:
    """``ListEvents``: matching events with a watermark each, then the end with its reason."""
    mask = parse_mask(v2.Event, request.read_mask.paths if request.read_mask else ())
    matches = event_filter(request.filter)
    options = request.options or v2.QueryOptions()
    limit = min(options.limit or DEFAULT_LIMIT, MAX_LIMIT)
    descending = options.ordering == v2.Ordering.DESCENDING
    span = _interval(view, request)
    # A client that resumes inside a checkpoint has not fully covered that checkpoint with this request.
    resumes_inside = bool(options.before if descending else options.after)
    events = list(view.events(span.first, span.end))
    covered: int | None = None
    found = 0
    for indexed in reversed(events) if descending else events:
        here = indexed.transaction.checkpoint
        assert here is not None, "indexed events are in a checkpoint"
        covered = _covered_before(here, span, descending=descending, partial=resumes_inside and found == 0)
        if not matches(indexed):
            continue
        found += 1
        frame = v2.ListEventsResponse(
            event=_event(view, indexed, mask),
            watermark=v2.Watermark(cursor=at_event(indexed.position), checkpoint=covered),
        )
        if found == limit:
            frame.end = v2.QueryEnd(reason=v2.QueryEndReason.ITEM_LIMIT)
            yield frame
            return
        yield frame
        if view.misbehaviour.duplicate_events:
            yield frame
    yield v2.ListEventsResponse(
        watermark=_final(span, descending), end=v2.QueryEnd(reason=_reason(span, descending))
    )


def _covered_before(here: int, span: _Interval, *, descending: bool, partial: bool) -> int | None:
    """The checkpoint that is fully covered when an event of checkpoint ``here`` was reached."""
    if partial:
        return None
    if descending:
        return here + 1 if here < span.highest else None
    return here - 1 if here > span.lowest else None


def _reason(span: _Interval, descending: bool) -> Any:
    if not descending:
        return span.stop
    return v2.QueryEndReason.CURSOR_BOUND if span.first else v2.QueryEndReason.CHECKPOINT_BOUND


def _final(span: _Interval, descending: bool) -> Any:
    if descending:
        return v2.Watermark(cursor=before_event(span.first), checkpoint=span.lowest)
    by_cursor = span.stop == v2.QueryEndReason.CURSOR_BOUND
    covered = None if by_cursor or span.highest < span.lowest else span.highest
    return v2.Watermark(cursor=before_event(span.end), checkpoint=covered)


def _event(view: NodeView, indexed: IndexedEvent, mask: Tree) -> Any:
    message = indexed_event_message(view.ledger.datatypes, indexed, mask)
    view.misbehaviour.distort("event", message)
    return apply_mask(message, mask)


async def subscribe_events(view: NodeView, request: Any) -> AsyncIterator[Any]:
    """``SubscribeEvents``: from the tip on; first a frame with the starting position, then what comes."""
    mask = parse_mask(v2.Event, request.read_mask.paths if request.read_mask else ())
    matches = event_filter(request.filter)
    tip = view.tip
    yield v2.SubscribeEventsResponse(watermark=_progress(tip))
    async for checkpoint in view.follow(tip.sequence + 1):
        for indexed in view.pushed_events(checkpoint):
            if not matches(indexed):
                continue
            frame = v2.SubscribeEventsResponse(
                event=_event(view, indexed, mask),
                watermark=v2.Watermark(cursor=at_event(indexed.position), checkpoint=checkpoint.sequence - 1),
            )
            yield frame
            if view.misbehaviour.duplicate_events:
                yield frame
        yield v2.SubscribeEventsResponse(watermark=_progress(checkpoint))


def _progress(checkpoint: Checkpoint) -> Any:
    """Everything up to and with this checkpoint has been delivered."""
    return v2.Watermark(cursor=before_event(checkpoint.events_after), checkpoint=checkpoint.sequence)
