"""Changes to a cluster: what a person is shown before, and what a transaction does then.

A `Change` is one sentence and the calls behind it, which go into one transaction as a whole. Many changes
fill few transactions (`batches`). A capability that one change of a transaction issues serves the later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.calls_cluster import Duty, administer
from k3s_daas.sui.transactions import Argument, ObjectRef, PtbBuilder

Power = Literal["cluster", "pause", "member", "access"]
"""What a capability gives: everything (`ClusterCap`), or one duty."""

# Sui takes 1,024 commands and 128 KiB in a transaction; gas, signature and objects need some of that too.
_MOST_COMMANDS = 500
_MOST_BYTES = 90_000


@dataclass
class Draft:
    """A transaction about one cluster, under construction."""

    builder: PtbBuilder
    package: bytes
    cluster: SharedRef
    owned: Mapping[Power, ObjectRef]
    _issued: list[tuple[Duty, Argument, bytes]] = field(default_factory=list)

    def cap(self, power: Power) -> Argument:
        """The capability: one issued earlier in this transaction, or the sender's own."""
        for duty, issued, _ in self._issued:
            if duty == power:
                return issued
        return self.builder.owned(self.owned[power])

    def issue(self, duty: Duty, recipient: bytes) -> None:
        """Issues a capability; it reaches its recipient at the end of the transaction."""
        issued = administer(
            self.builder, self.package, self.cluster, self.cap("cluster"), f"issue_{duty}_cap"
        )
        self._issued.append((duty, issued, recipient))

    def finish(self) -> None:
        """Hands over what was issued."""
        for _, issued, recipient in self._issued:
            self.builder.transfer([issued], recipient)
        self._issued.clear()


@dataclass(frozen=True, slots=True)
class Change:
    """`summary` may have several lines. `commands` and `size` (bytes) bound what `calls` adds."""

    summary: str
    power: Power
    calls: Callable[[Draft], None]
    commands: int = 1
    size: int = 200
    issues: Duty | None = None


def batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Cuts changes, in their order, into what fits into one transaction each."""
    batch: list[Change] = []
    commands = size = 0
    for change in changes:
        full = commands + change.commands > _MOST_COMMANDS or size + change.size > _MOST_BYTES
        if batch and full:
            yield batch
            batch, commands, size = [], 0, 0
        batch.append(change)
        commands += change.commands
        size += change.size
    if batch:
        yield batch


def powers_needed(batch: Sequence[Change]) -> list[Power]:
    """The capabilities that the sender must own for a transaction of these changes."""
    needed: list[Power] = []
    issued: set[Power] = set()
    for change in batch:
        if change.power not in issued and change.power not in needed:
            needed.append(change.power)
        if change.issues is not None:
            issued.add(change.issues)
    return needed
