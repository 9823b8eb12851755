"""How large the faults are: a few seconds each, or in full with CHAOS=full in the environment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic
from typing import TypeVar

from tests.chaos.tally import Tally

T = TypeVar("T")

MODE, SEED, REPORT = "CHAOS", "CHAOS_SEED", "CHAOS_REPORT"
FULL = os.environ.get(MODE) == "full"


def scaled(short: T, full: T) -> T:
    """The value for this run."""
    return full if FULL else short


def dice() -> Random:
    """Random numbers of this run's seed, which pytest shows if the test fails."""
    seed = int(os.environ.get(SEED) or secrets.randbits(32))
    print(f"{SEED}={seed}")
    return Random(seed)


@contextmanager
def tallied(fault: str) -> Iterator[Tally]:
    """A line of the table, written also if the test fails; at its end the commands are judged."""
    tally, began = Tally(fault), monotonic()
    try:
        yield tally
    except BaseException as error:
        tally.violated(f"the test ended early: {error!r}")
        raise
    finally:
        tally.seconds = monotonic() - began
        if report := os.environ.get(REPORT):
            with Path(report).open("a") as lines:
                lines.write(tally.encode() + "\n")
    tally.check()
