"""Refusals: the Status that the caller gets, and the log of what was refused, to whom, and why: one JSON line
each, in a stream of its own.

What is refused leaves no trace on chain: no event comes of an aborted transaction, and none of what the
gateway refused. So this log is the only record of it. It has no token, no secret, no body, no query, and no
seal whose token was not verified.
"""

from __future__ import annotations

import json
from pathlib import Path

from chalicelib.journey import Journey, Log
from chalicelib.replies import status_of
from chalicelib.request_admission import CLOCK_MARGIN_MS
from chalicelib.submission import StartByPassedError, TransactionFailedError
from k3s_daas.aborts import CODES
from k3s_daas.errors import MoveAbortError, TransactionRefusedError
from k3s_daas.ids import request_id_text
from k3s_daas.status import Cause, StatusError, from_abort, from_failure


def refusal_status(error: Exception, journey: Journey, now_ms: int) -> StatusError:
    """The Status of an error, with what this request knows about itself."""
    request_id = None if journey.request_id is None else request_id_text(journey.request_id)
    submitted = journey.request_digest is not None
    if isinstance(error, StartByPassedError):
        return from_abort(*CODES["EStartByPassed"], request_id=request_id)
    if isinstance(error, TransactionFailedError):
        return from_failure(error.kind, transaction=journey.request_digest, request_id=request_id)
    # A refusal for this minute must be over by the chain's clock, too, when the caller comes again.
    status = status_of(error, submitted=submitted, request_id=request_id, now_ms=now_ms - CLOCK_MARGIN_MS)
    if submitted and journey.request_digest is not None:
        status.causes = (*status.causes, Cause("RequestDigest", journey.request_digest))
    return status


def refusal_word(error: Exception, status: StatusError) -> str:
    """One word for the log: the abort's or the refusal's name where there is one."""
    if isinstance(error, TransactionRefusedError):
        return f"TransactionRefused:{error.kind}"
    if isinstance(error, TransactionFailedError):
        return f"TransactionFailed:{error.kind}"
    if isinstance(error, StatusError | MoveAbortError) and status.causes:
        return status.causes[0].reason
    return type(error).__name__ if not isinstance(error, StatusError) else status.reason


def refusal_line(journey: Journey, *, code: int, reason: str) -> str:
    """The line for one refusal; `reason` is its `refusal_word`."""
    return json.dumps({"event": "refusal", "code": code, "reason": reason, **journey.who_and_what()})


def log_to_file(path: Path) -> Log:
    """Appends to a file, which others may rename meanwhile. Raises OSError if it cannot be opened."""

    def write(line: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            # One write per line, so that lines of several threads do not mix.
            file.write(line + "\n")

    path.open("a").close()
    return write
