"""What goes on beside the commands and must not end unheard: each chore is kept up in the same way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

from listener_service.backoff import Backoff
from listener_service.clock import Clock

_log = logging.getLogger(__name__)

T = TypeVar("T")
Chore = Callable[[], Coroutine[None, None, T]]


async def kept_up(name: str, chore: Chore[T], clock: Clock) -> T:
    """What the chore returns. One that fails is told with its trace, and begun again after a while.

    A chore deals with what it expects; so what ends it is a defect, and commands shall not suffer for it.
    """
    backoff = Backoff(base_s=0.5, cap_s=5.0)
    while True:
        try:
            return await chore()
        except Exception:  # noqa: BLE001  whatever it was: without this chore something would stand still unseen
            _log.exception("a chore failed, beginning it again", extra={"chore": name})
        await clock.sleep(backoff.next_delay_s())
