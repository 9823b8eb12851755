"""How long a watch or a followed log stays open before it is answered: pure rules over a given clock.

A reply crosses the chain complete, so everything that stays open is cut into windows. When a window closes is
a compromise, found by measuring with kubectl (docs/decisions/0015-windows-of-watches.md):

- a client cannot give up a request whose reply has not begun. `kubectl wait`, `rollout status` and
  `delete --wait` have their event, have asked for the next watch already, and end only when that one is
  answered: what follows news must be short;
- a watch that ends within a second of its request without an event makes client-go back off;
- an event shall be seen soon, but those that belong together cost one command instead of several.

Times are in seconds of one monotonic or wall clock, whichever the caller takes throughout.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass


class Reader(enum.Enum):
    """Who reads what stays open, as far as the request tells."""

    INFORMER = "informer"
    """A client that watches on from where a watch ended, unasked (`allowWatchBookmarks`)."""

    ONLOOKER = "onlooker"
    """A client that may not come again: `kubectl get --watch`, scripts."""

    FOLLOWER = "follower"
    """`kubectl logs --follow`."""


@dataclass(frozen=True, slots=True)
class WindowRules:
    """Durations in seconds."""

    longest_s: float = 20.0
    """No window is longer: the caller's HTTP exchange ends after 25 s, and the answer has to cross the
    chain."""

    shortest_s: float = 1.0
    """From the command's arrival at the gateway; client-go backs off from shorter silent watches."""

    least_s: float = 0.2
    """From the beginning of the API server's reply: what has happened by then must come in, however long the
    command was under way."""

    quiet_s: float = 0.2
    """After an event, an informer's window waits this long for another one."""

    burst_s: float = 1.0
    """From the first event; then an informer is answered although there is no quiet."""

    silent_s: tuple[float, ...] = (2.0, 4.0, 8.0)
    """Windows of an informer that asks again for what has brought nothing: the second, the third, and all
    further ones. The first one, after a list or an event, is the shortest."""

    onlooker_quiet_s: float = 0.2
    onlooker_burst_s: float = 2.0
    """The same as for informers: an onlooker's watch is not taken up again, so it waits for more."""

    state_s: float = 10.0
    """A watch without a resourceVersion begins with what there is. For an onlooker that is no news, yet he
    shall see it before long."""


class Window:
    """One open watch or log. Tell it of every event; ask it when to close."""

    def __init__(
        self,
        rules: WindowRules,
        reader: Reader,
        *,
        arrived_s: float,
        opened_s: float,
        end_s: float,
        silent_before: int = 0,
        begins_with_state: bool = False,
    ) -> None:
        """`end_s`: the last moment at which an answer reaches its caller. `silent_before`: how many windows
        for the same thing closed without an event just before."""
        self._rules = rules
        self._reader = reader
        self._last_s = min(opened_s + rules.longest_s, end_s)
        self._silent_end_s = self._last_s
        if reader is Reader.INFORMER:
            lengths = (0.0, *rules.silent_s)
            length = lengths[min(silent_before, len(lengths) - 1)]
            self._silent_end_s = max(arrived_s + rules.shortest_s, opened_s + length)
        self._began_s: float | None = None
        self._state = begins_with_state
        self._opened_s = opened_s
        self._first_s: float | None = None
        self._latest_s: float | None = None
        self._state_s: float | None = None

    @property
    def had_event(self) -> bool:
        """Whether there was an event, state included."""
        return self._latest_s is not None or self._state_s is not None

    def began(self, now_s: float) -> None:
        """The API server has begun its reply."""
        self._began_s = now_s

    def saw_event(self, now_s: float) -> None:
        """An event that is no bookmark came in."""
        if self._is_state(now_s):
            self._state_s = now_s
            return
        self._first_s = now_s if self._first_s is None else self._first_s
        self._latest_s = now_s

    def closes_at_s(self) -> float:
        """When to answer, if nothing comes before that."""
        if self._reader is Reader.FOLLOWER or self._began_s is None:
            return self._last_s
        if self._latest_s is None or self._first_s is None:
            silent_end_s = max(self._silent_end_s, self._began_s + self._rules.least_s)
            if self._state_s is not None:
                silent_end_s = min(silent_end_s, self._opened_s + self._rules.state_s)
            return min(silent_end_s, self._last_s)
        quiet_s, burst_s = self._rules.quiet_s, self._rules.burst_s
        if self._reader is Reader.ONLOOKER:
            quiet_s, burst_s = self._rules.onlooker_quiet_s, self._rules.onlooker_burst_s
        return min(self._latest_s + quiet_s, self._first_s + burst_s, self._last_s)

    def _is_state(self, now_s: float) -> bool:
        """An onlooker's first burst, if his watch begins with what there is."""
        if not self._state or self._reader is not Reader.ONLOOKER or self._latest_s is not None:
            return False
        previous_s = self._opened_s if self._state_s is None else self._state_s
        return now_s - previous_s <= self._rules.onlooker_quiet_s


class Silences:
    """Counts, for the last `capacity` watches, the windows that closed without an event in a row.

    Who asks for the same thing from the same resourceVersion has learned nothing since, and waits on.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def before(self, key: bytes) -> int:
        """How many there were."""
        return self._counts.get(key, 0)

    def closed(self, key: bytes, *, silent: bool) -> None:
        """A window closed."""
        count = self._counts.pop(key, 0)
        if silent:
            self._counts[key] = count + 1
            while len(self._counts) > self._capacity:
                self._counts.popitem(last=False)
