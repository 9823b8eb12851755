"""Takes claims away that nobody needs any more: one deletecollection for each minute of commands."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError
from listener_service.answered import answered
from listener_service.claims import Claims
from listener_service.clock import BoundedClock
from listener_service.kube_objects import KubeError
from listener_service.leadership import NotLeadingError

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 20.0


@dataclass(slots=True)
class ClaimRemoval:
    """Removes a claim only if the chain shows its answer, or `answer_by` has passed; never by age alone."""

    claims: Claims
    reader: ContractReader
    clock: BoundedClock

    async def run(self) -> None:
        """Looks after minutes that are over, until the term ends."""
        while True:
            await self.clock.sleep(_LOOK_EVERY_S)
            try:
                await self.look()
            except NotLeadingError:
                return

    async def look(self) -> None:
        """Once; raises `NotLeadingError`. What does not work is tried again the next time."""
        for minute in self.claims.over():
            try:
                await self._close(minute)
                if not self.claims.open_requests(minute):
                    await self.claims.remove(minute)
            except (KubeError, LedgerUnavailableError) as error:
                _log.warning("claims are not removed yet", extra={"minute": minute, "error": str(error)})

    async def _close(self, minute: int) -> None:
        now = self.clock.earliest_ms()
        left = self.claims.open_requests(minute)
        self.claims.close(minute, [key for key, answer_by_ms in left.items() if answer_by_ms < now])
        if left := self.claims.open_requests(minute):
            self.claims.close(minute, await answered(self.reader, left))
