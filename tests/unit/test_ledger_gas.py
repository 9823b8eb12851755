"""Gas: who pays, how much, and what is refused beforehand."""

from __future__ import annotations

import asyncio

import pytest

from infra.local.sui.builder import TransactionBuilder, valid_now
from infra.local.sui.ledger.coins import coin_balance
from infra.local.sui.ledger.errors import CongestedDetail, TransactionRefusedError
from infra.local.sui.ledger.gas import call_units, computation_cost
from infra.local.sui.ledger.objects import metered_bytes
from infra.local.sui.ledger.type_tags import SUI
from tests.unit.ledger_world import FUNDS, PACKAGE, START_MS, World, setting


def test_computation_is_charged_in_steps() -> None:
    assert [computation_cost(units, 10) for units in (0, 1, 1_000, 1_001, 10**9)] == [
        10_000,
        10_000,
        10_000,
        20_000,
        50_000_000,
    ]


def test_a_call_counts_as_the_lower_bound_of_what_the_vm_reports() -> None:
    assert [call_units(reported) for reported in (0, 1_000, 5_000, 5_000_000)] == [200, 200, 1_200, 1_000_200]


async def test_many_small_calls_of_one_transaction_cost_little() -> None:
    world = World()
    transaction = TransactionBuilder()
    for number in range(15):
        transaction.call(PACKAGE, "box::share", transaction.u64(number))
    executed = await world.run(transaction)
    assert executed.effects.gas.computation_cost == 3_000 * world.ledger.reference_gas_price


async def test_storage_is_a_deposit_by_metered_bytes() -> None:
    world = World()
    target = await world.owned_box(1)
    assert target.storage_rebate == metered_bytes(target.type_tag, target.contents) * 100 * 76
    executed = await world.run(setting(target, 2))
    gas = executed.effects.gas
    assert gas.storage_cost == target.storage_rebate
    assert gas.storage_rebate + gas.non_refundable_storage_fee == target.storage_rebate
    assert gas.non_refundable_storage_fee == round(target.storage_rebate * 0.01)


async def test_an_address_balance_pays_and_shows_in_the_effects() -> None:
    world = World()
    executed = await world.call("share", (1).to_bytes(8, "little"))
    assert executed.effects.gas_object is None
    left = FUNDS - executed.effects.gas.net
    assert world.ledger.final.balance(world.key.address, SUI) == left
    (write,) = executed.effects.balances
    assert (write.address, write.change) == (world.key.address, -executed.effects.gas.net)
    assert executed.balance_changes == ((world.key.address, SUI, -executed.effects.gas.net),)


async def test_coins_pay_smashed_into_the_first() -> None:
    world = World()
    target = await world.shared_box(1)
    executed = await world.run(setting(target, 2), coins=world.coins)
    first = world.live(world.coins[0].id)
    assert executed.effects.gas_object == first.id
    assert coin_balance(first.contents) == 3 * FUNDS - executed.effects.gas.net
    assert all(world.ledger.final.get(coin.id) is None for coin in world.coins[1:])


async def test_an_abort_costs_gas_and_bumps_the_gas_coin() -> None:
    world = World()
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::fail")
    coin = world.coins[0]
    executed = await world.run(transaction, coins=[coin])
    assert not executed.effects.success
    after = world.live(coin.id)
    assert after.version == executed.effects.lamport_version > coin.version
    assert coin_balance(after.contents) == FUNDS - executed.effects.gas.net < FUNDS


async def test_a_budget_that_does_not_suffice_is_used_up_at_most() -> None:
    world = World()
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::share", transaction.u64(1))
    executed = await world.run(transaction, budget=1_100_000)
    assert executed.effects.failure is not None
    assert executed.effects.failure.kind == "INSUFFICIENT_GAS"
    assert 0 < executed.effects.gas.net <= 1_100_000
    assert all(stored.previous_transaction != executed.digest for stored in world.ledger.final.objects())


async def test_budgets_in_flight_are_set_aside() -> None:
    world = World()
    targets = [await world.shared_box(0) for _ in range(2)]
    balance = world.ledger.final.balance(world.key.address, SUI)
    world.vm.gate.clear()

    def adding(position: int) -> TransactionBuilder:
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, "box::add_one", transaction.shared(targets[position]))
        return transaction

    budget = 50_000_000_000
    fitting = balance // budget
    running = []
    for _ in range(fitting):
        running.append(asyncio.create_task(world.run(adding(0), budget=budget)))
    await world.vm.arrived.wait()
    with pytest.raises(TransactionRefusedError, match="set their budget aside"):
        await world.run(adding(1), budget=budget)
    world.vm.gate.set()
    assert all(executed.effects.success for executed in await asyncio.gather(*running))
    assert (await world.run(adding(1), budget=budget)).effects.success


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"price": 999}, "below the reference gas price"),
        ({"budget": 999_999}, "not between"),
        ({"budget": 50_000_000_001}, "not between"),
        ({"expiration": None}, "ValidDuring"),
        ({"expiration": 5}, "ValidDuring"),
        ({"expiration": valid_now(bytes(32), 0, 1)}, "is for chain"),
    ],
)
async def test_gas_that_is_not_right_is_refused(change: dict[str, object], sentence: str) -> None:
    world = World()
    target = await world.shared_box(1)
    with pytest.raises(TransactionRefusedError, match=sentence):
        await world.run(setting(target, 2), **change)  # type: ignore[arg-type]  # parameters of the test


async def test_a_validity_window_ends_with_its_epoch() -> None:
    world = World()
    target = await world.shared_box(1)
    early = world.sign(setting(target, 2))
    late = world.sign(setting(target, 3), expiration=valid_now(world.ledger.chain_id, 1, 7))
    with pytest.raises(TransactionRefusedError, match="this is epoch 0"):
        await world.ledger.execute(late[0], [late[1]])
    world.ledger.advance_epoch()
    assert (await world.ledger.execute(late[0], [late[1]])).effects.success
    world.ledger.advance_epoch()
    with pytest.raises(TransactionRefusedError, match="this is epoch 2"):
        await world.ledger.execute(early[0], [early[1]])
    with pytest.raises(TransactionRefusedError, match="expired in epoch 1"):
        await world.run(setting(target, 4), coins=[world.coins[0]], expiration=1)


async def test_a_new_epoch_may_raise_the_price() -> None:
    world = World()
    target = await world.shared_box(1)
    world.clock.advance(1_000)
    world.ledger.advance_epoch(reference_gas_price=1_500)
    with pytest.raises(TransactionRefusedError, match="1500"):
        await world.run(setting(target, 2))
    executed = await world.run(setting(target, 2), price=1_500)
    assert (executed.effects.epoch, executed.effects.gas.computation_cost) == (1, 1_500_000)
    assert world.ledger.epochs[-1].start_ms == START_MS + 1_000


async def test_a_congested_object_cancels_who_would_change_it_and_charges_him() -> None:
    world = World()
    target = await world.shared_box(1)
    world.ledger.congest(target.id, 1)
    cancelled = await world.run(setting(target, 2))
    failure = cancelled.effects.failure
    assert failure is not None
    assert failure.kind == "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION"
    assert failure.detail == CongestedDetail((target.id,))
    assert cancelled.effects.gas.computation_cost > 0
    # The failure's place in Sui's enumeration, and the ids of what was congested; in no command.
    assert b"\x21\x01" + target.id + b"\x00" in cancelled.effects.encode()
    assert (await world.run(setting(target, 2))).effects.success
