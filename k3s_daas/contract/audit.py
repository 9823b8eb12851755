"""The audit trail, read back from the chain: who asked for what, when, and how it ended.

What is here was accepted by the contract. Refusals by the gateway and aborted transactions emit no event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from k3s_daas.contract.events import (
    API_REQUEST,
    REQUEST_PROCESSED,
    REQUEST_TIMED_OUT,
    ApiRequested,
    RequestProcessed,
    RequestTimedOut,
    decode_event,
    event_type,
)
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import EventFilter, Ledger

_AUDITED = (API_REQUEST, REQUEST_PROCESSED, REQUEST_TIMED_OUT)
_Audited = ApiRequested | RequestProcessed | RequestTimedOut


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One command; ``processed`` is None while nobody has answered it. Digests are base58.

    ``timed_out`` says that nobody ever did, and that the request was deleted.
    """

    requested: ApiRequested
    request_digest: str
    processed: RequestProcessed | None = None
    response_digest: str | None = None
    timed_out: RequestTimedOut | None = None


async def read_audit(ledger: Ledger, roots: TrustRoots, start_checkpoint: int) -> list[AuditRecord]:
    """All commands of the pinned cluster from a checkpoint (inclusive) to the indexed tip, in ledger order.

    Raises:
        LedgerUnavailableError: the endpoint does not answer. WireFormatError: an event is malformed.
    """
    types = tuple(event_type(roots.package_original, name) for name in _AUDITED)
    records: dict[tuple[bytes, bytes], AuditRecord] = {}
    pages = ledger.list_events(EventFilter(types), start_checkpoint)
    async for page in pages:
        for event in page.events:
            found = decode_event(event, roots.package_original)
            if not isinstance(found, _Audited) or found.cluster != roots.cluster:
                continue
            key = (found.seal, found.request_id)
            if isinstance(found, ApiRequested):
                records[key] = AuditRecord(found, event.transaction_digest)
            elif key in records and isinstance(found, RequestProcessed):
                records[key] = replace(
                    records[key], processed=found, response_digest=event.transaction_digest
                )
            elif key in records and isinstance(found, RequestTimedOut):
                records[key] = replace(records[key], timed_out=found)
    return list(records.values())
