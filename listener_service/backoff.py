"""Exponential backoff with full jitter: what a client does when the other side is not there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays between attempts, in seconds: uniform in [0, min(cap_s, base_s * 2^attempt)].

    Full jitter, so that many listeners that lost one endpoint together do not come back together. The cap is
    a small part of the 24 s in which a command may be started: nobody hears of it until the next attempt.
    """

    base_s: float = 0.2
    cap_s: float = 5.0
    uniform: Callable[[float, float], float] = field(default=random.uniform)
    attempt: int = 0

    def next_delay_s(self) -> float:
        """The delay before the next attempt; each call counts as one failed attempt."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(self.attempt, 32))
        self.attempt += 1
        return self.uniform(0.0, ceiling)

    def reset(self) -> None:
        """An attempt succeeded: the next failure starts from `base_s` again."""
        self.attempt = 0
