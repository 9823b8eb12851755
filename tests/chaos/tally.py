"""What came of the commands under a fault: counted by the tests, printed by `python -m tests.chaos`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """One line of the table. `violations` has a sentence for each command that fared as none may."""

    fault: str
    commands: int = 0
    kills: int = 0
    stops: int = 0
    executed_once: int = 0
    unknown: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Answers that are not the command's own reply, and true: by status."""
    lost: int = 0
    doubled: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def violated(self, sentence: str) -> None:
        self.violations.append(sentence)

    def check(self) -> None:
        """Fails the test if a command fared as none may."""
        assert not self.violations, "\n".join(self.violations)

    def encode(self) -> str:
        """One line of JSON."""
        return json.dumps(vars(self))

    @classmethod
    def decode(cls, line: str) -> Tally:
        values: dict[str, Any] = json.loads(line)
        refused = Counter({int(status): count for status, count in values.pop("refused").items()})
        return cls(**values, refused=refused)


_COLUMNS = (
    "fault",
    "commands",
    "kills",
    "stops",
    "executed once",
    "unknown",
    "refused",
    "lost",
    "doubled",
    "s",
    "",
)


def table(tallies: Sequence[Tally]) -> list[str]:
    """The lines of the table, its head first."""
    rows = [_COLUMNS, *(_row(one) for one in tallies)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if at in (0, len(widths) - 1) else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(one: Tally) -> tuple[str, ...]:
    refused = " ".join(f"{status}:{count}" for status, count in sorted(one.refused.items()))
    told = [*one.notes, *([f"{len(one.violations)} VIOLATIONS"] if one.violations else [])]
    counted = (one.commands, one.kills, one.stops, one.executed_once, one.unknown)
    return (
        one.fault,
        *("-" if not one.commands else str(number) for number in counted),
        refused or "-",
        *("-" if not one.commands else str(number) for number in (one.lost, one.doubled)),
        f"{one.seconds:.0f}",
        ", ".join(told),
    )
