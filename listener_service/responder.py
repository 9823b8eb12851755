"""Puts answers on chain: seals a response for the caller's reply key and submits `store_k8s_response`.

The same signed bytes are sent again as long as nothing is known about their effect; new bytes are built only
after a definite refusal (a gas price or an epoch that has passed). The contract takes one answer per
request and ignores further ones, so answering twice costs gas and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from k3s_daas.contract.aborts import abort_name
from k3s_daas.contract.calls import Response, SharedRef, store_response
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError, PayloadTooLargeError, TransactionRefusedError
from k3s_daas.payload import split
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPublicKey, response_info
from k3s_daas.sui.ledger import EpochInfo, ExecutionOutcome, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder
from listener_service import answers, passthrough
from listener_service.backoff import Backoff
from listener_service.clock import Clock, SystemClock
from listener_service.refusal import ReplyTo

_log = logging.getLogger(__name__)

# Compressing and sealing more than this takes long enough to be felt by the other commands on the loop.
_INLINE_BYTES = 64 * 1024
_REMEMBERED_REFS = 10_000


@dataclass(slots=True)
class Responder:
    """One executor's way back. `gas_budget` in MIST, paid from the executor's address balance."""

    ledger: Ledger
    roots: TrustRoots
    signer: TransactionSigner
    gas_budget: int
    clock: Clock = field(default_factory=SystemClock)
    _epoch: EpochInfo | None = None
    _refs: dict[bytes, SharedRef] = field(default_factory=dict)

    async def answer(self, reply_to: ReplyTo, envelope: ResponseEnvelope, *, is_read: bool) -> None:
        """Stores the answer, or a 413 in its place if it does not fit. Gives up when `answer_by` passes."""
        too_large = passthrough.status_response(answers.reply_too_large(is_read=is_read), reply_to.request_id)
        try:
            outcome = await self._store(reply_to, envelope)
            if outcome is not None and _is_too_large(outcome):
                # The cluster's own limit may be lower than what a transaction carries.
                outcome = await self._store(reply_to, too_large)
        except PayloadTooLargeError as error:
            _log.info("reply too large", extra={"size": error.size, "limit": error.limit})
            outcome = await self._store(reply_to, too_large)
        if outcome is None:
            _log.error("the request was not answered before answer_by", extra={"status": envelope.status})
        else:
            _log_outcome(outcome)

    async def _store(self, reply_to: ReplyTo, envelope: ResponseEnvelope) -> ExecutionOutcome | None:
        """What became of the answer's transaction; None if `answer_by` passed first.

        Raises `PayloadTooLargeError` if no transaction can carry it.
        """
        if len(envelope.body) > _INLINE_BYTES:
            chunks = await asyncio.to_thread(self._seal, reply_to, envelope)
        else:
            chunks = self._seal(reply_to, envelope)
        response = Response(reply_to.request_id, envelope.status, chunks)
        backoff = Backoff(base_s=0.1, cap_s=5.0)
        signed: tuple[bytes, bytes] | None = None
        while self.clock.now_ms() <= reply_to.answer_by_ms:
            try:
                signed = signed or await self._build(reply_to, response)
                return await self.ledger.execute(*signed)
            except TransactionRefusedError as error:
                _log.warning("answer refused, building it anew", extra={"kind": error.kind})
                signed, self._epoch = None, None
            except LedgerUnavailableError as error:
                _log.warning("answer not submitted, trying again", extra={"error": str(error)})
            await self.clock.sleep(backoff.next_delay_s())
        return None

    def _seal(self, reply_to: ReplyTo, envelope: ResponseEnvelope) -> list[bytes]:
        if reply_to.reply_key is None:
            return split(envelope.encode())
        key = SealingPublicKey.from_bytes(reply_to.reply_key)
        info = response_info(self.roots.cluster, reply_to.seal, reply_to.request_id)
        return split(key.seal(envelope.encode(), info))

    async def _build(self, reply_to: ReplyTo, response: Response) -> tuple[bytes, bytes]:
        """Transaction bytes and signature. In steady state nothing is asked of the endpoint for it."""
        epoch = await self._current_epoch()
        cluster, seal = await asyncio.gather(self._ref(self.roots.cluster), self._ref(reply_to.seal))
        builder = PtbBuilder()
        store_response(builder, self.roots.package_latest, cluster, seal, response)
        transaction = builder.build(
            self.signer.address,
            gas=AddressBalanceGas(
                budget=self.gas_budget,
                price=epoch.reference_gas_price,
                epoch=epoch.epoch,
                chain_id=self.roots.chain_id,
                # Any number does: the request id inside makes the transaction unique already.
                nonce=int.from_bytes(reply_to.request_id[-4:], "big"),
            ),
        )
        return transaction, self.signer.sign(transaction)

    async def _current_epoch(self) -> EpochInfo:
        if self._epoch is None:
            self._epoch = await self.ledger.epoch()
        return self._epoch

    async def _ref(self, object_id: bytes) -> SharedRef:
        """The object's initial shared version, which never changes."""
        known = self._refs.get(object_id)
        if known is not None:
            return known
        found = await self.ledger.get_object(object_id)
        if found is None or found.owner.kind != "shared":
            raise LedgerUnavailableError(f"the endpoint does not know the shared object 0x{object_id.hex()}")
        if len(self._refs) >= _REMEMBERED_REFS:
            self._refs.clear()
        self._refs[object_id] = SharedRef.of(found)
        return self._refs[object_id]


def _is_too_large(outcome: ExecutionOutcome) -> bool:
    abort = outcome.abort
    return abort is not None and abort_name(abort.module, abort.code) == "EPayloadTooLarge"


def _log_outcome(outcome: ExecutionOutcome) -> None:
    if outcome.success:
        _log.debug("answer stored", extra={"transaction": outcome.digest})
        return
    # Executed and aborted: the same answer would be aborted again.
    abort = outcome.abort
    name = abort_name(abort.module, abort.code) if abort is not None else None
    _log.error(
        "the contract refused the answer",
        extra={"transaction": outcome.digest, "abort": name, "error": outcome.failure},
    )
