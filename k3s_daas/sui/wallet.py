"""One key that pays for and submits its own transactions: for operators' tools, not for the hot path."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from k3s_daas.errors import LedgerError, MoveAbortError
from k3s_daas.sui.ledger import ChainObject, ExecutionOutcome, Ledger
from k3s_daas.sui.signers import TransactionSigner
from k3s_daas.sui.transaction_data import ObjectRef
from k3s_daas.sui.transactions import AddressBalanceGas, CoinGas, PtbBuilder

DEFAULT_BUDGET_MIST = 500_000_000
SUI_COIN = f"0x{2:064x}::coin::Coin<0x{2:064x}::sui::SUI>"


class Wallet:
    """Builds, signs and submits transactions for one signer, and says when one did not do its work."""

    def __init__(
        self, ledger: Ledger, signer: TransactionSigner, *, budget: int = DEFAULT_BUDGET_MIST
    ) -> None:
        self._ledger = ledger
        self._signer = signer
        self._budget = budget

    @property
    def address(self) -> bytes:
        return self._signer.address

    async def coins(self) -> list[ChainObject]:
        """The SUI coin objects that the address owns."""
        return await self._ledger.list_owned_objects(self.address, SUI_COIN)

    async def coin_balance(self) -> int:
        """What those coins are worth together, in MIST (a coin is its id and a u64)."""
        return sum(int.from_bytes(coin.contents[32:40], "little") for coin in await self.coins())

    async def run(self, compose: Callable[[PtbBuilder], None]) -> ExecutionOutcome:
        """Submit what ``compose`` adds to a transaction; gas comes from the address balance.

        Raises:
            MoveAbortError: the code aborted.
            LedgerError: it was refused, failed otherwise, or the endpoint cannot be reached.
        """
        info = await self._ledger.service_info()
        epoch = await self._ledger.epoch()
        gas = AddressBalanceGas(
            budget=self._budget,
            price=epoch.reference_gas_price,
            epoch=epoch.epoch,
            chain_id=info.chain_id,
            nonce=secrets.randbits(32),
        )
        return await self._submit(compose, gas)

    async def run_with_coins(self, compose: Callable[[PtbBuilder], None]) -> ExecutionOutcome:
        """The same, but all the address's coins pay: for an address whose balance is still empty."""
        epoch = await self._ledger.epoch()
        references = tuple(object_ref(coin) for coin in await self.coins())
        return await self._submit(compose, CoinGas(self._budget, epoch.reference_gas_price, references))

    async def _submit(
        self, compose: Callable[[PtbBuilder], None], gas: AddressBalanceGas | CoinGas
    ) -> ExecutionOutcome:
        builder = PtbBuilder()
        compose(builder)
        transaction = builder.build(self.address, gas=gas)
        outcome = await self._ledger.execute(transaction, self._signer.sign(transaction))
        if outcome.abort is not None:
            raise MoveAbortError(outcome.abort.module, outcome.abort.code, digest=outcome.digest)
        if not outcome.success:
            raise LedgerError(f"transaction {outcome.digest} failed: {outcome.failure}")
        return outcome


def object_ref(found: ChainObject) -> ObjectRef:
    """The exact version of an owned object, as a transaction names it."""
    return ObjectRef(found.id, found.version, found.digest)
