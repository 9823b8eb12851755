"""Who may go on: limits per source, and on failed transactions per seal. docs/threat-model.md says what for.

Asked in this order, the cheap before the dear: the source's bucket in this process; whether its refusals are
used up; and, before a command is submitted, whether the seal's failed transactions are.
"""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.journey import Log
from chalicelib.limits import Buckets, Limit, SharedLimit
from chalicelib.settings import GatewaySettings
from chalicelib.sizes import Reading
from chalicelib.windows import WindowId, Windows
from k3s_daas.ids import to_hex
from k3s_daas.status import Cause, StatusError

REFUSALS_WINDOW_S = 60
# Whoever was quiet may send so many seconds' worth at once.
BURST_S = 5
# kubectl waits silently for as long as Retry-After says: for minutes, a person should be told instead.
LONGEST_SILENT_WAIT_S = 60


class Sources:
    """The limits on an address that requests come from, whoever sends them; `GatewayRequest.source`."""

    def __init__(
        self, settings: GatewaySettings, windows: Windows, *, now_ms: Callable[[], int], log: Log
    ) -> None:
        rate = settings.source_requests_per_second
        self._buckets = Buckets(rate=rate, burst=BURST_S * rate)
        limit = Limit("refusals", settings.source_refusals_per_minute, REFUSALS_WINDOW_S)
        self._refusals = SharedLimit(limit, windows, now_ms=now_ms, log=log)

    def check(self, source: str) -> None:
        """Raises a 429 StatusError, before anything of the request is looked at. Asks nobody."""
        left_s = self._refusals.reached(source)
        if left_s is not None:
            raise _source_refused(
                "SourceRefusals",
                f"too many requests from {source} were refused: wait {left_s} s, and mend what was refused",
                left_s,
            )
        if not self._buckets.take(source):
            raise _source_refused("SourceRate", f"too many requests come from {source}: send fewer", 1)

    def refused(self, source: str) -> None:
        """A request of this source was refused. Never raises."""
        self._refusals.count(source)

    def readings(self) -> dict[str, Reading]:
        """What the tables hold, by name."""
        return {"source-buckets": self._buckets.reading(), "source-refusals": self._refusals.reading()}


class FailedTransactions:
    """The limit on transactions of one seal that the chain executed and failed: each costs gas."""

    def __init__(
        self, settings: GatewaySettings, windows: Windows, *, now_ms: Callable[[], int], log: Log
    ) -> None:
        limit = Limit("aborts", settings.seal_aborts, settings.seal_abort_window_s)
        self._limit = SharedLimit(limit, windows, now_ms=now_ms, log=log)

    def window(self, seal: bytes) -> WindowId:
        """The seal's present window, to be read along with something else."""
        return self._limit.window(to_hex(seal))

    def check(self, seal: bytes, counted: int) -> None:
        """Raises StatusError if no more of the seal's transactions may fail now. `counted` is what the
        window said a moment ago."""
        who = to_hex(seal)
        self._limit.learn(who, counted)
        left_s = self._limit.reached(who)
        if left_s is not None:
            raise StatusError(
                429,
                "TooManyRequests",
                f"{self._limit.limit.most} commands of this seal failed on chain within "
                f"{self._limit.limit.window_s} s, and each cost gas: wait {left_s} s, and send fewer at once",
                causes=(Cause("SealAborts", "failed transactions of this seal"),),
                retry_after_s=left_s if left_s <= LONGEST_SILENT_WAIT_S else None,
            )

    def failed(self, seal: bytes) -> None:
        """One more failed. Never raises."""
        self._limit.count(to_hex(seal))

    def reading(self) -> Reading:
        """Seals in the table."""
        return self._limit.reading()


def _source_refused(cause: str, message: str, retry_after_s: int) -> StatusError:
    causes = (Cause(cause, "per address that requests come from"),)
    return StatusError(429, "TooManyRequests", message, causes=causes, retry_after_s=retry_after_s)
