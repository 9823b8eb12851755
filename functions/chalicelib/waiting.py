"""Waiting for the answer: the request object is read until it has one, then the answering transaction is
checked.

The object says which hash the executor stored; the ciphertext itself is an input of the transaction that
stored it. What the endpoint says is not believed: the transaction's bytes hash to its digest (the ledger
port's guarantee), they carry the pinned executor's signature, and the ciphertext hashes to what the object
holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chalicelib.rhythm import Rhythm
from k3s_daas.contract.objects import RequestState, ResponseState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError, WireFormatError
from k3s_daas.payload import join
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.signers import verify_signature
from k3s_daas.sui.transactions import decode_transaction


@dataclass(frozen=True)
class Answer:
    """What the executor stored: the sealed response, its transaction, and the public status."""

    sealed: bytes
    digest: str
    status_code: int


class AnswerWaiter:
    """Waits on its ledger's event loop. `executor_key` is scheme flag ‖ public key."""

    def __init__(
        self,
        ledger: Ledger,
        reader: ContractReader,
        *,
        executor: bytes,
        executor_key: bytes,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._executor = executor
        self._executor_key = executor_key
        self._monotonic = monotonic
        self._sleep = sleep
        self._rhythm = Rhythm()

    async def wait(
        self, seal: bytes, request_id: bytes, *, stays_open: bool, until_s: float
    ) -> Answer | None:
        """The answer, or None if there is none at `until_s` (monotonic).

        What `stays_open` is answered at any time from the earliest on, and teaches nothing about other
        commands. An endpoint that does not answer is asked again. Raises WireFormatError if what is stored
        is not the pinned executor's answer.
        """
        started_s = self._monotonic()
        missed_s = 0.0
        for pause_s in self._rhythm.pauses(patient=not stays_open):
            left_s = until_s - self._monotonic()
            if left_s <= 0:
                return None
            await self._sleep(min(pause_s, left_s))
            try:
                async with asyncio.timeout(max(0.0, until_s - self._monotonic())):
                    found = await self._look(seal, request_id)
            except (LedgerUnavailableError, TimeoutError):
                continue
            if found is not None:
                answer, took_s = found
                if not stays_open:
                    # By the chain's clock too: who looks late would learn only how late he looked. But what
                    # was not to be seen yet cannot have been expected either.
                    self._rhythm.learn(min(max(took_s, missed_s), self._monotonic() - started_s))
                return answer
            missed_s = self._monotonic() - started_s
        return None

    async def _look(self, seal: bytes, request_id: bytes) -> tuple[Answer, float] | None:
        """The answer, and the seconds between the command and its answer on chain."""
        request = await self._reader.request(seal, request_id)
        if request is None or request.response is None:
            return None
        answer = await self._fetch(request, request.response)
        if answer is None:
            return None
        return answer, max(0, request.response.answered_at_ms - request.accepted_at_ms) / 1000

    async def _fetch(self, request: RequestState, response: ResponseState) -> Answer | None:
        if request.executor != self._executor:
            raise WireFormatError("the request is assigned to another executor than the pinned one")
        if response.response_reference:
            raise WireFormatError("the answer is kept outside the chain, where this gateway does not read")
        transaction = await self._ledger.get_signed_transaction(request.previous_transaction)
        if transaction is None:
            # The endpoint knows the object's new version before its transaction: a moment later it has both.
            return None
        if decode_transaction(transaction.bcs).sender != self._executor or not transaction.signatures:
            raise WireFormatError("the answer was not sent by the pinned executor")
        verify_signature(transaction.bcs, transaction.signatures[0], self._executor_key)
        chunks = self._reader.response_payload(transaction, request.request_id, response.response_hash)
        return Answer(join(chunks), transaction.digest, response.status_code)
