"""One member of a quorum: asked within a time, and remembered for what it did."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ledger import ForgedReplyError, Ledger

T = TypeVar("T")

_log = logging.getLogger(__name__)

# Unanswered calls that one member may hold; a frozen one shall cost neither memory nor streams.
_OUTSTANDING = 64
# For so long a member that was away or not confirmed is asked last, and nobody waits for its claims.
_PENANCE_S = 30.0
# Each kind of dissent of a member is reported at most once in this time; the counters tell the rest.
_REPORT_EVERY_S = 60.0

DissentKind = Literal["away", "forged", "behind", "unconfirmed", "contradicting"]
_LEVELS: dict[DissentKind, int] = {
    "away": logging.WARNING,
    "behind": logging.DEBUG,
    "unconfirmed": logging.WARNING,
    "contradicting": logging.ERROR,
    "forged": logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class Dissent:
    """A member did not say what the quorum says. `count` is how often it did so in all.

    away: no answer. forged: a reply that contradicts itself. behind: something older. unconfirmed: something
    newer that nobody confirms. contradicting: something else about the very same version.
    """

    endpoint: str
    kind: DissentKind
    count: int
    about: str

    @property
    def level(self) -> int:
        """How loud it is to be logged."""
        return _LEVELS[self.kind]


ReportDissent = Callable[[Dissent], None]


def log_dissent(dissent: Dissent) -> None:
    """Reports through `logging`."""
    _log.log(
        dissent.level,
        "a Sui endpoint dissents and is not believed",
        extra={
            "endpoint": dissent.endpoint,
            "dissent": dissent.kind,
            "count": dissent.count,
            "about": dissent.about,
        },
    )


@dataclass(slots=True)
class Member:
    """A ledger among several."""

    number: int
    ledger: Ledger
    report: ReportDissent
    monotonic: Callable[[], float] = time.monotonic
    dissents: Counter[DissentKind] = field(default_factory=Counter)
    _outstanding: int = 0
    _away_until_s: float = 0.0
    _distrusted_until_s: float = 0.0
    _reported_s: dict[DissentKind, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.ledger)

    @property
    def trusted(self) -> bool:
        """Whether its claims of something newer are worth waiting for."""
        return self.monotonic() >= self._distrusted_until_s

    @property
    def preference(self) -> tuple[bool, bool, int]:
        """Sorts members: those that work and are believed first, else in the order of the settings."""
        return (self.monotonic() < self._away_until_s, not self.trusted, self.number)

    async def ask(self, call: Callable[[Ledger], Awaitable[T]], timeout_s: float, about: str) -> T:
        """The call's result. Raises what the ledger raises, `LedgerUnavailableError` after `timeout_s`."""
        if self._outstanding >= _OUTSTANDING:
            raise LedgerUnavailableError(f"the {self} leaves {self._outstanding} calls unanswered")
        self._outstanding += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await call(self.ledger)
        except TimeoutError as error:
            self.away(about)
            raise LedgerUnavailableError(f"the {self} did not answer within {timeout_s:g} s") from error
        except ForgedReplyError:
            self.away(about, "forged")
            raise
        except LedgerUnavailableError:
            self.away(about)
            raise
        finally:
            self._outstanding -= 1
        self._away_until_s = 0.0
        return answer

    def away(self, about: str, kind: Literal["away", "forged"] = "away") -> None:
        """It gave no usable answer."""
        self._away_until_s = self.monotonic() + _PENANCE_S
        self.dissent(kind, about)

    def dissent(self, kind: DissentKind, about: str) -> None:
        """Counts, and reports now and then."""
        now = self.monotonic()
        if kind in ("unconfirmed", "contradicting", "forged"):
            self._distrusted_until_s = now + _PENANCE_S
        self.dissents[kind] += 1
        reported = self._reported_s.get(kind)
        if reported is None or now - reported >= _REPORT_EVERY_S:
            self._reported_s[kind] = now
            self.report(Dissent(str(self), kind, self.dissents[kind], about))


def by_preference(members: Sequence[Member]) -> list[Member]:
    """The members in the order in which one of them is chosen."""
    return sorted(members, key=lambda member: member.preference)
