"""The Statuses that are the listener's own: why there is no reply of the API server."""

from __future__ import annotations

from k3s_daas.status import Cause, StatusError
from listener_service.api_server import (
    ApiServerError,
    NotSentError,
    NotStartedError,
    ReplyTimeoutError,
    ReplyTooLargeError,
)


def not_started() -> StatusError:
    """504: the command reached the listener after its `start_by`."""
    return StatusError(
        504,
        "Timeout",
        "the command was not started in time, and nothing was run: run it again",
        causes=(Cause("NotStarted", "start_by passed before the listener could run the command"),),
    )


def by_reference() -> StatusError:
    """501: the request's body is not in its transaction. The answer is public: it quotes nothing."""
    return StatusError(
        501,
        "NotImplemented",
        "this listener reads no request body that is kept outside the chain (payload by reference), and "
        "nothing was run: send less at once",
        causes=(Cause("PayloadByReference", "the command came with a payload reference"),),
    )


def outcome_unknown(what_happened: str) -> StatusError:
    """500: a mutation may or may not have taken effect. It is never run again."""
    return StatusError(
        500,
        "InternalError",
        f"outcome unknown: {what_happened}. The command may have taken effect and is not run again: "
        "look at the object before you repeat it",
        causes=(Cause("OutcomeUnknown", what_happened),),
    )


def no_reply(error: ApiServerError, *, is_read: bool) -> StatusError:
    """What the caller is told when the API server gave no complete reply."""
    if isinstance(error, NotStartedError):
        return not_started()
    if isinstance(error, NotSentError):
        return StatusError(503, "ServiceUnavailable", f"{error}, and nothing was run: try again later")
    if isinstance(error, ReplyTooLargeError):
        return reply_too_large(is_read=is_read)
    if not is_read:
        return outcome_unknown(str(error))
    if isinstance(error, ReplyTimeoutError):
        return StatusError(504, "Timeout", f"{error}: ask for less, or try again")
    return StatusError(502, "BadGateway", f"{error}: try again")


def failed_inside(*, is_read: bool) -> StatusError:
    """500: a defect of the listener. A mutation may have taken effect."""
    if not is_read:
        return outcome_unknown("the listener failed inside")
    return StatusError(500, "InternalError", "the listener failed inside: ask the cluster's operator")


def reply_too_large(*, is_read: bool) -> StatusError:
    """413: the reply does not fit into one answer on chain."""
    if is_read:
        message = (
            "the reply is larger than one command carries: ask for less with --chunk-size, "
            "a label or field selector (-l, --field-selector), or one namespace"
        )
    else:
        message = (
            "the command was run, but its reply is larger than one command carries: read the object instead"
        )
    return StatusError(413, "RequestEntityTooLarge", message)


def not_recorded() -> StatusError:
    """500: the journal cannot be written, and without it nothing may change."""
    return StatusError(
        500,
        "InternalError",
        "the listener cannot record the command, so it was not run: ask the cluster's operator",
    )
