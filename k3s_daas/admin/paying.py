"""Who pays for an operator's transactions, and waiting until an endpoint shows what they did."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from k3s_daas.admin.amounts import format_amount
from k3s_daas.errors import (
    LedgerError,
    LedgerUnavailableError,
    MoveAbortError,
    TransactionRefusedError,
)
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import ChainObject, ExecutionOutcome, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transactions import AddressBalanceGas, CoinGas, PtbBuilder, transaction_digest
from k3s_daas.sui.wallet import Wallet, object_ref

DEFAULT_BUDGET = 1_000_000_000
"""MIST. What a transaction does not use is not charged."""

_LOOKS = 40
_BETWEEN_LOOKS_S = 0.25
_ATTEMPTS = 4

Compose = Callable[[PtbBuilder], None]


class Payer:
    """Submits transactions of one key; gas is from its address balance, or from coins if that is small."""

    def __init__(self, ledger: Ledger, signer: TransactionSigner, *, budget: int = DEFAULT_BUDGET) -> None:
        self._ledger = ledger
        self._signer = signer
        self._wallet = Wallet(ledger, signer, budget=budget)
        self._budget = budget

    @property
    def address(self) -> bytes:
        return self._signer.address

    async def run(self, compose: Compose) -> ExecutionOutcome:
        """Returns once the endpoint shows what the transaction did: the next read is not of before.

        Raises `MoveAbortError`, or another `LedgerError`: there is no money, it failed, nobody answers.
        """
        builder = PtbBuilder()
        compose(builder)
        transaction = builder.build(self.address, gas=await self._gas())
        # A key in a KMS takes a while to sign.
        signature = await asyncio.to_thread(self._signer.sign, transaction)
        outcome = await self._execute(transaction, signature)
        if outcome.abort is not None:
            raise MoveAbortError(outcome.abort.module, outcome.abort.code, digest=outcome.digest)
        if not outcome.success:
            advice = ": say more with --gas-budget" if "INSUFFICIENT_GAS" in str(outcome.failure) else ""
            raise LedgerError(f"transaction {outcome.digest} failed: {outcome.failure}{advice}")
        for _ in range(_LOOKS):
            if await self._ledger.get_signed_transaction(outcome.digest) is not None:
                return outcome
            await asyncio.sleep(_BETWEEN_LOOKS_S)
        raise LedgerError(
            f"transaction {outcome.digest} was made, but the endpoint does not show it: it lags"
        )

    async def run_fresh(self, composer: Callable[[], Awaitable[Compose]]) -> ExecutionOutcome:
        """`run`, composed anew if the endpoint still showed objects of before the last transaction."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self.run(await composer())
            except TransactionRefusedError as error:
                if error.kind != "stale-object" or attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_BETWEEN_LOOKS_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        """The same bytes again while nothing is known about them: they cannot be executed twice."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._ledger.execute(transaction, signature)
            except LedgerUnavailableError as error:
                if attempt == _ATTEMPTS:
                    raise LedgerUnavailableError(
                        f"{error}; whether transaction {transaction_digest(transaction)} was made is not "
                        "known: look for it before you try again"
                    ) from error
                await asyncio.sleep(_BETWEEN_LOOKS_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _gas(self) -> AddressBalanceGas | CoinGas:
        epoch = await self._ledger.epoch()
        if await self._ledger.balance(self.address) >= self._budget:
            info = await self._ledger.service_info()
            return AddressBalanceGas(
                budget=self._budget,
                price=epoch.reference_gas_price,
                epoch=epoch.epoch,
                chain_id=info.chain_id,
                nonce=secrets.randbits(32),
            )
        if await self._wallet.coin_balance() >= self._budget:
            references = tuple(object_ref(coin) for coin in await self._wallet.coins())
            return CoinGas(self._budget, epoch.reference_gas_price, references)
        raise LedgerError(
            f"the address {to_hex(self.address)} has less than {format_amount(self._budget)} for gas: "
            "send it SUI, or say less with --gas-budget"
        )


async def await_object(ledger: Ledger, object_id: bytes) -> ChainObject:
    """An object that was just made: an endpoint may show it a little later. Raises `LedgerError`."""
    for _ in range(_LOOKS):
        found = await ledger.get_object(object_id)
        if found is not None:
            return found
        await asyncio.sleep(_BETWEEN_LOOKS_S)
    raise LedgerError(f"the endpoint does not show {to_hex(object_id)}, which was just made: it lags behind")


def created(outcome: ExecutionOutcome, type_suffix: str) -> bytes:
    """The id of the one object of a type that a transaction created. Raises `LedgerError` if not one."""
    found = [item.id for item in outcome.created if item.type_tag.endswith(type_suffix)]
    if len(found) != 1:
        raise LedgerError(f"transaction {outcome.digest} created {len(found)} objects of {type_suffix}")
    return found[0]
