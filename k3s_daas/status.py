"""Every refusal as a Kubernetes ``Status``: the one table from abort or error to code, reason and message.

kubectl prints ``reason`` and ``message``; ``details.causes`` names the abort for scripts, and carries the
request id (also as ``details.uid``) for whoever has to look the command up. Only a reply with ``Retry-After``
is retried by kubectl, and it is retried silently: so it is set only where nothing was submitted.

HTTP codes: 400 malformed, 401 token, 403 grant, role, revoked, stake, 405 method, 413 size, 500 our fault,
501 upgrade, 502 the chain refused, 503 not reachable or paused, 504 not started or not answered in time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from k3s_daas.errors import (
    ConfigurationError,
    DaasError,
    ForbiddenError,
    LedgerUnavailableError,
    MalformedRequestError,
    MoveAbortError,
    PayloadTooLargeError,
    SealedDataError,
    TokenError,
    TransactionRefusedError,
    WireFormatError,
)

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
        return status_body(
            self.code,
            self.reason,
            self.message,
            causes=self.causes,
            retry_after_s=self.retry_after_s,
            request_id=self.request_id,
        )

    def headers(self) -> list[tuple[str, str]]:
        """The response headers that belong to ``body``."""
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-cache, private")]
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(self.retry_after_s)))
        return headers


def status_body(
    code: int,
    reason: str,
    message: str,
    *,
    causes: tuple[Cause, ...] = (),
    retry_after_s: int | None = None,
    request_id: str | None = None,
) -> bytes:
    """A ``metav1.Status`` as JSON."""
    listed = [{"reason": cause.reason, "message": cause.message} for cause in causes]
    details: dict[str, object] = {}
    if request_id is not None:
        listed.append({"reason": "RequestId", "message": request_id})
        details["uid"] = request_id
    if listed:
        details["causes"] = listed
    if retry_after_s is not None:
        details["retryAfterSeconds"] = retry_after_s
    status: dict[str, object] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        status["details"] = details
    return json.dumps(status, separators=(",", ":")).encode()


class _Answer(NamedTuple):
    """Code, reason, message, and a second sentence for when the context has all that it names."""

    code: int
    reason: str
    message: str
    detail: str = ""


class _Abort(NamedTuple):
    name: str
    answer: _Answer


_LOG_IN = "open a new session with kubectl-daas and run the command again"
_OPERATOR = "ask the cluster's operator"


def _bad(message: str) -> _Answer:
    return _Answer(400, "BadRequest", message)


def _unauthorized(message: str) -> _Answer:
    # kubectl shows a 401 as "You must be logged in to the server (…)"; API servers put this word there.
    return _Answer(401, "Unauthorized", f"Unauthorized: {message}")


def _forbidden(message: str, detail: str = "") -> _Answer:
    return _Answer(403, "Forbidden", message, detail)


def _conflict(message: str) -> _Answer:
    return _Answer(409, "Conflict", message)


def _chain_refused(message: str) -> _Answer:
    return _Answer(502, "BadGateway", message)


ABORTS: dict[tuple[str, int], _Abort] = {
    (module, code): _Abort(name, answer)
    for module, code, name, answer in (
        ("cluster", 101, "ENotClusterCapability", _forbidden("this capability is for another cluster")),
        (
            "cluster",
            102,
            "EClusterPaused",
            _Answer(503, "ServiceUnavailable", f"the cluster is paused: wait, or {_OPERATOR}"),
        ),
        (
            "cluster",
            103,
            "EUnsupportedVersion",
            _chain_refused(f"the gateway calls a version of the contract that is out of use: {_OPERATOR}"),
        ),
        ("cluster", 104, "EInvalidName", _bad("the name is not 1 to 63 of a-z, 0-9 and -")),
        ("cluster", 105, "EInvalidPolicy", _bad("the policy is outside the contract's bounds")),
        ("cluster", 106, "EUnknownRole", _forbidden(f"the role does not exist in this cluster: {_OPERATOR}")),
        ("cluster", 107, "ETooManyRoles", _forbidden("the cluster has as many roles as it can have")),
        (
            "cluster",
            108,
            "EUnknownExecutor",
            _chain_refused(f"the listener is not registered in the cluster: {_OPERATOR}"),
        ),
        (
            "cluster",
            109,
            "EUnknownGateway",
            _chain_refused(f"the gateway is not registered in the cluster: {_OPERATOR}"),
        ),
        ("cluster", 110, "EAlreadyRegistered", _conflict("it is registered already")),
        ("cluster", 111, "ETooManyMembers", _forbidden("the cluster has as many members as it can have")),
        ("cluster", 112, "EInvalidHpkeKey", _bad("the sealing key has the wrong length")),
        ("cluster", 113, "EUnknownGrant", _Answer(404, "NotFound", "there is no such grant")),
        ("role", 201, "EInvalidRule", _bad("the rule is not one that Kubernetes would accept, or too long")),
        (
            "role",
            202,
            "EForbiddenByRole",
            _forbidden(
                f"the role of your seal does not allow this: {_OPERATOR} for another role",
                "Role {role} has no rule for {verb} of {resource}.",
            ),
        ),
        (
            "role",
            203,
            "EReservedNamespace",
            _forbidden("this namespace is the listener's own, and closed to everybody"),
        ),
        ("role", 204, "EVerbNeverAllowed", _forbidden("nobody may impersonate here: remove --as")),
        ("role", 205, "ETooManyRules", _forbidden("the role has as many rules as it can have")),
        ("role", 206, "EInvalidPriority", _bad("a priority is 0 to 9")),
        ("seal", 301, "ENotOwner", _forbidden("only the seal's owner may do this: use the owner's key")),
        (
            "seal",
            302,
            "EWrongCluster",
            _forbidden("the seal belongs to another cluster: choose the right kubeconfig"),
        ),
        ("seal", 303, "ENotGranted", _forbidden(f"there is no grant of this role for you: {_OPERATOR}")),
        ("seal", 304, "EGrantExpired", _forbidden(f"your grant of this role has expired: {_OPERATOR}")),
        (
            "seal",
            305,
            "ESealRevoked",
            _forbidden(f"your seal was revoked: withdraw its stake, and {_OPERATOR}"),
        ),
        ("seal", 306, "ESealExpired", _forbidden("your seal has expired: stake for a new one")),
        (
            "seal",
            307,
            "EStakeTooLow",
            _forbidden(
                "the seal's stake is too low for commands that change something: add stake",
                "It has {stake} SUI of the {required} SUI needed: {missing} SUI are missing.",
            ),
        ),
        ("seal", 308, "EZeroStake", _bad("the payment is zero: pay something")),
        ("seal", 309, "ENothingToWithdraw", _conflict("there is nothing to withdraw: start unstaking first")),
        ("seal", 310, "EStillUnbonding", _conflict("the stake is still unbonding: try again later")),
        ("seal", 311, "EUnknownSession", _unauthorized(f"the seal does not know this session: {_LOG_IN}")),
        ("seal", 312, "ESessionExpired", _unauthorized(f"the session has expired: {_LOG_IN}")),
        (
            "seal",
            313,
            "ESessionReadOnly",
            _forbidden("this session may only read: open one that may write and run the command again"),
        ),
        ("seal", 314, "EInvalidSessionKey", _bad("the session key is not a sound ed25519 public key")),
        ("seal", 315, "ETooManySessions", _conflict("the seal has too many live sessions: close one")),
        (
            "seal",
            316,
            "EInvalidClaimsSignature",
            _unauthorized(f"the session key did not sign these claims: {_LOG_IN}"),
        ),
        (
            "seal",
            317,
            "EClaimsNotYetValid",
            _unauthorized("the token is not valid yet: set this machine's clock"),
        ),
        ("seal", 318, "EClaimsExpired", _unauthorized("the token has expired: run the command again")),
        ("seal", 319, "EInvalidClaims", _unauthorized(f"the token's claims are not well-formed: {_LOG_IN}")),
        ("seal", 320, "EInvalidExpiry", _bad("the expiry is in the past or later than is allowed")),
        ("seal", 321, "EUnstakeTooMuch", _bad("the seal has less stake than that")),
        ("seal", 322, "EAlreadyUnstaking", _conflict("the seal is unstaking already: withdraw that first")),
        (
            "k8s_gateway",
            401,
            "ERequestExists",
            _chain_refused("this command was submitted before and is not run a second time"),
        ),
        ("k8s_gateway", 402, "EInvalidRequestId", _chain_refused("the gateway made a malformed request id")),
        (
            "k8s_gateway",
            403,
            "ERequestIdOutsideWindow",
            _chain_refused(f"the gateway's clock and the chain's disagree: {_OPERATOR}"),
        ),
        (
            "k8s_gateway",
            404,
            "EStartByPassed",
            _Answer(504, "Timeout", "the chain took too long, and nothing was run: run the command again"),
        ),
        (
            "k8s_gateway",
            405,
            "EInvalidDeadlines",
            _chain_refused(f"the gateway's deadlines do not fit the cluster's policy: {_OPERATOR}"),
        ),
        (
            "k8s_gateway",
            406,
            "EPayloadTooLarge",
            _Answer(413, "RequestEntityTooLarge", "the request is larger than the cluster takes: send less"),
        ),
        ("k8s_gateway", 407, "EEmptyPayload", _chain_refused("the gateway sent an empty payload")),
        ("k8s_gateway", 408, "EMalformedAttributes", _bad("the request's path has a part that is too long")),
        (
            "k8s_gateway",
            409,
            "ENotAssignedExecutor",
            _chain_refused("another listener than the assigned one answered"),
        ),
        (
            "k8s_gateway",
            410,
            "EInvalidStatusCode",
            _chain_refused("the listener answered with no HTTP status"),
        ),
    )
}

_INTERNAL = _Answer(500, "InternalError", f"the gateway failed inside: {_OPERATOR}, with the request id")

# The first row whose type fits decides. A message of None is the error's own: written for the caller.
_ERRORS: tuple[tuple[type[DaasError], int, str, str | None], ...] = (
    (MalformedRequestError, 400, "BadRequest", None),
    (TokenError, 401, "Unauthorized", None),
    (ForbiddenError, 403, "Forbidden", None),
    (PayloadTooLargeError, 413, "RequestEntityTooLarge", None),
    (ConfigurationError, 500, "InternalError", f"the gateway is not set up properly: {_OPERATOR}"),
    (TransactionRefusedError, 502, "BadGateway", "the chain refused the transaction, and nothing was run"),
    (SealedDataError, 502, "BadGateway", f"the listener's answer cannot be opened: {_OPERATOR}"),
    (WireFormatError, 502, "BadGateway", f"the listener's answer cannot be read: {_OPERATOR}"),
)

_UNREACHABLE = "the chain cannot be reached, and nothing was submitted: try again"
_OUTCOME_UNKNOWN = "the chain stopped answering after the command was submitted: it may still run, so look before you repeat it"


def abort_name(module: str, code: int) -> str | None:
    """The contract's constant for an abort code, or None for one that is not the contract's."""
    row = ABORTS.get((module, code))
    return row.name if row else None


def from_abort(module: str, code: int, **context: object) -> StatusError:
    """The answer to an abort of the contract.

    ``context`` makes the message more exact where it is given: ``role``, ``verb``, ``resource``;
    ``stake_mist`` and ``required_mist`` (the seal's stake and what the command needs); ``request_id`` (text).
    An abort that is not the contract's own is 502, and says where it came from.
    """
    row = ABORTS.get((module, code))
    if row is None:
        answer = _chain_refused(
            f"the contract refused for a reason that this gateway does not know: {_OPERATOR}"
        )
        cause = Cause("MoveAbort", f"{module}::{code}")
    else:
        answer = row.answer
        cause = Cause(row.name, f"{module}::{row.name} ({code})")
    request_id = context.get("request_id")
    return StatusError(
        answer.code,
        answer.reason,
        _with_detail(answer, context),
        causes=(cause,),
        request_id=None if request_id is None else str(request_id),
    )


def from_error(exc: BaseException, *, submitted: bool = True, request_id: str | None = None) -> StatusError:
    """The answer to any exception; a ``StatusError`` is its own, with the request id added.

    ``submitted`` says whether a transaction may have left: only if it has not, an unreachable chain is worth
    a silent retry. What is not ours becomes a 500 that tells nothing of its message.
    """
    if isinstance(exc, StatusError):
        return exc if request_id is None else exc.with_request_id(request_id)
    if isinstance(exc, MoveAbortError):
        return from_abort(exc.module, exc.code, request_id=request_id)
    if isinstance(exc, LedgerUnavailableError):
        return _unavailable(submitted, request_id)
    for kind, code, reason, message in _ERRORS:
        if isinstance(exc, kind):
            text = str(exc) if message is None else message
            if code == 401:
                text = f"Unauthorized: {text}"
            causes = (Cause(kind.__name__, text),)
            return StatusError(code, reason, text, causes=causes, request_id=request_id)
    return StatusError(_INTERNAL.code, _INTERNAL.reason, _INTERNAL.message, request_id=request_id)


def _unavailable(submitted: bool, request_id: str | None) -> StatusError:
    cause = Cause(LedgerUnavailableError.__name__, _OUTCOME_UNKNOWN if submitted else _UNREACHABLE)
    if submitted:
        return StatusError(504, "Timeout", cause.message, causes=(cause,), request_id=request_id)
    return StatusError(
        503, "ServiceUnavailable", cause.message, causes=(cause,), retry_after_s=1, request_id=request_id
    )


def _with_detail(answer: _Answer, context: dict[str, object]) -> str:
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


def _sui(mist: int) -> str:
    """MIST as SUI, exact and without trailing zeros."""
    whole, rest = divmod(mist, MIST_PER_SUI)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
