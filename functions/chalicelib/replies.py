"""What the gateway answers, and how an error of any kind becomes a Kubernetes Status."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace

from chalicelib.errors import (
    GatewayUnavailableError,
    ParametersUnavailableError,
    RequestStoreUnavailableError,
    SigningUnavailableError,
)
from chalicelib.http_request import GatewayRequest
from k3s_daas.deadlines import RETRY_AFTER_S
from k3s_daas.status import StatusError, from_error

# Lambda returns 6 MB, and base64 takes a third of it.
MAX_REPLY_BYTES = 4_400_000
# The API server's own threshold; smaller bodies cost more time than they save.
COMPRESS_FROM_BYTES = 128 * 1024
# Services that are away for a moment. Before anything is on record, let alone sent, kubectl may try again
# unasked.
_PASSING = (RequestStoreUnavailableError, SigningUnavailableError, ParametersUnavailableError)


@dataclass(frozen=True, repr=False)
class GatewayReply:
    """An HTTP reply. Repeated header names are kept in order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, by case-insensitive name."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


def status_reply(error: StatusError) -> GatewayReply:
    """The reply for a refusal."""
    return GatewayReply(error.code, tuple(error.headers()), error.body())


def status_of(
    error: Exception, *, submitted: bool, request_id: str | None = None, now_ms: int | None = None
) -> StatusError:
    """The one Status for an error; what nobody raised on purpose is a 500 that tells nothing.

    `submitted` says whether a transaction may have left the gateway; `now_ms` is the time of the refusal.
    """
    if isinstance(error, GatewayUnavailableError):
        again = not submitted and isinstance(error, _PASSING)
        retry_after_s = RETRY_AFTER_S if again else None
        return StatusError(
            503, "ServiceUnavailable", str(error), retry_after_s=retry_after_s, request_id=request_id
        )
    return from_error(error, submitted=submitted, request_id=request_id, now_ms=now_ms)


def fit_for_client(reply: GatewayReply, request: GatewayRequest, *, is_read: bool) -> GatewayReply:
    """The reply as this client and Lambda can take it: size, compression, type of a 304.

    Raises a 413 StatusError for what Lambda cannot return.
    """
    headers = list(reply.headers)
    if reply.status == 304 and reply.header("Content-Type") is None:
        # API Gateway would add its default type, and kubectl's HTTP cache would keep that one for the
        # cached body.
        headers.append(("Content-Type", _first_accepted(request)))
    body = reply.body
    if _takes_gzip(request) and len(body) >= COMPRESS_FROM_BYTES and reply.header("Content-Encoding") is None:
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    if len(body) > MAX_REPLY_BYTES:
        raise _too_large(is_read=is_read)
    return replace(reply, headers=tuple(headers), body=body)


def _too_large(*, is_read: bool) -> StatusError:
    message = (
        "the reply is larger than this gateway can return: ask for less, "
        "with --chunk-size, a label selector or a single name"
        if is_read
        else "the command was run, but its reply is larger than this gateway can return: "
        "read the object instead"
    )
    return StatusError(413, "RequestEntityTooLarge", message)


def _takes_gzip(request: GatewayRequest) -> bool:
    accepted = request.header("Accept-Encoding") or ""
    return any(part.strip().lower() == "gzip" for part in accepted.split(","))


def _first_accepted(request: GatewayRequest) -> str:
    accepted = (request.header("Accept") or "").split(",")[0].strip()
    return accepted if accepted and "*" not in accepted else "application/json"
