"""The demo's view of the chain: new commands since the last look, and a search for what must not be there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from k3s_daas.contract.audit import AuditRecord, read_audit
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.ledger import ChainTransaction

_INDEX_WAIT_S = 5.0
_LOOK_EVERY_S = 0.05


class Trail:
    """Reads the audit trail of one cluster over the same gRPC that everybody has."""

    def __init__(self, sui_url: str, roots: TrustRoots) -> None:
        self._url = sui_url
        self._roots = roots
        self._seen = 0

    def all(self) -> list[AuditRecord]:
        """Every command since the cluster exists."""
        return asyncio.run(self._read())

    def new(self) -> list[AuditRecord]:
        """The commands since the last call, once all of them are answered and in a checkpoint."""
        deadline = time.monotonic() + _INDEX_WAIT_S
        while True:
            records = self.all()
            fresh = records[self._seen :]
            if (fresh and all(record.processed for record in fresh)) or time.monotonic() > deadline:
                self._seen = len(records)
                return fresh
            time.sleep(_LOOK_EVERY_S)

    def holding(self, records: Sequence[AuditRecord], needle: bytes) -> list[str]:
        """Digests of the transactions whose bytes or events contain ``needle``."""
        transactions = asyncio.run(self._transactions(records))
        return [found.digest for found in transactions if _contains(found, needle)]

    async def _read(self) -> list[AuditRecord]:
        ledger = GrpcLedger(self._url)
        try:
            return await read_audit(ledger, self._roots, 0)
        finally:
            await ledger.close()

    async def _transactions(self, records: Sequence[AuditRecord]) -> list[ChainTransaction]:
        digests = [digest for record in records for digest in (record.request_digest, record.response_digest)]
        ledger = GrpcLedger(self._url)
        try:
            found = [await ledger.get_transaction(digest) for digest in digests if digest is not None]
        finally:
            await ledger.close()
        return [transaction for transaction in found if transaction is not None]


def _contains(transaction: ChainTransaction, needle: bytes) -> bool:
    return needle in transaction.bcs or any(needle in event.contents for event in transaction.events)
