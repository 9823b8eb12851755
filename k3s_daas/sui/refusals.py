"""Which refusals of a validator are definite, and what kind each is."""

from __future__ import annotations

import re

from k3s_daas.errors import LedgerError, LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.grpc_channel import StatusReplyError

# Statuses with which Sui refuses before execution. All others (UNAVAILABLE, ABORTED, INTERNAL, …) also come
# from transactions that were executed, or will be.
_DEFINITE = {
    "INVALID_ARGUMENT": "invalid",
    "FAILED_PRECONDITION": "precondition",
    "UNIMPLEMENTED": "unimplemented",
}
# Sui has no machine-readable reason; these words are from its error texts (`UserInputError` and others). The
# first match counts. A text without any of them keeps the general kind: a kind is advice what to refresh, no
# more.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("gas-price", re.compile(r"gas price|reference gas|\brgp\b", re.IGNORECASE)),
    ("wrong-chain", re.compile(r"chain id|chain identifier", re.IGNORECASE)),
    ("expired", re.compile(r"expir|\bepoch\b|valid.?during", re.IGNORECASE)),
    ("insufficient-funds", re.compile(r"insufficient|balance|lower than the needed", re.IGNORECASE)),
    ("signature", re.compile(r"signature|\bsigner\b|signed by", re.IGNORECASE)),
    (
        "stale-object",
        re.compile(
            r"not available for consumption|could not find the referenced object"
            r"|object.*version|version.*object|reserved for another|lock conflict|equivocat|\blocked\b",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
)


def refusal(reply: StatusReplyError) -> LedgerError:
    """The error for a gRPC status in reply to a transaction."""
    general = _DEFINITE.get(reply.status)
    if general is None:
        return LedgerUnavailableError(
            f"the Sui endpoint does not know what became of the transaction: {reply}"
        )
    if reply.after_break:
        # The attempt before may have reached a validator, so this refusal does not speak for it.
        return LedgerUnavailableError(
            f"the connection broke while the transaction was sent; the second attempt was refused: {reply}"
        )
    kind = next((kind for kind, words in _KINDS if words.search(reply.message)), general)
    return TransactionRefusedError(kind, f"the Sui endpoint refused the transaction: {reply.message}")
