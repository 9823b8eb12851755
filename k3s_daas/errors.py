"""Every error that the product raises on purpose.

::

    DaasError
    ├── ConfigurationError          a setting, a file or a root of trust is missing or wrong
    ├── MalformedRequestError       the HTTP request has no single reading (400)
    ├── TokenError                  no, bad, foreign or expired bearer token (401)
    ├── ForbiddenError              understood and refused (403)
    ├── PayloadTooLargeError        over what one command may carry (413)
    ├── WireFormatError             bytes from the other side do not follow their layout
    │   └── BcsError                … already at the level of BCS (k3s_daas.bcs)
    ├── SealedDataError             a sealed body does not open here
    ├── UntrustedKeyError           an announced sealing key does not count
    ├── LedgerError                 anything between us and the chain
    │   ├── LedgerUnavailableError  no answer: nothing is known about the effect
    │   ├── TransactionRefusedError a definite refusal before execution: there is no effect
    │   └── MoveAbortError          executed, and the contract said no
    └── StatusError                 an answer for kubectl, ready made (k3s_daas.status)

Messages are written for the person who meets them and say what to do next. They never contain a token,
a key, or a body: all of them are safe to log. ``k3s_daas.status`` turns each into one Kubernetes Status.
"""

from __future__ import annotations


class DaasError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(DaasError):
    """A setting, a file or a root of trust is missing or wrong; the message names it."""


class MalformedRequestError(DaasError):
    """The HTTP request cannot be read in exactly one way, so it is not read at all."""


class TokenError(DaasError):
    """The bearer token is missing, damaged, expired, or meant for somebody else."""


class ForbiddenError(DaasError):
    """The request is understood and refused, whoever asks."""


class PayloadTooLargeError(DaasError):
    """A request or a reply is larger than one command may carry.

    ``size`` and ``limit`` are bytes of the same thing; the message says of what.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class WireFormatError(DaasError):
    """Bytes that the other side wrote do not follow their documented layout."""


class BcsError(WireFormatError):
    """Not canonical BCS: short, trailing, out of range, or not UTF-8."""


class SealedDataError(DaasError):
    """A sealed body does not open: another key, another request, or altered bytes."""


class UntrustedKeyError(DaasError):
    """A sealing key on chain is not one that the pinned executor announced, or it is an older one again."""


class LedgerError(DaasError):
    """Something between us and the chain."""


class LedgerUnavailableError(LedgerError):
    """No usable answer from the endpoint. Nothing is known about the effect of what was sent."""


class TransactionRefusedError(LedgerError):
    """A validator refused the transaction before execution, so it has no effect and may be rebuilt.

    ``kind`` is a short machine-readable word, for example ``stale-object``, ``gas-price`` or ``expired``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class MoveAbortError(LedgerError):
    """The transaction was executed and the contract aborted it; ``module`` and ``code`` say where and why.

    ``digest`` is the transaction's, where it is known: an abort is on chain and can be looked up.
    """

    def __init__(self, module: str, code: int, *, digest: str | None = None) -> None:
        where = f" in transaction {digest}" if digest else ""
        super().__init__(f"the contract refused the transaction: abort {code} in module {module}{where}")
        self.module = module
        self.code = code
        self.digest = digest
