"""The log of refusals: what was refused, to whom, and why; one JSON line each, in a stream of its own.

What is refused leaves no trace on chain: no event comes of an aborted transaction, and none of what the
gateway refused. So this log is the only record of it. It has no token, no secret, no body, no query, and no
seal whose token was not verified.
"""

from __future__ import annotations

import json
from pathlib import Path

from chalicelib.journey import Journey, Log


def refusal_line(journey: Journey, *, code: int, reason: str) -> str:
    """The line for one refusal; `reason` is a word: an abort's name, or the error's."""
    return json.dumps({"event": "refusal", "code": code, "reason": reason, **journey.who_and_what()})


def log_to_file(path: Path) -> Log:
    """Appends to a file, which others may rename meanwhile. Raises OSError if it cannot be opened."""

    def write(line: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            # One write per line, so that lines of several threads do not mix.
            file.write(line + "\n")

    path.open("a").close()
    return write
