"""Objects over transactions: versions, owners, locks, and what a failure leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from infra.local.sui.builder import TransactionBuilder
from infra.local.sui.keys import ed25519_key
from infra.local.sui.ledger import bcs
from infra.local.sui.ledger.effects import IdOperation, Output
from infra.local.sui.ledger.errors import AbortDetail, Refusal, TransactionRefusedError
from infra.local.sui.ledger.transactions import (
    Input,
    ObjectRef,
    OwnedObject,
    SharedObject,
    decode_transaction,
)
from infra.local.sui.ledger.type_tags import CLOCK_ID
from tests.unit.ledger_world import ABORTED_WITH, PACKAGE, World, number_of, setting


async def refusal(
    world: World, transaction: TransactionBuilder, **options: object
) -> TransactionRefusedError:
    before = world.ledger.counters.executed
    with pytest.raises(TransactionRefusedError) as refused:
        await world.run(transaction, **options)  # type: ignore[arg-type]  # passed through
    assert world.ledger.counters.executed == before
    return refused.value


async def test_a_change_gives_all_mutable_inputs_one_new_version() -> None:
    world = World()
    owned, shared = await world.owned_box(1), await world.shared_box(2)
    transaction = setting(owned, 9)
    transaction.shared(shared)
    executed = await world.run(transaction)
    after = [world.live(owned.id), world.live(shared.id)]
    assert {stored.version for stored in after} == {executed.effects.lamport_version}
    assert executed.effects.lamport_version == max(owned.version, shared.version) + 1
    assert [number_of(stored) for stored in after] == [9, 2]
    assert all(stored.previous_transaction == executed.digest for stored in after)
    assert world.ledger.history.at_version(owned.id, owned.version) == owned


async def test_an_abort_changes_nothing_but_versions_and_gas() -> None:
    world = World()
    target = await world.owned_box(1)
    transaction = setting(target, 9)
    transaction.call(PACKAGE, "box::fail")
    executed = await world.run(transaction)
    failure = executed.effects.failure
    assert failure is not None
    assert (failure.kind, failure.command) == ("MOVE_ABORT", 1)
    assert failure.detail == AbortDetail(PACKAGE, "box", "fail", ABORTED_WITH)
    assert executed.events == ()
    after = world.live(target.id)
    assert (number_of(after), after.version) == (1, target.version + 1)
    assert executed.effects.gas.computation_cost > 0


async def test_a_known_digest_is_answered_not_executed_again() -> None:
    world = World()
    target = await world.owned_box(1)
    encoded, signature = world.sign(setting(target, 9))
    first, second = await asyncio.gather(
        world.ledger.execute(encoded, [signature]), world.ledger.execute(encoded, [signature])
    )
    third = await world.ledger.execute(encoded, [signature])
    assert first is second is third
    assert len([call for call in world.vm.calls if call.function == "set"]) == 1
    assert world.ledger.counters.resubmitted == 2


async def test_an_old_version_is_refused() -> None:
    world = World()
    target = await world.owned_box(1)
    await world.run(setting(target, 2))
    refused = await refusal(world, setting(target, 3))
    assert refused.reason is Refusal.FAILED_PRECONDITION
    assert "not available for consumption" in str(refused)


async def test_two_transactions_cannot_have_one_version() -> None:
    world = World()
    target = await world.owned_box(1)
    world.vm.gate.clear()
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::add_one", transaction.owned(target))
    first = asyncio.create_task(world.run(transaction))
    await world.vm.arrived.wait()
    refused = await refusal(world, setting(target, 3))
    assert "locked by transaction" in str(refused)
    world.vm.gate.set()
    assert (await first).effects.success


async def test_what_belongs_to_another_is_refused() -> None:
    world = World()
    mine = await world.owned_box(1)
    thief = ed25519_key()
    encoded, signature = world.sign(setting(mine, 3), thief, coins=[world.coins[0]])
    with pytest.raises(TransactionRefusedError, match="belongs to"):
        await world.ledger.execute(encoded, [signature])
    transaction = TransactionBuilder()
    transaction.transfer(thief.address, transaction.owned(mine))
    await world.run(transaction)
    refused = await refusal(world, setting(world.live(mine.id), 3))
    assert "belongs to" in str(refused)


async def test_references_must_be_exact() -> None:
    world = World()
    owned, shared = await world.owned_box(1), await world.shared_box(1)
    cases: dict[str, Input] = {
        "has digest": OwnedObject(ObjectRef(owned.id, owned.version, bytes(32))),
        "does not exist": OwnedObject(ObjectRef(b"\7" * 32, 1, bytes(32))),
        "is shared": OwnedObject(ObjectRef(shared.id, shared.version, shared.digest)),
        "is shared since": SharedObject(shared.id, shared.owner.initial_version + 1, mutable=True),
        "is not shared": SharedObject(owned.id, owned.version, mutable=True),
        "read-only input": SharedObject(CLOCK_ID, 1, mutable=True),
        "Shared object": SharedObject(b"\7" * 32, 1, mutable=True),
        "cannot be an object input": OwnedObject(ObjectRef(PACKAGE, 1, world.live(PACKAGE).digest)),
    }
    for sentence, argument in cases.items():
        transaction = TransactionBuilder()
        transaction.inputs.append(argument)
        transaction.split(transaction.pure(b""))
        assert sentence in str(await refusal(world, transaction))


async def test_one_object_is_an_input_once() -> None:
    world = World()
    target = await world.owned_box(1)
    transaction = setting(target, 2)
    transaction.owned(target)
    assert "an input twice" in str(await refusal(world, transaction))
    coin = world.coins[0]
    transaction = TransactionBuilder()
    transaction.transfer(world.key.address, transaction.owned(coin))
    assert "an input twice" in str(await refusal(world, transaction, coins=[coin]))


async def test_a_consumed_object_is_gone_and_its_deposit_comes_back() -> None:
    world = World()
    target = await world.owned_box(1)
    stored_before = world.ledger.final.metered_bytes
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::crush", transaction.owned(target))
    executed = await world.run(transaction)
    (changed,) = executed.effects.changed
    assert (changed.output, changed.id_operation) == (Output.DOES_NOT_EXIST, IdOperation.DELETED)
    assert world.ledger.final.get(target.id) is None
    assert world.ledger.final.metered_bytes == stored_before - target.metered_bytes
    assert executed.effects.gas.storage_rebate == round(target.storage_rebate * 0.99)


async def test_children_are_indexed_passed_and_removed() -> None:
    world = World()
    parent, stranger = await world.shared_box(1), await world.shared_box(2)
    for target in (parent, stranger):
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, "box::put", transaction.shared(target), transaction.u64(5))
        assert (await world.run(transaction)).effects.success
    (child,) = world.ledger.final.children_of(parent.id)
    assert number_of(child) == 5
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::clear", transaction.shared(parent))
    executed = await world.run(transaction)
    assert {key: [c.id for c in value] for key, value in world.vm.children[-1].items()} == {
        parent.id: [child.id]
    }
    assert world.ledger.final.children_of(parent.id) == []
    assert [c.id for c in executed.effects.changed if c.id_operation is IdOperation.DELETED] == [child.id]
    assert len(world.ledger.final.children_of(stranger.id)) == 1


async def test_an_object_has_a_largest_size() -> None:
    world = World()
    target = await world.shared_box(1)
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::grow", transaction.shared(target))
    failure = (await world.run(transaction)).effects.failure
    assert failure is not None
    assert failure.kind == "OBJECT_TOO_BIG"


async def test_changes_of_one_object_run_one_after_the_other() -> None:
    world = World()
    target = await world.shared_box(0)

    def adding() -> TransactionBuilder:
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, "box::add_one", transaction.shared(target))
        return transaction

    world.vm.gate.clear()
    running = [asyncio.create_task(world.run(adding())) for _ in range(5)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.vm.waiting == 1
    world.vm.gate.set()
    executed = await asyncio.gather(*running)
    assert number_of(world.live(target.id)) == 5
    assert [one.effects.lamport_version for one in executed] == list(
        range(target.version + 1, target.version + 6)
    )


async def test_changes_of_different_objects_run_side_by_side() -> None:
    world = World()
    targets = [await world.shared_box(0) for _ in range(3)]
    world.vm.gate.clear()
    running = []
    for target in targets:
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, "box::add_one", transaction.shared(target))
        running.append(asyncio.create_task(world.run(transaction)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.vm.waiting == 3
    world.vm.gate.set()
    await asyncio.gather(*running)
    assert [number_of(world.live(target.id)) for target in targets] == [1, 1, 1]


async def test_readers_of_a_shared_object_do_not_wait_for_each_other() -> None:
    world = World()
    target = await world.shared_box(4)
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::read", transaction.shared(target, mutable=False))
    executed = await world.run(transaction)
    assert executed.effects.changed == ()
    (read,) = executed.effects.read
    assert (read.id, read.version) == (target.id, target.version)
    assert world.live(target.id).version == target.version


async def test_a_simulation_keeps_nothing() -> None:
    world = World()
    target = await world.shared_box(4)
    transaction = TransactionBuilder()
    transaction.call(PACKAGE, "box::read", transaction.shared(target, mutable=False))
    transaction.call(PACKAGE, "box::share", transaction.u64(1))
    encoded, _ = world.sign(transaction)
    objects = len(world.ledger.final)
    outcome = await world.ledger.simulate(decode_transaction(encoded))
    assert outcome.effects.success
    assert outcome.results[0] == (("u64", bcs.u64(4)),)
    assert len(world.ledger.final) == objects


async def test_a_test_may_rewrite_an_object_beside_transactions() -> None:
    world = World()
    shared = await world.shared_box(2)
    rewritten = world.ledger.rewrite_object(shared.id, shared.id + bcs.u64(7))
    assert number_of(world.live(shared.id)) == 7
    assert (rewritten.version, rewritten.owner) == (shared.version, shared.owner)
    assert rewritten.digest != shared.digest
    assert world.ledger.history.at_version(shared.id, shared.version) == rewritten
    assert (await world.run(setting(rewritten, 9))).effects.success
    assert number_of(world.live(shared.id)) == 9
    with pytest.raises(KeyError):
        world.ledger.rewrite_object(bytes(32), b"")
