"""The two ways in which a transaction fails.

::

    TransactionRefusedError   before execution: no effects, nothing charged, the sender may submit again
    ExecutionFailedError      during execution: effects with a failure status, gas is charged
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Refusal(Enum):
    """Why a transaction was not executed; the names are those of gRPC status codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    """These bytes can never be valid: malformed, wrong signature, over a limit."""
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    """The state of the chain disagrees: stale versions, locked objects, epoch, gas price, balance."""
    UNIMPLEMENTED = "UNIMPLEMENTED"
    """Valid on Sui, not simulated here."""


class TransactionRefusedError(Exception):
    """A transaction was not accepted for execution. The message is a sentence for its sender."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def invalid(message: str) -> TransactionRefusedError:
    return TransactionRefusedError(Refusal.INVALID_ARGUMENT, message)


def precondition(message: str) -> TransactionRefusedError:
    return TransactionRefusedError(Refusal.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> TransactionRefusedError:
    return TransactionRefusedError(Refusal.UNIMPLEMENTED, message)


@dataclass(frozen=True, slots=True)
class AbortDetail:
    """Where Move code aborted: ``package`` 32 bytes, ``function`` if the VM knows it."""

    package: bytes
    module: str
    function: str | None
    code: int


@dataclass(frozen=True, slots=True)
class ArgumentDetail:
    """Which argument of the command was wrong; ``kind`` as in ``CommandArgumentErrorKind``."""

    argument: int
    kind: str
    index: int | None = None
    subresult: int | None = None


@dataclass(frozen=True, slots=True)
class SizeDetail:
    size: int
    maximum: int


@dataclass(frozen=True, slots=True)
class UpgradeDetail:
    """Why a package was not upgraded; ``kind`` as in ``PackageUpgradeErrorKind``, the rest by kind."""

    kind: str
    package: bytes = b""
    ticket: bytes = b""
    digest: bytes = b""
    policy: int = 0


@dataclass(frozen=True, slots=True)
class CongestedDetail:
    """Ids of the shared objects that too many transactions wanted."""

    objects: tuple[bytes, ...]


FailureDetail = AbortDetail | ArgumentDetail | SizeDetail | UpgradeDetail | CongestedDetail


class ExecutionFailedError(Exception):
    """Execution failed: ``kind`` names one of Sui's ``ExecutionErrorKind``, ``command`` is an index."""

    def __init__(
        self, kind: str, message: str, *, detail: FailureDetail | None = None, command: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail
        self.command = command


def congested(objects: tuple[bytes, ...]) -> ExecutionFailedError:
    return ExecutionFailedError(
        "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION",
        "too many transactions want the same shared objects",
        detail=CongestedDetail(objects),
    )


def bad_argument(argument: int, kind: str, message: str) -> ExecutionFailedError:
    return ExecutionFailedError(
        "COMMAND_ARGUMENT_ERROR", f"argument {argument}: {message}", detail=ArgumentDetail(argument, kind)
    )
