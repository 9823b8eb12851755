"""When to look for an answer: at about the time it is expected, then at growing intervals."""

from __future__ import annotations

import random
from collections.abc import Iterator

FIRST_GUESS_S = 0.5
LONGEST_EXPECTATION_S = 5.0
SHORTEST_PAUSE_S = 0.04
LONGEST_PAUSE_S = 0.5
GROWTH = 1.35
# How many deviations before the time that is expected the first look comes. A look that finds nothing costs
# as much CPU as one that does; fewer deviations, and a node that shows answers late is never learnt.
EARLY_DEVIATIONS = 1.25
# Of the time that somebody has waited, which the next pause may add: a chain that takes ten times as long is
# not read ten times as often.
PATIENCE = 1 / 8
# Weights of the newest sample, those of TCP's round-trip estimate (RFC 6298).
MEAN_WEIGHT = 1 / 8
DEVIATION_WEIGHT = 1 / 4


class Rhythm:
    """Learns how long answers take. Used on one event loop."""

    def __init__(self) -> None:
        self._mean_s = FIRST_GUESS_S
        self._deviation_s = FIRST_GUESS_S / 2

    def pauses(self, *, patient: bool) -> Iterator[float]:
        """Seconds to wait before the first look, the second, and so on, without end.

        Who is not `patient` expects an answer at any time, and never pauses for longer than half a second.
        """
        waited_s = max(0.0, self._mean_s - EARLY_DEVIATIONS * self._deviation_s)
        yield waited_s
        pause_s = SHORTEST_PAUSE_S
        while True:
            # Jitter keeps commands that were submitted together from reading together.
            yield pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
            waited_s += pause_s
            longest_s = max(LONGEST_PAUSE_S, waited_s * PATIENCE) if patient else LONGEST_PAUSE_S
            pause_s = min(longest_s, pause_s * GROWTH)

    def learn(self, duration_s: float) -> None:
        """An answer took this long from submission."""
        sample = min(duration_s, LONGEST_EXPECTATION_S)
        self._deviation_s += DEVIATION_WEIGHT * (abs(sample - self._mean_s) - self._deviation_s)
        self._mean_s += MEAN_WEIGHT * (sample - self._mean_s)
