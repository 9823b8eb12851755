"""Which answer each abort of the contract and each error of ours gets: the tables behind ``k3s_daas.status``.

A message says what to do next. Codes: 400 malformed, 401 session or token, 403 grant, role, revocation
or stake, 413 size, 429 rate, 502 the chain refused, 503 paused, 504 too late.
"""

from __future__ import annotations

from typing import NamedTuple

from k3s_daas.errors import (
    ConfigurationError,
    DaasError,
    ForbiddenError,
    MalformedRequestError,
    PayloadTooLargeError,
    SealedDataError,
    TokenError,
    TransactionRefusedError,
    UntrustedKeyError,
    WireFormatError,
)


class Answer(NamedTuple):
    """Code, reason, message, and a second sentence for when the context has all that it names.

    ``next_minute``: the same request may succeed once the next minute of the chain's clock has begun.
    ``again``: nothing was run, and the same request may succeed in a moment.
    """

    code: int
    reason: str
    message: str
    detail: str = ""
    next_minute: bool = False
    again: bool = False


_NEW_SESSION = "open a new session for your seal and run the command again"
_OPERATOR = "ask the cluster's operator"


def _bad(message: str) -> Answer:
    return Answer(400, "BadRequest", message)


def _unauthorized(message: str) -> Answer:
    # kubectl shows a 401 as "You must be logged in to the server (…)"; API servers put this word there.
    return Answer(401, "Unauthorized", f"Unauthorized: {message}")


def _forbidden(message: str, detail: str = "") -> Answer:
    return Answer(403, "Forbidden", message, detail)


def _conflict(message: str) -> Answer:
    return Answer(409, "Conflict", message)


def _too_many(message: str, *, next_minute: bool = False) -> Answer:
    return Answer(429, "TooManyRequests", message, next_minute=next_minute)


def _chain_refused(message: str) -> Answer:
    return Answer(502, "BadGateway", message)


