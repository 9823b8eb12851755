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


class Waiting:
    """The wait for one answer. It may be broken off and gone on with: the pauses go on growing."""

    def __init__(
        self,
        look: Callable[[], Awaitable[tuple[Answer, float] | None]],
        rhythm: Rhythm,
        *,
        stays_open: bool,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._look = look
        self._rhythm = rhythm
        self._stays_open = stays_open
        self._monotonic = monotonic
        self._sleep = sleep
        self._pauses = rhythm.pauses(patient=not stays_open)
        self._started_s = monotonic()
        self._missed_s = 0.0

    async def until(self, until_s: float) -> Answer | None:
        """The answer, or None if there is none at `until_s` (monotonic).

        An endpoint that does not answer is asked again. Raises WireFormatError if what is stored is not the
        pinned executor's answer.
        """
        while (left_s := until_s - self._monotonic()) > 0:
            await self._sleep(min(next(self._pauses), left_s))
            try:
                async with asyncio.timeout(max(0.0, until_s - self._monotonic())):
                    found = await self._look()
            except (LedgerUnavailableError, TimeoutError):
                continue
            waited_s = self._monotonic() - self._started_s
            if found is not None:
                answer, took_s = found
                if not self._stays_open:
                    # By the chain's clock too: who looks late would learn only how late he looked. But what
                    # was not to be seen yet cannot have been expected either.
                    self._rhythm.learn(min(max(took_s, self._missed_s), waited_s))
                return answer
            self._missed_s = waited_s
        return None


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

    def begin(self, seal: bytes, request_id: bytes, *, stays_open: bool) -> Waiting:
        """Start to wait for one command's answer, submitted just now.

        What `stays_open` is answered at any time from the earliest on, and teaches nothing about other
        commands.
        """
        return Waiting(
            lambda: self._look(seal, request_id),
            self._rhythm,
            stays_open=stays_open,
            monotonic=self._monotonic,
            sleep=self._sleep,
        )

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
