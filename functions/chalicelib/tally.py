"""What this process sent for each seal a moment ago: the counts read from the chain do not show it yet."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from chalicelib.sizes import Reading, deep_size


class Sent(NamedTuple):
    """Commands, and the MIST of storage deposit that the contract counts for them."""

    commands: int
    deposit: int


class CommandTally:
    """Remembers the last `keep_s` seconds of at most `capacity` seals; used by many request threads at once.

    It may count a command twice (here and in the state read) or one that was refused: whoever refuses because
    of it asks again with fresh state.
    """

    def __init__(
        self, *, keep_s: float, capacity: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._keep_s = keep_s
        self._capacity = capacity
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seals: OrderedDict[bytes, deque[tuple[float, int]]] = OrderedDict()
        self._evictions = 0

    def add(self, seal: bytes, deposit: int) -> None:
        """One command is about to be sent."""
        now_s = self._monotonic()
        with self._lock:
            sent = self._seals.setdefault(seal, deque())
            self._seals.move_to_end(seal)
            sent.append((now_s, deposit))
            while sent[0][0] < now_s - self._keep_s:
                sent.popleft()
            while len(self._seals) > self._capacity:
                self._seals.popitem(last=False)
                self._evictions += 1

    def reading(self) -> Reading:
        """What it holds."""
        with self._lock:
            return Reading(0, 0, self._evictions, len(self._seals), deep_size(self._seals))

    def since(self, seal: bytes, read_at_s: float) -> Sent:
        """What was sent since state was read (monotonic time)."""
        with self._lock:
            deposits = [deposit for at_s, deposit in self._seals.get(seal, ()) if at_s >= read_at_s]
        return Sent(len(deposits), sum(deposits))