# By the name of the abort (`k3s_daas.aborts`).
ANSWERS: dict[str, Answer] = {
    "ENotClusterCapability": _forbidden("this capability is for another cluster"),
    "EClusterPaused": Answer(503, "ServiceUnavailable", f"the cluster is paused: wait, or {_OPERATOR}"),
    "EUnsupportedVersion": _chain_refused(
        f"the gateway calls a version of the contract that is out of use: {_OPERATOR}"
    ),
    "EInvalidName": _bad("the name is not 1 to 63 of a-z, 0-9 and -"),
    "EInvalidPolicy": _bad("the policy is outside the contract's bounds"),
    "EUnknownRole": _forbidden(f"the role does not exist in this cluster: {_OPERATOR}"),
    "ETooManyRoles": _forbidden("the cluster has as many roles as it can have"),
    "EUnknownExecutor": _chain_refused(f"the listener is not registered in the cluster: {_OPERATOR}"),
    "EUnknownGateway": _chain_refused(f"the gateway is not registered in the cluster: {_OPERATOR}"),
    "EAlreadyRegistered": _conflict("it is registered already"),
    "ETooManyMembers": _forbidden("the cluster has as many members as it can have"),
    "EInvalidHpkeKey": _bad("the sealing key has the wrong length"),
    "EUnknownGrant": Answer(404, "NotFound", "there is no such grant"),
    "ECapabilityRevoked": _forbidden("this capability was revoked: ask for a new one"),
    "ETooManyCapabilities": _conflict("the cluster has as many capabilities as it can have: revoke one"),
    "EUnknownCapability": Answer(404, "NotFound", "there is no such capability"),
    "EExecutorHasNoKey": Answer(
        503,
        "ServiceUnavailable",
        f"the listener has not announced its sealing key yet: try again later, or {_OPERATOR}",
    ),
    "EWrongGeneration": _conflict(
        "a sealing key's generation is one more than the last: read it and try again"
    ),
    "EInvalidKeySignature": _bad("the announcement of a sealing key carries no signature of 1 to 200 bytes"),
    "EAlreadyMigrated": _conflict("the cluster has this version, or a later one"),
    "EInvalidRule": _bad("the rule is not one that Kubernetes would accept, or too long"),
    "EForbiddenByRole": _forbidden(
        f"the role of your seal does not allow this: {_OPERATOR} for another role",
        "Role {role} has no rule for {verb} of {resource}.",
    ),
    "EReservedNamespace": _forbidden("this namespace is the listener's own, and closed to everybody"),
    "EVerbNeverAllowed": _forbidden("nobody may impersonate here: remove --as"),
    "ETooManyRules": _forbidden("the role has as many rules as it can have"),
    "EInvalidPriority": _bad("a priority is 0 to 9"),
    "ENotOwner": _forbidden("only the seal's owner may do this: use the owner's key"),
    "EWrongCluster": _forbidden("the seal belongs to another cluster: choose the right kubeconfig"),
    "ENotGranted": _forbidden(f"there is no grant of this role for you: {_OPERATOR}"),
    "EGrantExpired": _forbidden(f"your grant of this role has expired: {_OPERATOR}"),
    "ESealRevoked": _forbidden(f"your seal was revoked: withdraw its stake, and {_OPERATOR}"),
    "ESealExpired": _forbidden("your seal has expired: stake for a new one"),
    "EStakeTooLow": _forbidden(
        "the seal's stake is too low for commands that change something: add stake",
        "It has {stake} SUI of the {required} SUI needed: {missing} SUI are missing.",
    ),
    "EZeroStake": _bad("the payment is zero: pay something"),
    "ENothingToWithdraw": _conflict("there is nothing to withdraw: start unstaking first"),
    "EStillUnbonding": _conflict("the stake is still unbonding: try again later"),
    "EUnknownSession": _unauthorized(f"the seal does not know this session: {_NEW_SESSION}"),
    "ESessionExpired": _unauthorized(f"the session has expired: {_NEW_SESSION}"),
    "ESessionReadOnly": _forbidden(
        "this session may only read: open one that may write and run the command again"
    ),
    "EInvalidSessionKey": _bad("the session key is not a sound ed25519 public key"),
    "ETooManySessions": _conflict("the seal has too many live sessions: close one"),
    "EInvalidClaimsSignature": _unauthorized(f"the session key did not sign these claims: {_NEW_SESSION}"),
    "EClaimsNotYetValid": _unauthorized("the token is not valid yet: set this machine's clock"),
    "EClaimsExpired": _unauthorized("the token has expired: run the command again"),
    "EInvalidClaims": _unauthorized(f"the token's claims are not well-formed: {_NEW_SESSION}"),
    "EInvalidExpiry": _bad("the expiry is in the past or later than is allowed"),
    "EUnstakeTooMuch": _bad("the seal has less stake than that"),
    "EAlreadyUnstaking": _conflict("the seal is unstaking already: withdraw that first"),
    "ESessionNamespace": _forbidden(
        "this session is restricted to other namespaces: name one of them, or open another session",
        "It admits {namespaces}.",
    ),
    "ERateExceeded": _too_many(
        "your seal has used up this minute's commands: wait for the next", next_minute=True
    ),
    "EDepositExceeded": _too_many(
        "your seal has used up this day's storage (UTC): wait for the next day, or send less"
    ),
    "ESlashTooMuch": _bad("that is more than may be slashed of this seal"),
    "EInvalidReason": _bad("a reason has 1 to 256 bytes"),
    "EInvalidScope": _bad("a session names at most 8 namespaces, each by a valid name"),
    "ERequestExists": _chain_refused("this command was submitted before and is not run a second time"),
    "EInvalidRequestId": _chain_refused("the gateway made a malformed request id"),
    "ERequestIdOutsideWindow": _chain_refused(f"the gateway's clock and the chain's disagree: {_OPERATOR}"),
    "EStartByPassed": Answer(
        504, "Timeout", "the chain took too long, and nothing was run: run the command again"
    ),
    "EInvalidDeadlines": _chain_refused(
        f"the gateway's deadlines do not fit the cluster's policy: {_OPERATOR}"
    ),
    "EPayloadTooLarge": Answer(
        413, "RequestEntityTooLarge", "the request is larger than the cluster takes: send less"
    ),
    "EEmptyPayload": _chain_refused("the gateway sent an empty payload"),
    "EMalformedAttributes": _bad("the request's path has a part that is too long"),
    "ENotAssignedExecutor": _chain_refused("another listener than the assigned one answered"),
    "EInvalidStatusCode": _chain_refused("the listener answered with no HTTP status"),
    "ENotPayer": _forbidden(
        "only gateways and listeners may reclaim requests that were due less than 30 days ago"
    ),
    "EInvalidReference": _chain_refused("the reference to a body kept elsewhere is not well-formed"),
    "ETooManyRequests": _bad("at most 64 requests are reclaimed at a time: name fewer"),
}

