"""One bounded thing (places, bytes) that holders share without being told how many they are."""

from __future__ import annotations

from collections import Counter
from enum import Enum


class Fit(Enum):
    """Whether somebody may take more now."""

    YES = "yes"
    OVER_SHARE = "over share"
    """He has his share; others may still take."""
    FULL = "full"
    """There is not enough left for somebody who has nothing."""


class Shares:
    """Whoever has some may take more only while as much as he then has is free before he takes it.

    So one holder has at most half of it, the next at most half of the rest, and there is nearly always
    something for one who has nothing. What nobody uses lets anybody take, however large it is: otherwise what
    is larger than `capacity` would wait for ever.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: Counter[bytes] = Counter()
        self._used = 0

    @property
    def used(self) -> int:
        return self._used

    @property
    def holders(self) -> int:
        """How many have some."""
        return len(self._held)

    def held(self, holder: bytes) -> int:
        return self._held[holder]

    def fit(self, holder: bytes, amount: int) -> Fit:
        """What `take` of this amount would be."""
        free, held = self.capacity - self._used, self._held[holder]
        if not self._used or held + amount <= free:
            return Fit.YES
        return Fit.OVER_SHARE if held else Fit.FULL

    def take(self, holder: bytes, amount: int) -> None:
        """Takes it, whether it fits or not: what is there already must be counted."""
        self._used += amount
        self._held[holder] += amount

    def give_back(self, holder: bytes, amount: int) -> None:
        """Of what he took."""
        self._used -= amount
        self._held[holder] -= amount
        if not self._held[holder]:
            del self._held[holder]
