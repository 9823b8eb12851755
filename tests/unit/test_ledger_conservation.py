"""Whatever a transaction does, SUI is neither made nor lost, and nothing escapes as an internal error."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from infra.local.sui.builder import GAS, TransactionBuilder
from infra.local.sui.ledger.coins import coin_balance
from infra.local.sui.ledger.errors import TransactionRefusedError
from infra.local.sui.ledger.objects import StoredObject
from infra.local.sui.ledger.transactions import Argument
from infra.local.sui.ledger.type_tags import SUI, SUI_FRAMEWORK, coin_of
from tests.unit.ledger_world import PACKAGE, World

TRANSACTIONS = 150
FUNCTIONS = ("set", "put", "clear", "crush", "read", "make", "post", "swap", "fail")


def supply(world: World) -> int:
    """All SUI on the chain: coins, and the balances of the two addresses that ever have one."""
    coins = (s for s in world.ledger.final.objects() if s.type_tag == coin_of(SUI))
    balances = (world.ledger.final.balance(address, SUI) for address in (world.key.address, bytes(32)))
    return sum(coin_balance(coin.contents) for coin in coins) + sum(balances)


class RandomProgram:
    """A transaction of commands that mostly fit their arguments."""

    def __init__(self, random: Random, world: World, boxes: list[StoredObject]) -> None:
        self.random = random
        self.transaction = TransactionBuilder()
        final = world.ledger.final
        owned = [s for s in final.owned_by(world.key.address) if s.type_tag == coin_of(SUI)]
        self.gas = owned[:1] if random.random() < 0.5 else []
        self.coins = [self.transaction.owned(coin) for coin in owned[1:4]] + [GAS]
        live = [stored for stored in (final.get(one.id) for one in boxes) if stored is not None]
        self.boxes = [self.transaction.shared(one, mutable=random.random() < 0.8) for one in live]
        self.numbers = [self.transaction.u64(n) for n in (0, 1, 1_000)]
        self.people = [self.transaction.pure(address) for address in (world.key.address, bytes(32))]
        self.withdrawal = self.transaction.withdrawal(500, SUI)
        self.spare: list[Argument] = []
        for _ in range(random.randint(1, 4)):
            self._command()
        if self.spare:
            self.transaction.transfer(world.key.address, *self.spare)

    def _any(self, arguments: list[Argument]) -> Argument:
        if not arguments or self.random.random() < 0.05:
            return self.random.choice([*self.coins, *self.boxes, *self.numbers, *self.people])
        return self.random.choice(arguments)

    def _command(self) -> None:
        random, transaction = self.random, self.transaction
        kind = random.randrange(6)
        if kind == 0:
            made = transaction.split(self._any(self.coins), self._any(self.numbers))
            self.spare.append(Argument("result", made.index, 0))
        elif kind == 1:
            transaction.merge(self._any(self.coins), self._any(self.coins))
        elif kind == 2:
            transaction.transfer(bytes(32), self._any(self.coins))
        elif kind == 3:
            sent = self._any(self.coins), self._any(self.people)
            transaction.call(SUI_FRAMEWORK, "coin::send_funds", *sent, type_arguments=[SUI])
        elif kind == 4:
            made = transaction.call(
                SUI_FRAMEWORK, "coin::redeem_funds", self.withdrawal, type_arguments=[SUI]
            )
            self.spare.append(made)
        else:
            arguments = [self._any(self.boxes), self._any(self.numbers)]
            function = random.choice(FUNCTIONS)
            transaction.call(PACKAGE, f"box::{function}", *arguments[: random.randint(1, 2)])


@pytest.mark.parametrize("seed", range(3))
async def test_sui_is_neither_made_nor_lost(seed: int) -> None:
    random, world = Random(seed), World()  # noqa: S311 - reproducible programs, no secrets
    boxes = [await world.shared_box(n) for n in range(3)]
    succeeded = failed = 0
    for _ in range(TRANSACTIONS):
        program = RandomProgram(random, world, boxes)
        before = supply(world)
        paying: dict[str, Any] = {"coins": program.gas} if program.gas else {}
        try:
            executed = await world.run(program.transaction, **paying)
        except TransactionRefusedError:
            assert supply(world) == before
            continue
        assert supply(world) == before - executed.effects.gas.net
        changes = sum(change for _, currency, change in executed.balance_changes if currency == SUI)
        assert changes == -executed.effects.gas.net
        succeeded += executed.effects.success
        failed += not executed.effects.success
    assert succeeded > 5
    assert failed > 5
