"""Who finishes what it claimed after its term, and until when: told in an annotation of the leader Lease.

A mutation that was claimed and sent needs no lead to end well, and nobody else knows how it ended. So a
process that gives the lead back goes on waiting for its claimed commands, and its successor answers for them
only when that time is over. The annotation costs no write: it goes along with those that are made anyway. ::

    {"<holder of the claims>": <Unix ms until which it may still answer>, …}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

_log = logging.getLogger(__name__)

FINISHING = "daas.io/finishing"

Finishing = Mapping[str, int]


def read(annotations: Mapping[str, str]) -> dict[str, int]:
    """Nobody, for what no listener wrote: then claims are answered for at `start_by`."""
    text = annotations.get(FINISHING)
    if text is None:
        return {}
    try:
        return {str(holder): int(until_ms) for holder, until_ms in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        _log.error("the Lease does not say who still finishes what", extra={"annotation": FINISHING})
        return {}


def written(annotations: Mapping[str, str], more: Finishing, now_ms: int) -> dict[str, str]:
    """The annotations, `more` added, and without those whose time is over."""
    known = read(annotations)
    latest = {holder: max(known.get(holder, 0), more.get(holder, 0)) for holder in known.keys() | more.keys()}
    left = {holder: until_ms for holder, until_ms in sorted(latest.items()) if until_ms >= now_ms}
    others = {name: value for name, value in annotations.items() if name != FINISHING}
    return {**others, FINISHING: json.dumps(left, separators=(",", ":"))} if left else others