_NO_GAS = Answer(
    503,
    "ServiceUnavailable",
    "the gateway's address has too little SUI to pay for transactions, and nothing was run: "
    f"{_OPERATOR} to send it some",
)
_BEHIND = Answer(
    503,
    "ServiceUnavailable",
    "the Sui endpoint is behind the chain, and nothing was run: try again in a moment, "
    f"and {_OPERATOR} if it stays so",
    again=True,
)
# By the kind of `TransactionRefusedError`. With fresh terms in it, a transaction is called stale or expired
# only by an endpoint that told old ones.
REFUSALS: dict[str, Answer] = {
    "insufficient-funds": _NO_GAS,
    "gas-price": _BEHIND,
    "expired": _BEHIND,
    "stale-object": _BEHIND,
}
# By Sui's name for what ended an executed transaction that did not abort.
FAILURES: dict[str, Answer] = {
    "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION": Answer(
        503,
        "ServiceUnavailable",
        "too many transactions wanted the same objects at once, and nothing was run: try again in a moment",
        again=True,
    ),
    "INSUFFICIENT_FUNDS_FOR_WITHDRAW": _NO_GAS,
    "INSUFFICIENT_GAS": _chain_refused(
        f"the command costs more gas than the gateway allows for one, and nothing was run: {_OPERATOR}"
    ),
}
UNKNOWN_FAILURE = _chain_refused(f"the transaction failed on chain, and nothing was run: {_OPERATOR}")

UNKNOWN_ABORT = _chain_refused(
    f"the contract refused for a reason that this gateway does not know: {_OPERATOR}"
)
INTERNAL = Answer(500, "InternalError", f"the command failed for an internal reason: {_OPERATOR}")

# The first row whose type fits decides. A message of None is the error's own: written for the caller.
ERRORS: tuple[tuple[type[DaasError], int, str, str | None], ...] = (
    (MalformedRequestError, 400, "BadRequest", None),
    (TokenError, 401, "Unauthorized", None),
    (ForbiddenError, 403, "Forbidden", None),
    (PayloadTooLargeError, 413, "RequestEntityTooLarge", None),
    (ConfigurationError, 500, "InternalError", f"a setting is wrong on the way to the cluster: {_OPERATOR}"),
    (
        TransactionRefusedError,
        502,
        "BadGateway",
        f"the chain refused the transaction, and nothing was run: try again, or {_OPERATOR}",
    ),
    (
        UntrustedKeyError,
        502,
        "BadGateway",
        f"the listener's sealing key cannot be trusted, and nothing was submitted: {_OPERATOR}",
    ),
    (SealedDataError, 502, "BadGateway", f"a sealed body cannot be opened by its recipient: {_OPERATOR}"),
    (WireFormatError, 502, "BadGateway", f"what came over the chain cannot be read: {_OPERATOR}"),
)

UNREACHABLE = "the chain cannot be reached, and nothing was submitted: try again"
OUTCOME_UNKNOWN = (
    "the chain stopped answering after the command was submitted: it may still run, "
    "so look before you repeat it"
)
