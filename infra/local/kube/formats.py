"""How kubectl writes durations, labels and selectors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from infra.local.kube.errors import Json
from infra.local.kube.naming import parse_time

NONE, UNKNOWN = "<none>", "<unknown>"


def age(since: str | None, now: datetime) -> str:
    """kubectl's duration format: two units at most, the second only where it still matters."""
    if not since:
        return UNKNOWN
    return duration(int((now - parse_time(since)).total_seconds()))


def duration(seconds: int) -> str:
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    # Up to which number of seconds two units are shown, or one; larger spans come later.
    day, hour, minute = 86400, 3600, 60
    for limit, unit, small in (
        (10 * minute, ("m", minute), ("s", 1)),
        (180 * minute, ("m", minute), None),
        (8 * hour, ("h", hour), ("m", minute)),
        (48 * hour, ("h", hour), None),
        (8 * day, ("d", day), ("h", hour)),
        (730 * day, ("d", day), None),
        (8 * 365 * day, ("y", 365 * day), ("d", day)),
    ):
        if seconds < limit:
            return _in_units(seconds, unit, small)
    return _in_units(seconds, ("y", 365 * day), None)


def _in_units(seconds: int, unit: tuple[str, int], small: tuple[str, int] | None) -> str:
    count, rest = divmod(seconds, unit[1])
    tail = f"{rest // small[1]}{small[0]}" if small and rest // small[1] else ""
    return f"{count}{unit[0]}{tail}"


def labels_text(labels: dict[str, str] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_text(selector: Json | None) -> str:
    """A LabelSelector in the form of a query string."""
    if not selector:
        return NONE
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(expression.get("values") or [])
        operator = expression["operator"]
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append(texts.get(operator, f"!{key}"))
    return ",".join(parts) or NONE


def age_of(obj: Json, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def name_of(obj: Json) -> str:
    return str(obj["metadata"]["name"])


def status_of(obj: Json, name: str, default: Any = 0) -> Any:
    return (obj.get("status") or {}).get(name, default)
