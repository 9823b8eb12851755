"""Every refusal as a Kubernetes ``Status``: from abort or error to code, reason and message.

kubectl prints ``reason`` and ``message``; ``details.causes`` names the abort for scripts, and carries the
request id (also as ``details.uid``) for whoever has to look the command up. Only a reply with ``Retry-After``
is retried by kubectl, and it is retried silently: so it is set only where nothing was submitted, or where a
refusal ends by itself within the minute.

HTTP codes: 400 malformed, 401 token, 403 grant, role, revoked, stake, 405 method, 413 size, 429 rate,
500 our fault, 501 upgrade, 502 the chain refused, 503 not reachable, paused, congested or without gas, 504
not started or answered in time.

What a submission can meet, and what the caller is told (tables in ``k3s_daas.answers``):

==============================================  ====  =====================================  ===========
what                                            code  advice                                 Retry-After
==============================================  ====  =====================================  ===========
no endpoint answers, nothing was sent           503   try again                              1
sent, and nobody says what became of it         504   look before you repeat it (or parked)
terms are stale and a fresh reading is no help  503   the endpoint is behind: try again      1
address balance is too small                    503   the operator must send SUI
shared object congested: executed, cancelled    503   nothing was run: try again             1
gas budget is too small: executed, failed       502   ask the operator
another refusal or failure                      502   ask the operator
==============================================  ====  =====================================  ===========
"""

from __future__ import annotations

import json
from typing import NamedTuple

from k3s_daas.aborts import abort_name
from k3s_daas.answers import (
    ANSWERS,
    ERRORS,
    FAILURES,
    INTERNAL,
    OUTCOME_UNKNOWN,
    REFUSALS,
    UNKNOWN_ABORT,
    UNKNOWN_FAILURE,
    UNREACHABLE,
    Answer,
)
from k3s_daas.errors import DaasError, LedgerUnavailableError, MoveAbortError, TransactionRefusedError

MIST_PER_SUI = 1_000_000_000


class Cause(NamedTuple):
    """One entry of ``details.causes``: a word for programs, a sentence for people."""

    reason: str
    message: str


