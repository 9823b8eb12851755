"""How much the tables of this process hold: what each of them reports, and a measure of memory."""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

_STATM = Path("/proc/self/statm")


class Reading(NamedTuple):
    """Of one cache or table: counts since the process began, entries and bytes as of now.

    A table that is no cache has no hits and misses.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int


def deep_size(*values: object) -> int:
    """Bytes of the values and of all that they hold, each object once; shared ones count here too."""
    left: list[Any] = list(values)
    seen: set[int] = set()
    total = 0
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        total += sys.getsizeof(value)
        if isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            left += value
        elif is_dataclass(value) and not isinstance(value, type):
            left += [getattr(value, field.name) for field in fields(value)]
    return total


def resident_bytes() -> int | None:
    """This process's resident memory; None where the kernel does not tell it as Linux does."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
