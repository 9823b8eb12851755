"""The contract's abort constants: module, code and name. A test compares this table with the Move sources.

Codes are unique over all modules and never renumbered.
"""

from __future__ import annotations

ABORTS: dict[str, dict[int, str]] = {
    "cluster": {
        101: "ENotClusterCapability",
        102: "EClusterPaused",
        103: "EUnsupportedVersion",
        104: "EInvalidName",
        105: "EInvalidPolicy",
        106: "EUnknownRole",
        107: "ETooManyRoles",
        108: "EUnknownExecutor",
        109: "EUnknownGateway",
        110: "EAlreadyRegistered",
        111: "ETooManyMembers",
        112: "EInvalidHpkeKey",
        113: "EUnknownGrant",
        114: "ECapabilityRevoked",
        115: "ETooManyCapabilities",
        116: "EUnknownCapability",
        117: "EExecutorHasNoKey",
        118: "EWrongGeneration",
        119: "EInvalidKeySignature",
        120: "EAlreadyMigrated",
    },
    "role": {
        201: "EInvalidRule",
        202: "EForbiddenByRole",
        203: "EReservedNamespace",
        204: "EVerbNeverAllowed",
        205: "ETooManyRules",
        206: "EInvalidPriority",
    },
    "seal": {
        301: "ENotOwner",
        302: "EWrongCluster",
        303: "ENotGranted",
        304: "EGrantExpired",
        305: "ESealRevoked",
        306: "ESealExpired",
        307: "EStakeTooLow",
        308: "EZeroStake",
        309: "ENothingToWithdraw",
        310: "EStillUnbonding",
        311: "EUnknownSession",
        312: "ESessionExpired",
        313: "ESessionReadOnly",
        314: "EInvalidSessionKey",
        315: "ETooManySessions",
        316: "EInvalidClaimsSignature",
        317: "EClaimsNotYetValid",
        318: "EClaimsExpired",
        319: "EInvalidClaims",
        320: "EInvalidExpiry",
        321: "EUnstakeTooMuch",
        322: "EAlreadyUnstaking",
        323: "ESessionNamespace",
        324: "ERateExceeded",
        325: "EDepositExceeded",
        326: "ESlashTooMuch",
        327: "EInvalidReason",
        328: "EInvalidScope",
    },
    "k8s_gateway": {
        401: "ERequestExists",
        402: "EInvalidRequestId",
        403: "ERequestIdOutsideWindow",
        404: "EStartByPassed",
        405: "EInvalidDeadlines",
        406: "EPayloadTooLarge",
        407: "EEmptyPayload",
        408: "EMalformedAttributes",
        409: "ENotAssignedExecutor",
        410: "EInvalidStatusCode",
        411: "ENotPayer",
        412: "EInvalidReference",
        413: "ETooManyRequests",
    },
}

CODES: dict[str, tuple[str, int]] = {
    name: (module, code) for module, names in ABORTS.items() for code, name in names.items()
}
"""Module and code by name."""


def abort_name(module: str, code: int) -> str | None:
    """The constant's name, or None if the contract has no such abort (a framework's, say)."""
    return ABORTS.get(module, {}).get(code)
