"""Limits of what stays open, watches and followed logs: they must take nothing from reads and writes.

Two limits, both before anything is submitted: a rate per seal, which holds across all functions, and places
in this process. Whoever meets one gets a 429 with `Retry-After`, and kubectl comes again unasked.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chalicelib.sizes import Reading, deep_size
from chalicelib.windows import Windows
from k3s_daas.ids import to_hex
from k3s_daas.status import Cause, StatusError

WINDOW_S = 60
RETRY_AFTER_S = 2
# Seals whose rate is known to be used up; the oldest are forgotten, and asked about again.
SEALS = 1024


class OpenRequests:
    """Used by many request threads at once. `per_minute` is for one seal, `places` for the process."""

    def __init__(
        self,
        windows: Windows,
        *,
        per_minute: int,
        places: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._windows = windows
        self._per_minute = per_minute
        self._places = threading.Semaphore(places)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._spent: OrderedDict[bytes, float] = OrderedDict()
        self._evictions = 0

    def count(self, seal: bytes, commands_per_minute: int) -> None:
        """One more of this seal, of which at most half of what the contract allows it for all commands.

        Raises a 429 StatusError, RequestStoreUnavailableError.
        """
        limit = min(self._per_minute, max(1, commands_per_minute // 2))
        wait_s = self._known_wait_s(seal)
        if wait_s <= 0:
            counted = self._windows.count(f"open/{to_hex(seal)}", window_s=WINDOW_S, limit=limit)
            if counted.allowed:
                return
            wait_s = counted.retry_after_s
            self._remember(seal, self._monotonic() + wait_s)
        raise _too_many(
            f"this seal has begun {limit} watches and followed logs in this minute, which is the limit: "
            f"wait {wait_s} s",
            "WatchRateExceeded",
            wait_s,
        )

    def _known_wait_s(self, seal: bytes) -> int:
        """Seconds until a limit ends that was met here: whoever hammers costs one write, not one each."""
        return math.ceil(self._spent.get(seal, 0.0) - self._monotonic())

    def _remember(self, seal: bytes, until_s: float) -> None:
        with self._lock:
            self._spent[seal] = until_s
            while len(self._spent) > SEALS:
                self._spent.popitem(last=False)
                self._evictions += 1

    def reading(self) -> Reading:
        """Seals whose rate was used up."""
        with self._lock:
            return Reading(0, 0, self._evictions, len(self._spent), deep_size(self._spent))

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in this process for as long as one is open. Raises a 429 StatusError if there is none."""
        if not self._places.acquire(blocking=False):
            raise _too_many(
                "too many watches and followed logs are open in this gateway: try again",
                "WatchPlacesTaken",
                RETRY_AFTER_S,
            )
        try:
            yield
        finally:
            self._places.release()


def _too_many(message: str, cause: str, retry_after_s: int) -> StatusError:
    return StatusError(
        429, "TooManyRequests", message, causes=(Cause(cause, message),), retry_after_s=retry_after_s
    )
