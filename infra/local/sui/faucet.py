"""The faucet: SUI for everybody who asks, as Sui's own faucet gives it.

Its supply is allocated at genesis; every gift is an ordinary transaction, signed with a key made at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from . import keys
from .http_json import HttpError
from .ledger import bcs
from .ledger.checkpoints import ExecutedTransaction
from .ledger.digests import base58, hex_address, parse_address
from .ledger.effects import IdOperation
from .ledger.encoding import encode_transaction
from .ledger.errors import TransactionRefusedError
from .ledger.ledger import Ledger
from .ledger.objects import StoredObject
from .ledger.transactions import (
    Argument,
    CallCommand,
    Command,
    GasData,
    Input,
    ObjectRef,
    Pure,
    SplitCoins,
    TransferObjects,
)
from .ledger.type_tags import SUI, SUI_FRAMEWORK

SUPPLY = 10**18
"""MIST: a billion SUI."""
GIFT = 1_000 * 10**9
"""MIST of one gift over HTTP."""
_BUDGET = 500_000_000


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
        inputs: list[Input] = [Pure(address), *(Pure(bcs.u64(amount)) for amount in amounts)]
        split = SplitCoins(Argument("gas"), tuple(Argument("input", i + 1) for i in range(len(amounts))))
        coins = tuple(Argument("result", 0, index) for index in range(len(amounts)))
        executed = await self._run(inputs, [split, TransferObjects(coins, Argument("input", 0))])
        created = {c.id for c in executed.effects.changed if c.id_operation is IdOperation.CREATED}
        found = [stored for stored in map(self._ledger.final.get, created) if stored is not None]
        order = {amount: position for position, amount in enumerate(amounts)}
        return sorted(found, key=lambda s: (order[int.from_bytes(s.contents[32:], "little")], s.id))

    async def credit(self, address: bytes, amount: int) -> None:
        """Add to the address balance (MIST), by ``0x2::coin::send_funds``.

        Raises:
            FaucetError: the transaction failed.
        """
        split = SplitCoins(Argument("gas"), (Argument("input", 1),))
        arguments = (Argument("result", 0, 0), Argument("input", 0))
        send = CallCommand(SUI_FRAMEWORK, "coin", "send_funds", (SUI,), arguments)
        await self._run([Pure(address), Pure(bcs.u64(amount))], [split, send])

    async def _run(self, inputs: Sequence[Input], commands: Sequence[Command]) -> ExecutedTransaction:
        async with self._turn:
            purse = self._ledger.final.get(self._purse.id)
            assert purse is not None, "the purse pays and stays"
            payment = (ObjectRef(purse.id, purse.version, purse.digest),)
            gas = GasData(payment, self._key.address, self._ledger.reference_gas_price, _BUDGET)
            encoded = encode_transaction(inputs, commands, sender=self._key.address, gas=gas)
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
