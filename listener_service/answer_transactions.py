"""Transactions that store answers, built off line and signed by the executor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from k3s_daas.contract.calls import SharedRef, store_response
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import EpochInfo, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder
from listener_service.batches import Outgoing

_REMEMBERED_REFS = 10_000


@dataclass(frozen=True, slots=True)
class SignedAnswers:
    """Bytes and signature, the chain's terms that they were made under, and how many answers are in them."""

    transaction: bytes
    signature: bytes
    terms: EpochInfo
    count: int


class AnswerTransactions:
    """Makes transactions of one executor. `gas_budget` in MIST, paid from the executor's address balance.

    In steady state nothing is asked of the endpoint for them. What asks may raise `LedgerUnavailableError`.
    """

    def __init__(
        self, ledger: Ledger, roots: TrustRoots, signer: TransactionSigner, *, gas_budget: int
    ) -> None:
        self._ledger = ledger
        self._roots = roots
        self._signer = signer
        self._gas_budget = gas_budget
        self._terms: EpochInfo | None = None
        self._refs: dict[bytes, SharedRef] = {}

    async def sign(self, answers: Sequence[Outgoing], again: int = 0) -> SignedAnswers:
        """One transaction that stores all of them, in their order. `again`: how many transactions with just
        these were executed for nothing; a chain executes the same bytes once.
        """
        terms = await self._current_terms()
        cluster = await self.ref(self._roots.cluster)
        builder = PtbBuilder()
        for answer in answers:
            store_response(builder, self._roots.package_latest, cluster, answer.seal, answer.response)
        transaction = builder.build(
            self._signer.address,
            gas=AddressBalanceGas(
                budget=self._gas_budget,
                price=terms.reference_gas_price,
                epoch=terms.epoch,
                chain_id=self._roots.chain_id,
                # Any number does: the request ids inside make the first transaction unique already.
                nonce=(int.from_bytes(answers[0].response.request_id[-4:], "big") + again) % 2**32,
            ),
        )
        # A key in a KMS takes a while to sign.
        signature = await asyncio.to_thread(self._signer.sign, transaction)
        return SignedAnswers(transaction, signature, terms, len(answers))

    async def have_changed(self, terms: EpochInfo) -> bool:
        """Whether the chain has other terms by now, under which a refused transaction may be accepted."""
        if self._terms == terms:
            self._terms = None
        return await self._current_terms() != terms

    async def ref(self, object_id: bytes) -> SharedRef:
        """The object with its initial shared version, which never changes."""
        known = self._refs.get(object_id)
        if known is not None:
            return known
        found = await self._ledger.get_object(object_id)
        if found is None or found.owner.kind != "shared":
            raise LedgerUnavailableError(f"the endpoint does not know the shared object 0x{object_id.hex()}")
        if len(self._refs) >= _REMEMBERED_REFS:
            self._refs.clear()
        self._refs[object_id] = SharedRef.of(found)
        return self._refs[object_id]

    async def _current_terms(self) -> EpochInfo:
        if self._terms is None:
            self._terms = await self._ledger.epoch()
        return self._terms