class StatusError(DaasError):
    """An answer for kubectl. ``retry_after_s`` makes kubectl send the same request again, unasked."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: tuple[Cause, ...] = (),
        retry_after_s: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    def with_request_id(self, request_id: str) -> StatusError:
        """The same answer, carrying the id of the command."""
        return StatusError(
            self.code,
            self.reason,
            self.message,
            causes=self.causes,
            retry_after_s=self.retry_after_s,
            request_id=request_id,
        )

    def body(self) -> bytes:
        """A ``metav1.Status`` as JSON."""
        causes = [*self.causes]
        details: dict[str, object] = {}
        if self.request_id is not None:
            causes.append(Cause("RequestId", self.request_id))
            details["uid"] = self.request_id
        if causes:
            details["causes"] = [{"reason": cause.reason, "message": cause.message} for cause in causes]
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, object] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return json.dumps(status, separators=(",", ":")).encode()

    def headers(self) -> list[tuple[str, str]]:
        """The response headers that belong to ``body``."""
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-cache, private")]
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(self.retry_after_s)))
        return headers


def from_abort(module: str, code: int, **context: object) -> StatusError:
    """The answer to an abort of the contract.

    ``context`` makes the message more exact where it is given: ``role``, ``verb``, ``resource``;
    ``stake_mist`` and ``required_mist`` (the seal's stake and what the command needs); ``namespaces``;
    ``request_id`` (text); ``transaction`` (the digest of the aborted one); ``now_ms`` (the chain's clock, or
    one near it: with it, a refusal for this minute says when the next one begins).
    An abort that is not the contract's own is 502, and says where it came from.
    """
    name = abort_name(module, code)
    if name is None:
        answer = UNKNOWN_ABORT
        causes = [Cause("MoveAbort", f"{module}::{code}")]
    else:
        answer = ANSWERS[name]
        causes = [Cause(name, f"{module}::{name} ({code})")]
    if context.get("transaction"):
        causes.append(Cause("Transaction", str(context["transaction"])))
    request_id = context.get("request_id")
    return StatusError(
        answer.code,
        answer.reason,
        _with_detail(answer, context),
        causes=tuple(causes),
        retry_after_s=_retry_after(answer, context.get("now_ms")),
        request_id=None if request_id is None else str(request_id),
    )


def from_failure(kind: str | None, *, transaction: str | None, request_id: str | None = None) -> StatusError:
    """The answer to a transaction that was executed and failed without an abort: nothing of it counts.

    ``kind`` is Sui's name for the failure.
    """
    answer = FAILURES.get(kind or "", UNKNOWN_FAILURE)
    causes = [Cause("TransactionFailed", kind or "UNKNOWN")]
    if transaction is not None:
        causes.append(Cause("Transaction", transaction))
    return StatusError(
        answer.code,
        answer.reason,
        answer.message,
        causes=tuple(causes),
        retry_after_s=1 if answer.again else None,
        request_id=request_id,
    )


def from_error(
    exc: BaseException, *, submitted: bool = True, request_id: str | None = None, now_ms: int | None = None
) -> StatusError:
    """The answer to any exception; a ``StatusError`` is its own, with the request id added.

    ``submitted`` says whether a transaction may have left: only if it has not, an unreachable chain is worth
    a silent retry. ``now_ms`` is for ``from_abort``. What is not ours becomes a 500 that tells nothing of its
    message.
    """
    if isinstance(exc, StatusError):
        return exc if request_id is None else exc.with_request_id(request_id)
    if isinstance(exc, MoveAbortError):
        return from_abort(exc.module, exc.code, request_id=request_id, transaction=exc.digest, now_ms=now_ms)
    if isinstance(exc, LedgerUnavailableError):
        return _unavailable(submitted, request_id)
    if isinstance(exc, TransactionRefusedError) and exc.kind in REFUSALS:
        refused = REFUSALS[exc.kind]
        return StatusError(
            refused.code,
            refused.reason,
            refused.message,
            causes=(Cause(TransactionRefusedError.__name__, exc.kind),),
            retry_after_s=1 if refused.again else None,
            request_id=request_id,
        )
    for kind, code, reason, message in ERRORS:
        if isinstance(exc, kind):
            text = str(exc) if message is None else message
            if code == 401:
                text = f"Unauthorized: {text}"
            causes = (Cause(kind.__name__, text),)
            return StatusError(code, reason, text, causes=causes, request_id=request_id)
    return StatusError(INTERNAL.code, INTERNAL.reason, INTERNAL.message, request_id=request_id)


def _unavailable(submitted: bool, request_id: str | None) -> StatusError:
    cause = Cause(LedgerUnavailableError.__name__, OUTCOME_UNKNOWN if submitted else UNREACHABLE)
    if submitted:
        return StatusError(504, "Timeout", cause.message, causes=(cause,), request_id=request_id)
    return StatusError(
        503, "ServiceUnavailable", cause.message, causes=(cause,), retry_after_s=1, request_id=request_id
    )


def _with_detail(answer: Answer, context: dict[str, object]) -> str:
    known = dict(context)
    stake, required = known.get("stake_mist"), known.get("required_mist")
    if isinstance(stake, int) and isinstance(required, int):
        known |= {
            "stake": _sui(stake),
            "required": _sui(required),
            "missing": _sui(max(0, required - stake)),
        }
    try:
        detail = answer.detail.format_map(known)
    except KeyError:
        return answer.message
    return f"{answer.message}. {detail}" if detail else answer.message


def _retry_after(answer: Answer, now_ms: object) -> int | None:
    """Whole seconds, 1 to 60, until the next minute of the clock has begun."""
    if not answer.next_minute or not isinstance(now_ms, int):
        return None
    return 60 - now_ms // 1000 % 60


def _sui(mist: int) -> str:
    """MIST as SUI, exact and without trailing zeros."""
    whole, rest = divmod(mist, MIST_PER_SUI)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
