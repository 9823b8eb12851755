"""Where in a node's index to begin: JSON-RPC knows places by event, we know them by checkpoint.

What joins them is time. An event that matters is in a checkpoint behind the watermark, and no node ran it
more than a minute, clocks included, before that checkpoint's time. A node that ran it later (since it caught
up) only makes the list longer. So: backwards through the index, to the first event that is older than that.
"""

from __future__ import annotations

import logging

from listener_service.event_source.interface import WatermarkGapError
from listener_service.event_source.json_rpc import CallRefusedError
from listener_service.event_source.replay import ReplayPlan, is_far_beyond
from listener_service.event_source.sui_json import EventId, SuiJson

_log = logging.getLogger(__name__)

_MARGIN_MS = 60_000


async def find_place(sui: SuiJson, first_ms: int) -> EventId | None:
    """The cursor before everything that `first_moment_ms` calls for; None is the index's beginning."""
    cursor: EventId | None = None
    while True:
        page = await sui.query(cursor, descending=True)
        for timed in page.events:
            if timed.is_before(first_ms - _MARGIN_MS):
                return timed.event.position
        if not page.has_next:
            return None
        cursor = page.last


async def first_moment_ms(sui: SuiJson, watermark: int | None, replay: ReplayPlan) -> int:
    """The time of the first checkpoint that matters.

    Raises `WatermarkGapError` if the node no longer has what follows the watermark.
    """
    tip = await sui.tip()
    if watermark is not None and is_far_beyond(watermark, tip):
        # This endpoint is far behind, or another one lied about the tip. Going back costs a longer list.
        _log.error(
            "the watermark lies far beyond the chain's tip, replaying what may still want an answer",
            extra={"watermark": watermark, "tip": tip},
        )
        watermark = None
    if watermark is None:
        return (await sui.checkpoint(tip)).timestamp_ms - replay.window_ms
    first = min(watermark + 1, tip)
    try:
        return (await sui.checkpoint(first)).timestamp_ms
    except CallRefusedError as error:
        if error.transient or first == tip:
            raise
    raise WatermarkGapError(watermark, await _lowest(sui, first, tip))


async def _lowest(sui: SuiJson, missing: int, present: int) -> int:
    """The first checkpoint that the node has: it lies above `missing` and is at most `present`."""
    while present - missing > 1:
        middle = (missing + present) // 2
        try:
            await sui.checkpoint(middle)
        except CallRefusedError as error:
            if error.transient:
                raise
            missing = middle
        else:
            present = middle
    return present
