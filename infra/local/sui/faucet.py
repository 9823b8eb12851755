"""The faucet: SUI for everybody who asks, as Sui's own faucet gives it.

Its supply is allocated at genesis; every gift is an ordinary transaction, signed with a key made at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from . import keys
from .builder import GAS, TransactionBuilder, nested
from .http_json import HttpError
from .ledger.checkpoints import ExecutedTransaction
from .ledger.digests import base58, hex_address, parse_address
from .ledger.effects import IdOperation
from .ledger.errors import TransactionRefusedError
from .ledger.ledger import Ledger
from .ledger.objects import StoredObject
from .ledger.type_tags import SUI, SUI_FRAMEWORK

SUPPLY = 10**18
"""MIST: a billion SUI."""
GIFT = 1_000 * 10**9
"""MIST of one gift over HTTP."""


class FaucetError(Exception):
    """A gift failed; the message says why."""


class Faucet:
    """Gives coins, and credits address balances."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._key = keys.ed25519_key()
        self._turn = asyncio.Lock()
        (self._purse,) = ledger.allocate(self._key.address, [SUPPLY])

    async def give_coins(self, address: bytes, amounts: Sequence[int]) -> list[StoredObject]:
        """Send new ``Coin<SUI>`` objects of these amounts (MIST) and return them.

        Raises:
            FaucetError: the transaction failed.
        """
        transaction = TransactionBuilder()
        split = transaction.split(GAS, *map(transaction.u64, amounts))
        transaction.transfer(address, *(nested(split, index) for index in range(len(amounts))))
        executed = await self._run(transaction)
        created = [c.id for c in executed.effects.changed if c.id_operation is IdOperation.CREATED]
        return [stored for stored in map(self._ledger.final.get, created) if stored is not None]

    async def credit(self, address: bytes, amount: int) -> None:
        """Add to the address balance (MIST), by ``0x2::coin::send_funds``.

        Raises:
            FaucetError: the transaction failed.
        """
        transaction = TransactionBuilder()
        coin = nested(transaction.split(GAS, transaction.u64(amount)), 0)
        transaction.call(
            SUI_FRAMEWORK, "coin::send_funds", coin, transaction.pure(address), type_arguments=[SUI]
        )
        await self._run(transaction)

    async def _run(self, transaction: TransactionBuilder) -> ExecutedTransaction:
        async with self._turn:
            purse = self._ledger.final.get(self._purse.id)
            assert purse is not None, "the purse pays and stays"
            encoded = transaction.build(self._key, coins=[purse], price=self._ledger.reference_gas_price)
            try:
                executed = await self._ledger.execute(encoded, [self._key.sign(encoded)])
            except TransactionRefusedError as refused:
                raise FaucetError(f"the faucet's transaction was refused: {refused}") from refused
        if executed.effects.failure is not None:
            raise FaucetError(f"the faucet's transaction failed: {executed.effects.failure.message}")
        return executed

    async def handle(self, method: str, path: str, body: Any) -> Any:
        """``POST /v2/gas`` with ``{"FixedAmountRequest": {"recipient": "0x…"}}``, as Sui's faucet; and
        ``POST /v1/balance`` with ``{"recipient": "0x…", "amount": n}``, which Sui's faucet does not have.
        """
        if method != "POST" or path not in {"/v2/gas", "/v1/balance"}:
            raise HttpError(HTTPStatus.NOT_FOUND, "POST /v2/gas or POST /v1/balance")
        if path == "/v1/balance":
            await self.credit(parse_address(body["recipient"]), int(body["amount"]))
            return {"status": "Success"}
        recipient = parse_address(body["FixedAmountRequest"]["recipient"])
        coins = await self.give_coins(recipient, [GIFT])
        sent = [
            {
                "amount": GIFT,
                "id": hex_address(coin.id),
                "transferTxDigest": base58(coin.previous_transaction),
            }
            for coin in coins
        ]
        return {"status": "Success", "coins_sent": sent}
