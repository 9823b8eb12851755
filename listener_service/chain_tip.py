"""How far the listener is behind the chain, and when an endpoint last told where that is.

The lag is measured on this machine's clock alone: how long ago the chain was first seen to be further than
what has been covered. Neither the chain's clock nor the API server's has a part in it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from k3s_daas.errors import LedgerError
from k3s_daas.sui.ledger import Ledger
from listener_service.clock import Clock, boot_s

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
# A listener that is behind for hours remembers the beginning, and the rest in larger steps.
_MOST_LOOKS = 512


@dataclass(slots=True)
class ChainTip:
    """What was seen of the chain's newest checkpoint. Times as `boot_s` tells them."""

    boot_s: Callable[[], float] = boot_s
    checkpoint: int | None = None
    seen_s: float | None = None
    _looks: deque[tuple[int, float]] = field(default_factory=deque)

    def saw(self, checkpoint: int) -> None:
        """The chain has come as far as this checkpoint."""
        self.seen_s = self.boot_s()
        if self.checkpoint is not None and checkpoint <= self.checkpoint:
            return
        self.checkpoint = checkpoint
        self._looks.append((checkpoint, self.seen_s))
        if len(self._looks) > _MOST_LOOKS:
            self._looks = deque(look for number, look in enumerate(self._looks) if number % 2 == 0)

    def age_s(self) -> float | None:
        """Since an endpoint last answered; None if none has."""
        return None if self.seen_s is None else self.boot_s() - self.seen_s

    def lag_s(self, covered: int | None) -> float:
        """For how long there has been more than what is covered; 0 if there is no more."""
        while self._looks and covered is not None and self._looks[0][0] <= covered:
            self._looks.popleft()
        return self.boot_s() - self._looks[0][1] if self._looks else 0.0


async def watch(ledger: Ledger, tip: ChainTip, clock: Clock) -> NoReturn:
    """Asks for the newest checkpoint every other second, until cancelled."""
    away = False
    while True:
        try:
            tip.saw((await ledger.service_info()).checkpoint)
            away = False
        except LedgerError as error:
            if not away:
                _log.warning("the chain does not say how far it is", extra={"error": str(error)})
            away = True
        await clock.sleep(LOOK_EVERY_S)
