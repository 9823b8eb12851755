"""What an error reply of AWS KMS means: whether it passes by itself, and what a person does about it if not.

Source of the rule: the errors that the KMS API reference lists for Sign, Encrypt, Decrypt, GenerateMac and
GetPublicKey, and AWS's errors that are common to all services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PASSING = frozenset(
    (
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    )
)
_CREDENTIALS = "renew the AWS credentials of this process"
_REMEDIES = {
    "AccessDeniedException": "allow the AWS role of this process to use that key",
    "DisabledException": "enable that key",
    "ExpiredToken": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "IncompleteSignature": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "InvalidKeyUsageException": "name a key of the right type",
    "InvalidSignatureException": "set this machine's clock, or renew the AWS credentials of this process",
    "KMSInvalidStateException": "enable that key, or cancel its deletion",
    "MissingAuthenticationToken": _CREDENTIALS,
    "NotFoundException": "name a key that there is in this region and account",
    "RequestExpired": "set this machine's clock",
    "UnrecognizedClientException": _CREDENTIALS,
}


@dataclass(frozen=True, slots=True)
class KmsRefusal:
    """An error reply. `remedy` is empty for one that passes by itself."""

    code: str
    passes: bool
    remedy: str

    def __str__(self) -> str:
        """For logs and for people: quotes nothing but the code."""
        return f"KMS answered {self.code}" + (f": {self.remedy}" if self.remedy else "")


def refusal_of(reply: Mapping[str, Any]) -> KmsRefusal:
    """The meaning of a `ClientError`'s `response`."""
    code = str(reply.get("Error", {}).get("Code", "an error without a code"))
    status = reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _PASSING or status >= 500:
        return KmsRefusal(code, passes=True, remedy="")
    return KmsRefusal(code, passes=False, remedy=_REMEDIES.get(code, "look it up in the KMS API reference"))
