"""How much memory the queue may use: a part of what the cgroup grants, less under pressure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# The interpreter, its libraries and connections take about 100 MB of a listener; the rest is for bursts.
_PART_OF_LIMIT = 4
UNLIMITED_BYTES = 64 * 1024 * 1024
"""The bound where neither a setting nor a cgroup says anything."""

_LEAST_BYTES = 8 * 1024 * 1024
_LOOK_EVERY_S = 1.0
_NEARLY_FULL = 0.9
# Percent of the last ten seconds in which something waited for memory.
_PRESSURE_PERCENT = 10.0
_LEAST_FACTOR = 1 / 16
_GROWTH = 1.25
# cgroup v1 says "no limit" with a number close to 2^63.
_NO_LIMIT = 1 << 60
_AVG10 = re.compile(r"^some avg10=([0-9.]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Files:
    """Where one cgroup says what it grants and uses; the names differ between versions 1 and 2."""

    limit: Path
    usage: Path
    stat: Path
    inactive: str
    pressure: Path | None


class Cgroup:
    """What the kernel says about this process's memory. `root` is where the cgroups are mounted, `own` says
    which one is ours.

    Files that are not there, or say something unknown, say nothing: a machine may have no cgroups.
    """

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> None:
        self._levels = [files for files in _levels(root, _text(own)) if files.limit.is_file()]

    def limit_bytes(self) -> int | None:
        """The least of ours and of those that it is in; None without any."""
        limits = [limit for files in self._levels if (limit := _limit(files)) is not None]
        return min(limits, default=None)

    def is_pressed(self) -> bool:
        """Whether processes wait for memory, or nearly all of it is taken by what cannot be dropped."""
        return any(_waits(files) or _is_nearly_full(files) for files in self._levels)


def _levels(root: Path, own: str) -> list[_Files]:
    """From ours up to the root. In a container ours is the root, whatever the name says."""
    for line in own.splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and (root / "cgroup.controllers").exists():
            return [_v2(place) for place in _upwards(root, path)]
        if "memory" in controllers.split(","):
            return [_v1(place) for place in _upwards(root / "memory", path)]
    return []


def _upwards(root: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _v2(place: Path) -> _Files:
    return _Files(
        place / "memory.max",
        place / "memory.current",
        place / "memory.stat",
        "inactive_file",
        place / "memory.pressure",
    )


def _v1(place: Path) -> _Files:
    return _Files(
        place / "memory.limit_in_bytes",
        place / "memory.usage_in_bytes",
        place / "memory.stat",
        "total_inactive_file",
        None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _limit(files: _Files) -> int | None:
    limit = _number(_text(files.limit))
    return limit if limit is not None and 0 < limit < _NO_LIMIT else None


def _is_nearly_full(files: _Files) -> bool:
    limit, usage = _limit(files), _number(_text(files.usage))
    if limit is None or usage is None:
        return False
    inactive = 0
    for line in _text(files.stat).splitlines():
        name, _, value = line.partition(" ")
        if name == files.inactive:
            # The kernel drops it when somebody needs memory.
            inactive = _number(value) or 0
    return usage - inactive > _NEARLY_FULL * limit


def _waits(files: _Files) -> bool:
    if files.pressure is None:
        return False
    found = _AVG10.match(_text(files.pressure))
    try:
        return found is not None and float(found[1]) >= _PRESSURE_PERCENT
    except ValueError:
        return False


def full_bound(setting: int | None, cgroup: Cgroup) -> int:
    """In bytes: the setting, else a quarter of the cgroup's limit, else `UNLIMITED_BYTES`."""
    if setting is not None:
        return setting
    limit = cgroup.limit_bytes()
    return UNLIMITED_BYTES if limit is None else max(_LEAST_BYTES, limit // _PART_OF_LIMIT)


@dataclass(slots=True)
class MemoryBound:
    """The bound now: halved with each second of pressure, down to a sixteenth; growing again without."""

    full_bytes: int
    cgroup: Cgroup = field(default_factory=Cgroup)
    monotonic: Callable[[], float] = time.monotonic
    _factor: float = 1.0
    _looked_s: float | None = None

    @property
    def now_bytes(self) -> int:
        """As of the last look."""
        return int(self.full_bytes * self._factor)

    @property
    def is_pressed(self) -> bool:
        """Whether the bound is less than it may be."""
        return self._factor < 1.0

    def look(self) -> int:
        """The bound now. Reads the kernel's files once a second at most, however often it is called."""
        now_s = self.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            if self.cgroup.is_pressed():
                self._factor = max(_LEAST_FACTOR, self._factor / 2)
            else:
                self._factor = min(1.0, self._factor * _GROWTH)
        return self.now_bytes
