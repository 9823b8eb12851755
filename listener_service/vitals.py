"""What a replica is doing right now, for probes and metrics: written by those who do it, read at any time.

Used on one event loop. What is told here decides nothing about commands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from listener_service.chain_tip import ChainTip
from listener_service.claims import Claims
from listener_service.clock import boot_s
from listener_service.leadership import Term
from listener_service.queue.core import Queue


class Phase(Enum):
    """Where a replica is in its life."""

    STARTING = "starting"
    STANDBY = "standby"
    TAKING_OVER = "taking over"
    """It leads, and opens keys and stream."""
    LEADING = "leading"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """How many are open in this process; number and age in seconds of the one in force, if it is open."""

    open: int = 0
    generation: int | None = None
    age_s: float = 0.0


class AtWork(Protocol):
    """What a term's service tells of itself; `ListenerService` is one."""

    claims: Claims
    queue: Queue

    @property
    def covered(self) -> int | None: ...

    @property
    def watermark(self) -> int | None: ...


@dataclass(slots=True)
class Calls:
    """When somebody last tried to reach the API server, and when it last answered, as `boot_s` tells it."""

    boot_s: Callable[[], float]
    tried_s: float | None = None
    answered_s: float | None = None

    def tried_ago_s(self) -> float | None:
        return None if self.tried_s is None else self.boot_s() - self.tried_s

    def answered_ago_s(self) -> float | None:
        return None if self.answered_s is None else self.boot_s() - self.answered_s


@dataclass(slots=True)
class Vitals:
    """See the module docstring. `lag_limit_s` is `DAAS_READY_LAG_SECONDS`, `lease_s` `DAAS_LEASE_SECONDS`."""

    lease_s: int
    lag_limit_s: int
    boot_s: Callable[[], float] = boot_s
    term: Term | None = None
    service: AtWork | None = None
    """Of the newest term, which may be over."""
    live: bool = False
    """Whether the term's event stream has caught up once."""
    is_standby: bool = False
    is_draining: bool = False
    keys: Callable[[], SealingKeys] = SealingKeys
    standby_keys: Callable[[], str | None] = lambda: None
    """Why a standby could not open the sealing keys, when it last tried."""
    answers_per_transaction: Callable[[], Mapping[int, int]] = Counter
    dissents: Callable[[], Mapping[tuple[str, str], int]] = dict
    """How often an endpoint (by number) dissented, by kind."""
    chain: ChainTip = field(init=False)
    lead_calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.chain = ChainTip(self.boot_s)
        self.lead_calls = Calls(self.boot_s)

    @property
    def phase(self) -> Phase:
        if self.is_draining:
            return Phase.DRAINING
        if self.term is not None and self.term.is_current():
            return Phase.LEADING if self.live else Phase.TAKING_OVER
        return Phase.STANDBY if self.is_standby or self.term is not None else Phase.STARTING

    def begins(self, term: Term) -> None:
        """A term begins; its service is not made yet."""
        self.term, self.service, self.live = term, None, False

    def goes_live(self) -> None:
        """The term's event stream has caught up."""
        self.live = True

    def stands_by(self) -> None:
        """Somebody else leads."""
        self.is_standby = True

    def drains(self) -> None:
        """It was told to end."""
        self.is_draining = True
