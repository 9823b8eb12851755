"""What the service counts while it works: the port that metrics are behind, and a tally in memory."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Counts(Protocol):
    """Told by whoever does the work, at once.

    Every word is one of a small set of ours (`UnbelievableError.reason`, `RefusedCommandError.reason` and
    those named here), never anything that came from outside: holders, names and paths are in the log.
    Calls may come from any thread, and neither wait nor raise.
    """

    def delivered(self, *, replayed: bool) -> None:
        """One more event came from a source."""
        ...

    def not_run(self, reason: str) -> None:
        """One more event or command that was turned down for this reason."""
        ...

    def took(self, stage: str, kind: str, seconds: float) -> None:
        """A command of this kind (`queue.ticket.Kind`) was in this stage for so long."""
        ...

    def answered(self, status: int | None) -> None:
        """An answer with this HTTP status is on chain; None if it could not be put there."""
        ...

    def claim(self, event: str, number: int = 1) -> None:
        """What became of so many claims: one of `CLAIM_EVENTS`."""
        ...

    def transaction(self, outcome: str) -> None:
        """A transaction with answers was sent: one of `TRANSACTION_OUTCOMES`."""
        ...

    def called(self, purpose: str, status: int | None) -> None:
        """The API server was called for one of `CALL_PURPOSES`; None if no reply came."""
        ...

    def renewal(self, *, succeeded: bool) -> None:
        """The leader Lease was written, or could not be."""
        ...

    def connected(self, source: int) -> None:
        """This event source (numbered from 1) has subscribed and caught up, the first time or again."""
        ...


TOO_LATE = "too-late"
"""`start_by` had passed, or `answer_by`."""

CLAIMED_BEFORE = "claimed-before"
"""Somebody else, or this replica before, holds the claim."""

STAGES = ("queue", "verify", "claim", "run", "answer", "total")
CLAIM_EVENTS = ("made", "too-late", "taken", "known", "refused", "inherited", "unknown", "removed")
TRANSACTION_OUTCOMES = ("executed", "aborted", "failed", "refused", "unavailable", "unsigned")
CALL_PURPOSES = ("command", "lead", "claim", "keys")


class Tally:
    """Counts in memory what tests and tools ask for; times are not kept."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self.claims: Counter[str] = Counter()
        self.events = 0

    def delivered(self, *, replayed: bool) -> None:
        self.events += 1

    def not_run(self, reason: str) -> None:
        self.by_reason[reason] += 1

    def took(self, stage: str, kind: str, seconds: float) -> None:
        """Not kept."""

    def answered(self, status: int | None) -> None:
        """Not kept."""

    def claim(self, event: str, number: int = 1) -> None:
        self.claims[event] += number

    def transaction(self, outcome: str) -> None:
        """Not kept."""

    def called(self, purpose: str, status: int | None) -> None:
        """Not kept."""

    def renewal(self, *, succeeded: bool) -> None:
        """Not kept."""

    def connected(self, source: int) -> None:
        """Not kept."""
