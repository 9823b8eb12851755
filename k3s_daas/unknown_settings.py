"""Settings that nobody reads: mostly a name that was misspelt, whose default then counts unnoticed.

They are no reason to refuse: Kubernetes puts variables into each pod for each Service of its namespace, and
those of a Service that is called `daas-…` begin as ours do.
Rule: kubernetes.io/docs/concepts/services-networking/service/#environment-variables.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

_PREFIX = "DAAS_"
_OF_A_SERVICE = re.compile(r"(?P<service>.+?)_(SERVICE_HOST|SERVICE_PORT|PORT)(_.+)?", re.ASCII)


def unknown_settings(environment: Mapping[str, str], known: Iterable[str]) -> dict[str, str | None]:
    """Names that begin as ours do and are not among the known ones, each with the known one that it resembles
    most, or None.
    """
    names = sorted(known)
    unknown = (name for name in sorted(environment) if name.startswith(_PREFIX) and name not in names)
    return {
        name: next(iter(difflib.get_close_matches(name, names, n=1)), None)
        for name in unknown
        if not _is_of_a_service(name, environment)
    }


def _is_of_a_service(name: str, environment: Mapping[str, str]) -> bool:
    """A Service has always a host, too: `DAAS_POTR` without one is somebody's mistake."""
    match = _OF_A_SERVICE.fullmatch(name)
    return match is not None and f"{match['service']}_SERVICE_HOST" in environment
