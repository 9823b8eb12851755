"""Amounts and times as people write them, and as the contract counts them: MIST and milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

MIST_PER_SUI = 1_000_000_000
MAX_U64 = 2**64 - 1

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(SUI|MIST)", re.ASCII)
_DURATION = re.compile(r"([0-9]+) *(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_amount(text: str) -> int:
    """MIST of ``1.5 SUI``, ``100 MIST`` or ``0``. Raises `ValueError` (a sentence) for anything else."""
    if text.strip() == "0":
        return 0
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no amount: write 1.5 SUI, 100 MIST or 0")
    mist = Decimal(match[1]) * (MIST_PER_SUI if match[2] == "SUI" else 1)
    if mist != int(mist):
        raise ValueError(f"{text!r} is a fraction of a MIST: 1 SUI has {MIST_PER_SUI} MIST")
    return _in_range(int(mist), text)


def format_amount(mist: int) -> str:
    """The shortest exact way to write it."""
    if mist == 0:
        return "0"
    whole, rest = divmod(mist, MIST_PER_SUI)
    # Less than a thousandth of a SUI is easier to read in MIST.
    if rest % 1_000_000:
        return f"{mist} MIST"
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") + " SUI"


def parse_duration(text: str) -> int:
    """Milliseconds of ``30d``, ``12h``, ``5m``, ``10s`` or ``250ms``. Raises `ValueError` (a sentence)."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: write 30d, 12h, 5m, 10s or 250ms")
    return _in_range(int(match[1]) * _UNIT_MS[match[2]], text)


def format_duration(duration_ms: int) -> str:
    """In the largest unit that divides it."""
    for unit in ("d", "h", "m", "s"):
        if duration_ms and duration_ms % _UNIT_MS[unit] == 0:
            return f"{duration_ms // _UNIT_MS[unit]}{unit}"
    return f"{duration_ms}ms"


def parse_moment(text: str) -> int:
    """Unix ms of an ISO 8601 time with its offset (``2027-01-31T00:00:00Z``). Raises `ValueError`."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{text!r} is no moment: write 2027-01-31T00:00:00Z")
    return _in_range(round(moment.timestamp() * 1000), text)


def format_moment(moment_ms: int) -> str:
    """ISO 8601 in UTC, to the second; far beyond any calendar it stays a number."""
    try:
        return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{moment_ms} ms after 1970"


def _in_range(value: int, text: str) -> int:
    if not 0 <= value <= MAX_U64:
        raise ValueError(f"{text!r} does not fit into 64 bits")
    return value
