"""The Statuses that are the listener's own: why there is no reply of the API server."""

from __future__ import annotations

from k3s_daas.blobs.store import BlobAlteredError, BlobMissingError, BlobUnavailableError
from k3s_daas.errors import DaasError
from k3s_daas.status import Cause, StatusError
from listener_service.api_call import (
    ApiServerError,
    NotSentError,
    NotStartedError,
    ReplyTimeoutError,
    ReplyTooLargeError,
)
from listener_service.blobs import BlobRefusedError, BlobTooLargeError

# What is none of these was altered: it has its hash, and does not open.
_BODY_NOT_READ: tuple[tuple[type[DaasError], int, str, str], ...] = (
    (BlobTooLargeError, 413, "RequestEntityTooLarge", "BlobTooLarge"),
    (BlobRefusedError, 502, "BadGateway", "BlobRefused"),
    (BlobMissingError, 502, "BadGateway", "BlobMissing"),
    (BlobAlteredError, 502, "BadGateway", "BlobAltered"),
    (BlobUnavailableError, 503, "ServiceUnavailable", "BlobUnavailable"),
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


def key_not_held() -> StatusError:
    """503: the request is sealed for a key that is not here. The answer is public: it quotes nothing."""
    return StatusError(
        503,
        "ServiceUnavailable",
        "the request was sealed for a key that the listener does not hold, or no longer holds, and nothing "
        "was run: run it again",
        causes=(Cause("UnknownSealingKey", "the key was replaced, or is not one of this listener's"),),
    )


def body_not_read(error: DaasError) -> StatusError:
    """The request's body is outside the chain and cannot be had; nothing was run."""
    code, reason, cause = 502, "BadGateway", "BlobAltered"
    for row in _BODY_NOT_READ:
        if isinstance(error, row[0]):
            _, code, reason, cause = row
            break
    return StatusError(
        code,
        reason,
        f"the request's body, which is kept outside the chain, cannot be read: {error}. "
        "Nothing was run: run it again, or ask the cluster's operator",
        causes=(Cause(cause, str(error)),),
    )


def no_blobs() -> StatusError:
    """501: this listener deals with no blob store."""
    return StatusError(
        501,
        "NotImplemented",
        "the request's body is kept outside the chain, and this listener is told of no blob store "
        "(DAAS_BLOB_HOSTS): nothing was run, send less at once",
        causes=(Cause("BlobsNotConfigured", "DAAS_BLOB_HOSTS is not set"),),
    )


def reply_not_kept(*, is_read: bool) -> StatusError:
    """502: the reply is too large for the chain, and the blob store did not take it."""
    what = (
        "the reply is too large for the chain, and the blob store did not take it: try again, or ask for less"
        if is_read
        else "the command was run, but the blob store did not take its reply: read the object instead"
    )
    return StatusError(502, "BadGateway", what, causes=(Cause("BlobNotKept", "the blob store"),))


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


def not_claimed() -> StatusError:
    """500: the API server does not let the listener claim, and without a claim nothing may change."""
    return StatusError(
        500,
        "InternalError",
        "the listener cannot claim the command, so it was not run: ask the cluster's operator",
        causes=(Cause("NotClaimed", "the API server refuses the listener's Lease"),),
    )


def not_leading() -> StatusError:
    """503: the listener claimed the command and then lost its lead before it could start it."""
    return StatusError(
        503,
        "ServiceUnavailable",
        "the listener lost its lead before it started the command, and nothing was run: run it again",
        causes=(Cause("NotStarted", "another replica of the listener took over"),),
    )
