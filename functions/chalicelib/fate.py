"""What the chain says became of a command, for whoever finds its record and was not there."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from k3s_daas.contract.reader import ContractReader
from k3s_daas.sui.ledger import Ledger

# An endpoint of several nodes may tell the time of one and the objects of another that is behind.
LAG_MS = 10_000


class Fate(enum.Enum):
    """`NEVER_RAN`: the chain's clock is past `start_by` without the command, so the contract refuses it."""

    UNKNOWN = enum.auto()
    NEVER_RAN = enum.auto()
    REFUSED = enum.auto()
    ACCEPTED = enum.auto()
    ANSWERED = enum.auto()


@dataclass(frozen=True)
class Verdict:
    """A fate; the last two are those of an answer."""

    fate: Fate
    status_code: int = 0
    response_digest: str = ""


async def find_fate(
    ledger: Ledger,
    reader: ContractReader,
    *,
    seal: bytes,
    request_id: bytes,
    start_by_ms: int,
    digest: str | None,
) -> Verdict:
    """Look a command up; `digest` is that of the bytes on record. Raises LedgerError.

    The clock is read before the request: what is absent afterwards was absent at that time.
    """
    chain_ms = (await ledger.service_info()).timestamp_ms
    found = await reader.request(seal, request_id)
    if found is not None:
        if found.response is None:
            return Verdict(Fate.ACCEPTED)
        return Verdict(Fate.ANSWERED, found.response.status_code, found.previous_transaction)
    transaction = None if digest is None else await ledger.get_signed_transaction(digest)
    if transaction is not None:
        return Verdict(Fate.ACCEPTED if transaction.success else Fate.REFUSED)
    return Verdict(Fate.NEVER_RAN if chain_ms > start_by_ms + LAG_MS else Fate.UNKNOWN)
