"""What a predecessor left open: claims without an answer, which nobody runs again.

Whoever made such a claim may still be about to run its command until `start_by` has passed, and may still
answer it: one that was told to end says until when (`finishing.py`). So it is waited for, the chain is asked
again, and only then its caller is told that the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import request_id_text
from listener_service import answers, passthrough
from listener_service.answered import RequestKey, answered
from listener_service.backoff import Backoff
from listener_service.claims import Claim
from listener_service.clock import BoundedClock
from listener_service.counts import Counts, Tally
from listener_service.leadership import NotLeadingError, Term
from listener_service.logs import request_id_var
from listener_service.refusal import ReplyTo
from listener_service.responder import Responder

_log = logging.getLogger(__name__)

_MARGIN_S = 0.01
# Whatever a predecessor said, so much is left for the successor's answer.
_FOR_OUR_ANSWER_MS = 60_000


@dataclass(slots=True)
class Succession:
    """Settles open claims in one term."""

    term: Term
    reader: ContractReader
    responder: Responder
    clock: BoundedClock
    counts: Counts = field(default_factory=Tally)

    async def settle_all(self, claims: Sequence[Claim]) -> None:
        """Each claim by itself; those that the chain shows answered are found together."""
        done = await self._answered(claims)
        left = [claim for claim in claims if claim.key not in done]
        if claims:
            _log.info("claims of an earlier term", extra={"claims": len(claims), "open": len(left)})
        await asyncio.gather(*(self._settle_quietly(claim) for claim in left))

    async def settle(self, reply_to: ReplyTo, not_before_ms: int) -> None:
        """Answers "outcome unknown" when this time (`start_by`, or later) has passed, unless it is answered
        by then."""
        request_id_var.set(request_id_text(reply_to.request_id))
        while (left_ms := not_before_ms - self.clock.earliest_ms()) >= 0:
            await self.clock.sleep(left_ms / 1000 + _MARGIN_S)
        self.term.confirm()
        if await self._is_answered((reply_to.seal, reply_to.request_id)):
            return
        if self.clock.earliest_ms() > reply_to.answer_by_ms:
            _log.error("a claimed command was not answered before answer_by")
            return
        _log.warning("claimed but not answered by start_by: outcome unknown")
        self.counts.claim("unknown")
        status = answers.outcome_unknown("the listener that claimed the command did not answer it")
        response = passthrough.status_response(status, reply_to.request_id)
        await self.responder.answer(reply_to, response, is_read=False)

    def _not_before_ms(self, claim: Claim) -> int:
        finished_ms = self.term.finishing.get(claim.holder, 0)
        return max(claim.start_by_ms, min(finished_ms, claim.answer_by_ms - _FOR_OUR_ANSWER_MS))

    async def _settle_quietly(self, claim: Claim) -> None:
        try:
            await self.settle(claim.reply_to, self._not_before_ms(claim))
        except NotLeadingError:
            return  # it is the next one's
        except Exception:  # noqa: BLE001  one claim must not stop the others
            _log.exception("a claim of an earlier term could not be settled", extra={"claim": claim.name})

    async def _answered(self, claims: Sequence[Claim]) -> set[RequestKey]:
        backoff = Backoff(base_s=0.1, cap_s=2.0)
        while True:
            self.term.confirm()
            try:
                return await answered(self.reader, (claim.key for claim in claims))
            except LedgerUnavailableError as error:
                _log.warning("claims cannot be looked up, trying again", extra={"error": str(error)})
                await self.clock.sleep(backoff.next_delay_s())

    async def _is_answered(self, key: RequestKey) -> bool:
        """No, if the chain cannot be asked: it ignores a second answer."""
        try:
            return key in await answered(self.reader, [key])
        except LedgerUnavailableError:
            return False
