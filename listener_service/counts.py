"""What was not run, counted by reason: the port that metrics are behind, and a tally in memory."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Counts(Protocol):
    """Counts events that came and commands that did not run.

    A reason is one short word of ours (`UnbelievableError.reason`, `RefusedCommandError.reason` and the ones
    of this module), never anything that came from outside, so there are few of them.
    """

    def not_run(self, reason: str) -> None:
        """One more event or command that was turned down for this reason."""
        ...


TOO_LATE = "too-late"
"""`start_by` had passed, or `answer_by`."""

CLAIMED_BEFORE = "claimed-before"
"""Somebody else, or this replica before, holds the claim."""


class Tally:
    """Counts in memory."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()

    def not_run(self, reason: str) -> None:
        self.by_reason[reason] += 1
