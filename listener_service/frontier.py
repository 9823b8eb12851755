"""How far the listener is through the chain: the watermark that a restart may resume from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Frontier:
    """Counts events in and out.

    An event is *settled* when a restart may forget it: answered, found not to be ours or not believable, or
    among the claims. The watermark is the last checkpoint of which every event is settled, so it
    never moves past an event that a restart would have to see again. Whatever tells one event from another
    names it: if endpoints say different things of one position, each is an event of its own.
    """

    covered: int | None = None
    _pending: dict[Hashable, int] = field(default_factory=dict)

    def delivered(self, event: Hashable, checkpoint: int | None) -> None:
        """An event arrived. Without a checkpoint it is taken to lie right behind what is covered."""
        if checkpoint is None:
            checkpoint = 0 if self.covered is None else self.covered + 1
        self._pending[event] = checkpoint

    def settled(self, event: Hashable) -> None:
        """A restart may forget this event. Settling twice is harmless."""
        self._pending.pop(event, None)

    def cover(self, checkpoint: int) -> None:
        """Every event up to and including `checkpoint` has been delivered."""
        if self.covered is None or checkpoint > self.covered:
            self.covered = checkpoint

    @property
    def watermark(self) -> int | None:
        """The checkpoint to resume after, None as long as nothing is covered."""
        if self.covered is None or not self._pending:
            return self.covered
        lowest = min(self._pending.values()) - 1
        return min(self.covered, lowest) if lowest >= 0 else None
