"""The audit trail, read back from the chain: who asked for what, when, and how it ended.

What is here was accepted by the contract. Refusals by the gateway and aborted transactions emit no event.
"""

from __future__ import annotations

from dataclasses import dataclass

from k3s_daas.contract.events import (
    API_REQUEST,
    REQUEST_PROCESSED,
    ApiRequested,
    RequestProcessed,
    decode_event,
    event_type,
)
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import EventFilter, Ledger


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One command; ``processed`` is None while nobody has answered it. Digests are base58."""

    requested: ApiRequested
    request_digest: str
    processed: RequestProcessed | None = None
    response_digest: str | None = None


async def read_audit(ledger: Ledger, roots: TrustRoots, start_checkpoint: int) -> list[AuditRecord]:
    """All commands of the pinned cluster from a checkpoint (inclusive) to the indexed tip, in ledger order.

    Raises:
        LedgerUnavailableError: the endpoint does not answer. WireFormatError: an event is malformed.
    """
    types = tuple(event_type(roots.package_original, name) for name in (API_REQUEST, REQUEST_PROCESSED))
    records: dict[tuple[bytes, bytes], AuditRecord] = {}
    pages = ledger.list_events(EventFilter(types), start_checkpoint)
    async for page in pages:
        for event in page.events:
            found = decode_event(event, roots.package_original)
            if found is None or found.cluster != roots.cluster:
                continue
            key = (found.seal, found.request_id)
            if isinstance(found, ApiRequested):
                records[key] = AuditRecord(found, event.transaction_digest)
            elif isinstance(found, RequestProcessed) and key in records:
                known = records[key]
                records[key] = AuditRecord(
                    known.requested, known.request_digest, found, event.transaction_digest
                )
    return list(records.values())
