"""Take out of kubectl's output what two runs of the same command may differ in."""

from __future__ import annotations

import re
from collections.abc import Mapping

# The alphabet of names that Kubernetes generates (apimachinery: util/rand).
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UID"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d{4}( UTC)?|[+-]\d\d:\d\d)?", "TIME"),
        (r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\b", "TIME"),
        # kubectl's log when it has what it waits for while a watch is still open. Directly that watch has
        # begun to answer; the gateway answers a watch as a whole, so that kubectl takes it for failed.
        (r'(?m)^E\d{4} .* reflector\.go:\d+\] "Failed to watch" err=.*context canceled.*\n?', ""),
        (r"(?m)^([WEIF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", r"\1 "),
        (r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN"),
        (r"(resourceVersion\"?: ?)\"\d+\"", r'\1"RV"'),
        (r"\b\d{1,3}(\.\d{1,3}){3}\b", "IP"),
        (r"(/tmp/|/var/folders/)[\w./-]+", "FILE"),
        # A ReplicaSet's hash and a pod's suffix; then whatever else ends in one of the two.
        (rf"-{_RANDOM}{{6,10}}-{_RANDOM}{{5}}\b", "-HASH-RANDOM"),
        (rf"-{_RANDOM}{{8,10}}\b", "-HASH"),
        (rf"=({_RANDOM}{{8,10}})\b", "=HASH"),
        (rf"-{_RANDOM}{{5}}\b", "-RANDOM"),
        (r"(?<![\w.-])(\d+[dhms])+(?![\w.-])|<invalid>", "AGE"),
        # Columns are as wide as what stood in them.
        (r"[ \t]+", " "),
        (r"(?m) $", ""),
    )
)


def normalised(text: str, names: Mapping[str, str]) -> str:
    """The text without uids, times, ages, versions, addresses, generated names, and this run's own names.

    `names` maps what only this run is called (namespace, server) to a word that both runs share.
    """
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text.strip()


def comparable(text: str, comparison: str) -> str:
    """What of a normalised text must be the same in both runs (see `steps`)."""
    lines = text.splitlines()
    if comparison == "none":
        return ""
    if comparison == "lines":
        return "\n".join(sorted(lines))
    if comparison == "last":
        return lines[-1] if lines else ""
    if comparison == "shape":
        return "\n".join(line.split()[0] for line in _before_events(lines) if line.strip())
    return text


def _before_events(lines: list[str]) -> list[str]:
    """What `describe` prints before the events, which come when they come."""
    ends = [index for index, line in enumerate(lines) if line.startswith("Events:")]
    return lines[: ends[0]] if ends else lines
