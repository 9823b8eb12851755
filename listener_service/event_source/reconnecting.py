"""One stream out of many connections: connect, deliver, wait with full jitter, connect again."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from k3s_daas.errors import LedgerUnavailableError
from listener_service.backoff import Backoff
from listener_service.clock import Clock
from listener_service.event_source.interface import SourceItem

_log = logging.getLogger(__name__)


async def reconnecting(
    connection: Callable[[], AsyncGenerator[SourceItem, None]], clock: Clock, backoff: Backoff
) -> AsyncGenerator[SourceItem, None]:
    """Items of one connection after the other. A connection ends only by an exception.

    Raises what is not `LedgerUnavailableError`. Every item that comes through resets the backoff.
    """
    while True:
        try:
            async with aclosing(connection()) as items:
                async for item in items:
                    backoff.reset()
                    yield item
        except LedgerUnavailableError as error:
            delay = backoff.next_delay_s()
            _log.warning(
                "event stream lost, subscribing again",
                extra={"error": str(error), "delay_s": round(delay, 3)},
            )
            await clock.sleep(delay)
