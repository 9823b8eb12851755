"""What processes use, as Linux counts it: CPU seconds and resident memory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Fields 14 and 15 of /proc/<pid>/stat, counted behind the name, which may hold anything (proc(5)).
_USER, _SYSTEM = 11, 12
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of each process since its start, at one moment (monotonic seconds)."""

    at_s: float
    cpu_s: Mapping[str, float]

    @classmethod
    def of(cls, pids: Mapping[str, int], proc: Path = _PROC) -> Usage:
        """The processes by name, now."""
        return cls(time.monotonic(), {name: _cpu_s(proc / str(pid)) for name, pid in pids.items()})


def cpu_per_command_ms(
    idle: tuple[Usage, Usage], busy: tuple[Usage, Usage], commands: int
) -> dict[str, float]:
    """CPU milliseconds for a command, without what the processes use for nothing: streams, schedules."""
    return {
        name: round(1000 * max(0.0, _spent(busy, name) - _rate(idle, name) * _seconds(busy)) / commands, 1)
        for name in busy[0].cpu_s
    }


def idle_percent(idle: tuple[Usage, Usage]) -> dict[str, float]:
    """What the processes use of one core while nobody asks for anything."""
    return {name: round(100 * _rate(idle, name), 1) for name in idle[0].cpu_s}


def resident_mb(pids: Mapping[str, int], proc: Path = _PROC) -> dict[str, float]:
    """Resident memory, in MB (10^6 bytes)."""
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        name: round(int((proc / str(pid) / "statm").read_text().split()[1]) * page / 1e6, 1)
        for name, pid in pids.items()
    }


def _spent(between: tuple[Usage, Usage], name: str) -> float:
    return between[1].cpu_s[name] - between[0].cpu_s[name]


def _seconds(between: tuple[Usage, Usage]) -> float:
    return between[1].at_s - between[0].at_s


def _rate(between: tuple[Usage, Usage], name: str) -> float:
    return _spent(between, name) / _seconds(between)


def _cpu_s(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
