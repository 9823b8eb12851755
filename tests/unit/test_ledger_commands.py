"""Commands of programmable transactions: native ones, arguments, and the rules about using values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.local.sui.builder import GAS, TransactionBuilder, nested
from infra.local.sui.ledger import bcs
from infra.local.sui.ledger.coins import coin_balance
from infra.local.sui.ledger.effects import Failure, IdOperation
from infra.local.sui.ledger.errors import ArgumentDetail
from infra.local.sui.ledger.type_tags import SUI, SUI_FRAMEWORK
from tests.unit.ledger_world import FUNDS, PACKAGE, World, number_of


async def failure_of(world: World, transaction: TransactionBuilder, **options: object) -> Failure:
    executed = await world.run(transaction, **options)  # type: ignore[arg-type]  # passed through
    assert executed.effects.failure is not None
    return executed.effects.failure


async def test_coins_are_split_merged_and_sent() -> None:
    world = World()
    first, second = world.coins[:2]
    friend = b"\x0f" * 32
    transaction = TransactionBuilder()
    purse = transaction.owned(first)
    parts = transaction.split(purse, transaction.u64(30), transaction.u64(12))
    transaction.merge(nested(parts, 0), nested(parts, 1))
    transaction.merge(purse, transaction.owned(second))
    transaction.transfer(friend, nested(parts, 0))
    executed = await world.run(transaction)
    assert executed.effects.success, executed.effects.failure
    (sent,) = world.ledger.final.owned_by(friend)
    assert coin_balance(sent.contents) == 42
    assert coin_balance(world.live(first.id).contents) == 2 * FUNDS - 42
    assert world.ledger.final.get(second.id) is None
    assert (friend, SUI, 42) in executed.balance_changes


async def test_the_gas_coin_can_be_split_and_given_away() -> None:
    world = World()
    friend = b"\x0f" * 32
    transaction = TransactionBuilder()
    part = transaction.split(GAS, transaction.u64(1_000))
    transaction.transfer(friend, nested(part, 0), GAS)
    executed = await world.run(transaction, coins=world.coins)
    assert executed.effects.success, executed.effects.failure
    amounts = sorted(coin_balance(s.contents) for s in world.ledger.final.owned_by(friend))
    assert amounts == [1_000, 3 * FUNDS - 1_000 - executed.effects.gas.net]
    assert world.ledger.final.owned_by(world.key.address) == []


async def test_funds_go_to_an_address_balance_and_come_back() -> None:
    world = World()
    friend = b"\x0f" * 32
    transaction = TransactionBuilder()
    coin = nested(transaction.split(GAS, transaction.u64(70)), 0)
    recipient = transaction.pure(friend)
    transaction.call(SUI_FRAMEWORK, "coin::send_funds", coin, recipient, type_arguments=[SUI])
    assert (await world.run(transaction, coins=[world.coins[0]])).effects.success
    assert world.ledger.final.balance(friend, SUI) == 70

    transaction = TransactionBuilder()
    withdrawal = transaction.withdrawal(500, SUI)
    coin = transaction.call(SUI_FRAMEWORK, "coin::redeem_funds", withdrawal, type_arguments=[SUI])
    transaction.transfer(friend, coin)
    executed = await world.run(transaction)
    assert executed.effects.success, executed.effects.failure
    assert world.ledger.final.balance(world.key.address, SUI) == FUNDS - 500 - executed.effects.gas.net
    assert [coin_balance(s.contents) for s in world.ledger.final.owned_by(friend)] == [500]


async def test_earlier_commands_show_in_later_ones() -> None:
    world = World()
    target = await world.shared_box(1)
    transaction = TransactionBuilder()
    argument = transaction.shared(target)
    transaction.call(PACKAGE, "box::set", argument, transaction.u64(8))
    seen = transaction.call(PACKAGE, "box::read", argument)
    transaction.call(PACKAGE, "box::share", seen)
    executed = await world.run(transaction)
    assert number_of(world.created(executed)) == 8


async def test_objects_are_told_apart_by_their_abilities() -> None:
    world = World()
    transaction = TransactionBuilder()
    transaction.transfer(world.key.address, transaction.call(PACKAGE, "box::nail"))
    failure = await failure_of(world, transaction)
    assert failure.detail == ArgumentDetail(0, "INVALID_TRANSFER_OBJECT")


@pytest.mark.parametrize("function", ["make", "ticket"])
async def test_results_that_cannot_be_dropped_must_be_used(function: str) -> None:
    world = World()
    transaction = TransactionBuilder()
    arguments = [transaction.u64(1)] if function == "make" else []
    transaction.call(PACKAGE, f"box::{function}", *arguments)
    assert (await failure_of(world, transaction)).kind == "UNUSED_VALUE_WITHOUT_DROP"


async def test_a_droppable_result_may_be_left() -> None:
    world = World()
    target = await world.shared_box(1)
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::read", transaction.shared(target))
    assert (await world.run(transaction)).effects.success


async def test_a_value_that_was_moved_is_gone() -> None:
    world = World()
    mine = await world.owned_box(1)
    transaction = TransactionBuilder()
    argument = transaction.owned(mine)
    transaction.call(PACKAGE, "box::crush", argument)
    transaction.call(PACKAGE, "box::set", argument, transaction.u64(1))
    failure = await failure_of(world, transaction)
    assert (failure.command, failure.detail) == (1, ArgumentDetail(0, "INVALID_VALUE_USAGE"))
    assert number_of(world.live(mine.id)) == 1


async def test_one_object_cannot_be_borrowed_mutably_twice() -> None:
    world = World()
    target = await world.shared_box(1)
    transaction = TransactionBuilder()
    argument = transaction.shared(target)
    transaction.call(PACKAGE, "box::swap", argument, argument)
    assert (await failure_of(world, transaction)).detail == ArgumentDetail(0, "INVALID_VALUE_USAGE")
    assert all(call.function != "swap" for call in world.vm.calls)


async def test_what_is_read_only_stays_so() -> None:
    world = World()
    target = await world.shared_box(1)
    for function, kind in (("set", "INVALID_OBJECT_BY_MUT_REF"), ("post", "INVALID_OBJECT_BY_VALUE")):
        transaction = TransactionBuilder()
        argument = transaction.shared(target, mutable=False)
        other = transaction.u64(1) if function == "set" else transaction.pure(bytes(32))
        transaction.call(PACKAGE, f"box::{function}", argument, other)
        assert (await failure_of(world, transaction)).detail == ArgumentDetail(0, kind)


async def test_a_shared_object_cannot_become_somebodys() -> None:
    world = World()
    target = await world.shared_box(1)
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::post", transaction.shared(target), transaction.pure(bytes(32)))
    assert (await failure_of(world, transaction)).kind == "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED"
    transaction = TransactionBuilder()
    transaction.transfer(world.key.address, transaction.shared(target))
    assert (await failure_of(world, transaction)).kind == "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED"
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::crush", transaction.shared(target))
    executed = await world.run(transaction)
    assert [c.id_operation for c in executed.effects.changed] == [IdOperation.DELETED]


def _unknown(transaction: TransactionBuilder) -> None:
    transaction.call(PACKAGE, "box::nothing")


def _secret(transaction: TransactionBuilder) -> None:
    transaction.call(PACKAGE, "box::secret")


def _too_few(transaction: TransactionBuilder) -> None:
    transaction.call(PACKAGE, "box::say")


def _types(transaction: TransactionBuilder) -> None:
    transaction.call(PACKAGE, "box::fail", type_arguments=["u8"])


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (_unknown, "FUNCTION_NOT_FOUND"),
        (_secret, "NON_ENTRY_FUNCTION_INVOKED"),
        (_too_few, "ARITY_MISMATCH"),
        (_types, "TYPE_ARITY_MISMATCH"),
    ],
)
async def test_calls_that_do_not_match_never_reach_the_vm(
    build: Callable[[TransactionBuilder], None], kind: str
) -> None:
    world, transaction = World(), TransactionBuilder()
    build(transaction)
    assert (await failure_of(world, transaction)).kind == kind
    assert world.vm.calls == []


@pytest.mark.parametrize(
    ("function", "value", "accepted"),
    [
        ("say", bcs.text("grüß dich"), True),
        ("say", bcs.blob(b"\xff\xfe"), False),
        ("say", bcs.text("x") + b"!", False),
        ("whisper", bcs.text("plain"), True),
        ("whisper", bcs.text("grüß dich"), False),
        ("share", bcs.u64(1), True),
        ("share", b"\1", False),
    ],
)
async def test_pure_arguments_are_checked_against_their_types(
    function: str, value: bytes, accepted: bool
) -> None:
    world = World()
    executed = await world.call(function, value)
    assert executed.effects.success is accepted
    if not accepted:
        assert executed.effects.failure is not None
        assert executed.effects.failure.detail == ArgumentDetail(0, "INVALID_BCS_BYTES")
        assert world.vm.calls == []


async def test_pure_bytes_are_no_object_and_objects_are_no_number() -> None:
    world = World()
    target = await world.shared_box(1)
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::crush", transaction.pure(bytes(40)))
    assert (await failure_of(world, transaction)).detail == ArgumentDetail(
        0, "INVALID_USAGE_OF_PURE_ARGUMENT"
    )
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::share", transaction.shared(target))
    assert (await failure_of(world, transaction)).detail == ArgumentDetail(0, "TYPE_MISMATCH")


async def test_arguments_must_exist() -> None:
    world = World()
    transaction = TransactionBuilder()
    result = transaction.call(PACKAGE, "box::ticket")
    transaction.transfer(world.key.address, nested(result, 3))
    detail = ArgumentDetail(0, "SECONDARY_INDEX_OUT_OF_BOUNDS", 0, 3)
    assert (await failure_of(world, transaction)).detail == detail
    transaction = TransactionBuilder()
    transaction.transfer(world.key.address, GAS)
    assert (await failure_of(world, transaction)).detail == ArgumentDetail(0, "INVALID_GAS_COIN_USAGE")


async def test_splitting_more_than_there_is_fails() -> None:
    world = World()
    transaction = TransactionBuilder()
    part = transaction.split(transaction.owned(world.coins[0]), transaction.u64(FUNDS + 1))
    transaction.transfer(world.key.address, nested(part, 0))
    assert (await failure_of(world, transaction)).kind == "INSUFFICIENT_COIN_BALANCE"
