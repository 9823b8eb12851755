"""When the index of a node may be trusted to have shown everything: the bookkeeping between passes over it.

A *pass* reads the node's tip and then its index from the resume cursor to the end. If the index knew the
tip's last transaction before (`index_proof`), the pass has seen everything up to that tip; or nearly, since
what was executed at the same time may be indexed shortly after, even at an earlier place. So a pass *settles*
only when a later one, begun at least `settle_ms` after it ended, has read the same stretch again. Then its
tip is covered, and the next pass may begin where it ended. Only what is older than `OLD_MS` when it is read
is not read again: after hours of absence that is nearly everything.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from listener_service.event_source.sui_json import EventId

# The node's word for the time of an event against our clock: far more than both may be wrong.
OLD_MS = 60_000


@dataclass(frozen=True, slots=True)
class _Pass:
    ended_ms: int
    tip: int
    last: EventId | None


@dataclass(slots=True)
class Settling:
    """See the module docstring. Times in milliseconds of one clock."""

    settle_ms: int
    cursor: EventId | None = None
    """Where a pass begins; None: at the index's beginning."""
    is_placed: bool = False
    """Whether `cursor` means anything at the present node."""
    _passes: deque[_Pass] = field(default_factory=deque)

    def place(self, cursor: EventId | None) -> None:
        """Passes begin here."""
        self.cursor, self.is_placed = cursor, True
        self._passes.clear()

    def displace(self) -> None:
        """The node does not know the cursor: find a place anew."""
        self.place(None)
        self.is_placed = False

    def listed_old(self, event: EventId) -> None:
        """A pass was shown an event that is older than `OLD_MS`."""
        self.cursor = event

    def passed(self, started_ms: int, ended_ms: int, tip: int | None, last: EventId | None) -> int | None:
        """A pass is complete, which ended at `last`. `tip` is what the index was proven to show before it
        began, None if that was not proven.

        The checkpoint that is covered by now, None if no earlier pass has settled.
        """
        covered = None
        while self._passes and self._passes[0].ended_ms <= started_ms - self.settle_ms:
            settled = self._passes.popleft()
            covered = settled.tip if covered is None else max(covered, settled.tip)
            if settled.last is not None:
                self.cursor = settled.last
        if tip is not None:
            self._passes.append(_Pass(ended_ms, tip, last))
        return covered
