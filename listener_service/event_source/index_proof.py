"""Whether a node's index has caught up with its checkpoints.

The index is a table of its own, written behind or beside the rest. `suix_queryEvents` refuses a cursor of a
transaction that is not indexed. So it is asked with the last transaction of the tip, and only whether it
refuses is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from listener_service.event_source.json_rpc import CallRefusedError
from listener_service.event_source.sui_json import CheckpointFacts, SuiJson


@dataclass(slots=True)
class IndexProof:
    """Asks one node."""

    sui: SuiJson
    _transactions: int = -1
    _last: str | None = None

    async def shows(self, tip: int) -> bool:
        """Whether the last transaction up to checkpoint `tip` is indexed."""
        newest = await self.sui.checkpoint(tip)
        if newest.transactions_so_far != self._transactions:
            self._last = newest.last_transaction or await self._last_before(tip, newest.transactions_so_far)
            self._transactions = newest.transactions_so_far
        return self._last is None or await self.sui.has_indexed(self._last)

    async def _last_before(self, tip: int, transactions: int) -> str | None:
        """Of a chain that makes empty checkpoints: the end of the first one with this count of transactions.
        None if the node has none that is not empty.
        """
        same, fewer, step, last = tip, -1, 1, None
        while same - step >= 0:
            facts = await self._known(same - step)
            if facts is None or facts.transactions_so_far < transactions:
                fewer = same - step
                break
            same, last = same - step, facts.last_transaction
            step *= 2
        while same - fewer > 1:
            middle = (same + fewer) // 2
            facts = await self._known(middle)
            if facts is None or facts.transactions_so_far < transactions:
                fewer = middle
            else:
                same, last = middle, facts.last_transaction
        return last

    async def _known(self, checkpoint: int) -> CheckpointFacts | None:
        """None if the node has pruned it."""
        try:
            return await self.sui.checkpoint(checkpoint)
        except CallRefusedError as error:
            if error.transient:
                raise
            return None
