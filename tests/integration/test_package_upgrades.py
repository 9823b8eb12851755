"""Package upgrades on the local chain with the real Move VM: a package that has nothing to do with this
project."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from infra.local.sui.builder import TransactionBuilder
from infra.local.sui.bytecode.interface import read_interface
from infra.local.sui.compiler import CompiledPackage, compile_sources, read_sources
from infra.local.sui.genesis import framework_packages, start_vm
from infra.local.sui.keys import ed25519_key
from infra.local.sui.ledger.bcs import u64
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import hex_address
from infra.local.sui.ledger.errors import AbortDetail, UpgradeDetail
from infra.local.sui.ledger.ledger import Ledger, LedgerSettings
from infra.local.sui.ledger.publishing import package_digest
from infra.local.sui.ledger.transactions import decode_transaction
from tests.integration.upgrade_stage import (
    FRAMEWORK,
    PACKAGES,
    Published,
    Stage,
    changed_workshop,
    workshop,
)

FUNDS = 10**12
NOT_AUTHORISED = 1 << 7


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    vm = start_vm()
    settings = LedgerSettings(finality_ms=0, checkpoint_ms=0)
    ledger = Ledger(vm, settings=settings, clock=ManualClock(1), packages=framework_packages())
    key = ed25519_key()
    ledger.allocate(key.address, [], FUNDS)
    yield Stage(ledger, key)
    await ledger.close()
    await vm.close()


@pytest.fixture
async def first(stage: Stage) -> Published:
    return await stage.publish(workshop(1))


async def upgraded(stage: Stage, first: Published) -> bytes:
    return await stage.upgrade(first.package, first.cap, workshop(2))


def test_the_digest_of_a_package_is_the_compilers() -> None:
    compiled = workshop(1)
    assert package_digest(compiled.modules, compiled.dependencies) == compiled.digest
    assert package_digest(compiled.modules[::-1], compiled.dependencies[::-1]) == compiled.digest


async def test_each_id_runs_its_own_version_on_the_same_objects(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    await stage.call(first.package, "machine::turn", first.machine)
    assert stage.turns(first.machine) == 1
    await stage.call(second, "machine::turn", first.machine)
    assert stage.turns(first.machine) == 11
    await stage.call(second, "tools::twice", first.machine)
    await stage.call(first.package, "tools::twice", first.machine)
    assert stage.turns(first.machine) == 33


async def test_types_and_events_keep_the_original_id_and_new_ones_have_the_upgrades(
    stage: Stage, first: Published
) -> None:
    second = await upgraded(stage, first)
    [event] = (await stage.call(second, "machine::turn", first.machine)).events
    assert event.type_tag == f"{hex_address(first.package)}::machine::Turned"
    assert event.package == second
    assert stage.live(first.machine).type_tag == f"{hex_address(first.package)}::machine::Machine"

    transaction, plate = stage.calling(second, "machine::label", first.machine)
    transaction.transfer(stage.key.address, plate)
    executed = await stage.run(transaction)
    [labelled] = executed.events
    plate_type = f"{hex_address(second)}::machine::Plate"
    assert labelled.type_tag == f"{hex_address(second)}::machine::Labelled"
    [made] = [one for one in executed.effects.changed if one.type_tag == plate_type]

    giving = TransactionBuilder()
    thing, to = giving.owned(stage.live(made.id)), giving.pure(b"\x01" * 32)
    giving.call(second, "machine::give", thing, to, type_arguments=[plate_type])
    assert made.id in {one.id for one in (await stage.run(giving)).effects.changed}


async def test_a_type_argument_may_name_a_later_version_than_the_types_own(
    stage: Stage, first: Published
) -> None:
    second = await upgraded(stage, first)
    third = await stage.upgrade(second, first.cap, workshop(2))
    transaction, plate = stage.calling(third, "machine::label", first.machine)
    later = f"{hex_address(third)}::machine::Plate"
    to = transaction.pure(stage.key.address)
    transaction.call(third, "machine::give", plate, to, type_arguments=[later])
    executed = await stage.run(transaction)
    assert f"{hex_address(second)}::machine::Plate" in {one.type_tag for one in executed.effects.changed}


async def test_dynamic_fields_are_found_by_every_version(stage: Stage, first: Published) -> None:
    await stage.call(first.package, "machine::fill", first.machine, b"\x05", u64(40))
    second = await upgraded(stage, first)
    await stage.call(second, "machine::fill", first.machine, b"\x06", u64(1))
    assert len(stage.ledger.final.children_of(first.machine)) == 2
    await stage.call(second, "machine::drain", first.machine, b"\x05")
    assert len(stage.ledger.final.children_of(first.machine)) == 1


async def test_versions_change_fields_of_their_own_types_in_turn(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    for _ in range(2):
        for package in (second, second, second, first.package, first.package, first.package):
            await stage.call(package, "machine::mark", first.machine)
    fields = stage.ledger.final.children_of(first.machine)
    assert [int.from_bytes(one.contents[-8:], "little") for one in fields] == [6, 6]
    names = {one.type_tag.partition("<")[2].partition(",")[0] for one in fields}
    assert names == {
        f"{hex_address(second)}::machine::Mark",
        f"{hex_address(first.package)}::machine::Slot",
    }


async def test_an_abort_names_the_version_that_ran(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    for _ in range(10):
        await stage.call(second, "machine::turn", first.machine)
    for package in (first.package, second):
        transaction, _ = stage.calling(package, "machine::turn", first.machine)
        failure = (await stage.submit(transaction)).effects.failure
        assert failure is not None
        assert isinstance(failure.detail, AbortDetail)
        assert (failure.detail.package, failure.detail.module, failure.detail.code) == (package, "machine", 3)


async def test_the_package_object_says_what_it_descends_from(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    before, after = stage.live(first.package).package, stage.live(second).package
    assert before is not None
    assert after is not None
    assert (before.version, before.runtime_id) == (1, first.package)
    assert (after.version, after.runtime_id, stage.live(second).version) == (2, first.package, 2)
    assert after.type_origins[("machine", "Turned")] == first.package
    assert after.type_origins[("machine", "Plate")] == second
    assert set(after.linkage) == {bytes(31) + b"\x01", FRAMEWORK}
    cap = stage.live(first.cap).contents
    assert cap[32:64] == second
    assert cap[64:72] == u64(2)


async def test_init_does_not_run_again(stage: Stage, first: Published) -> None:
    executed = await stage.run(stage.upgrading(first.package, first.cap, workshop(2)))
    assert {one.type_tag.rpartition("::")[2] for one in executed.effects.changed} == {"package", "UpgradeCap"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("public fun version(): u64 { 1 }", "public fun version(): u8 { 1 }", "machine::version"),
        ("number: u8", "number: u16", "type machine::Slot changes its fields"),
        ("public struct Turned has copy, drop {", "public struct Turned has copy, drop, store {", "Turned"),
        ("public fun version", "public(package) fun version", "no longer public"),
    ],
)
async def test_incompatible_upgrades_fail_with_the_reason(
    stage: Stage, first: Published, before: str, after: str, reason: str
) -> None:
    transaction = stage.upgrading(first.package, first.cap, changed_workshop(before, after))
    failure = (await stage.submit(transaction)).effects.failure
    assert failure is not None
    assert (failure.kind, failure.command) == ("PACKAGE_UPGRADE_ERROR", 1)
    assert failure.detail == UpgradeDetail("INCOMPATIBLE_UPGRADE")
    assert reason in failure.message
    assert stage.live(first.cap).contents[32:64] == first.package


async def test_a_ticket_is_good_for_one_package_and_one_digest(stage: Stage, first: Published) -> None:
    compiled = workshop(2)
    other = await stage.publish(workshop(1))
    wrong = stage.upgrading(other.package, first.cap, compiled)
    failure = (await stage.submit(wrong)).effects.failure
    assert failure is not None
    expected = UpgradeDetail("PACKAGE_ID_DOES_NOT_MATCH", package=other.package, ticket=first.package)
    assert failure.detail == expected

    unseen = stage.upgrading(first.package, first.cap, compiled, digest=bytes(32))
    failure = (await stage.submit(unseen)).effects.failure
    assert failure is not None
    assert failure.detail == UpgradeDetail("DIGEST_DOES_NOT_MATCH", digest=compiled.digest)


async def test_the_capability_goes_on_to_the_next_version_only(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    again = stage.upgrading(first.package, first.cap, workshop(2))
    failure = (await stage.submit(again)).effects.failure
    assert failure is not None
    assert failure.detail == UpgradeDetail("PACKAGE_ID_DOES_NOT_MATCH", package=first.package, ticket=second)


async def test_a_restricted_capability_is_not_upgraded_by_guesswork(stage: Stage, first: Published) -> None:
    restrict = TransactionBuilder()
    restrict.call(FRAMEWORK, "package::only_additive_upgrades", restrict.owned(stage.live(first.cap)))
    await stage.run(restrict)
    assert await stage.fail(stage.upgrading(first.package, first.cap, workshop(2))) == "MOVE_ABORT"
    additive = stage.upgrading(first.package, first.cap, workshop(2), policy=bytes([NOT_AUTHORISED]))
    assert await stage.fail(additive) == "FEATURE_NOT_YET_SUPPORTED"


async def test_a_receipt_must_be_committed(stage: Stage, first: Published) -> None:
    transaction = stage.upgrading(first.package, first.cap, workshop(2))
    transaction.commands.pop()
    assert await stage.fail(transaction) == "UNUSED_VALUE_WITHOUT_DROP"


async def test_a_simulated_upgrade_changes_nothing(stage: Stage, first: Published) -> None:
    encoded, _ = stage.sign(stage.upgrading(first.package, first.cap, workshop(2)))
    outcome = await stage.ledger.simulate(decode_transaction(encoded))
    assert outcome.effects.success, outcome.effects.failure
    second = await upgraded(stage, first)
    transaction, plate = stage.calling(second, "machine::label", first.machine)
    transaction.transfer(stage.key.address, plate)
    types = {one.type_tag for one in (await stage.run(transaction)).effects.changed}
    assert f"{hex_address(second)}::machine::Plate" in types


# Linkage of other packages


def depot(first: bytes, *dependencies: bytes) -> CompiledPackage:
    """A package that turns the machine, linked with the given packages."""
    sources = read_sources(PACKAGES / "workshop")
    manifest = sources["Move.toml"].replace('"workshop"', '"depot"').replace("0x0", hex_address(first))
    text = (
        "module depot::depot;\nuse workshop::machine::{Self, Machine};\n"
        "public fun spin(machine: &mut Machine): u64 { machine::turn(machine); machine::version() }\n"
    )
    files = {**sources, "Move.toml": manifest + 'depot = "0x0"\n', "sources/depot.move": text}
    modules = [one for one in compile_sources(files).modules if read_interface(one).name == "depot"]
    return CompiledPackage(tuple(modules), dependencies, b"")


async def test_a_dependent_runs_the_version_that_it_was_linked_with(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    std = bytes(31) + b"\x01"
    old = await stage.publish(depot(first.package, std, FRAMEWORK, first.package))
    new = await stage.publish(depot(first.package, std, FRAMEWORK, second))
    await stage.call(old.package, "depot::spin", first.machine)
    assert stage.turns(first.machine) == 1
    await stage.call(new.package, "depot::spin", first.machine)
    assert stage.turns(first.machine) == 11


async def test_missing_and_older_dependencies_are_refused(stage: Stage, first: Published) -> None:
    second = await upgraded(stage, first)
    std = bytes(31) + b"\x01"
    new = await stage.publish(depot(first.package, std, FRAMEWORK, second))
    for missing in (
        depot(first.package, std, FRAMEWORK),
        CompiledPackage(depot(first.package).modules, (std, FRAMEWORK, new.package), b""),
    ):
        transaction = TransactionBuilder()
        transaction.publish(missing.modules, missing.dependencies)
        assert await stage.fail(transaction) == "PUBLISH_UPGRADE_MISSING_DEPENDENCY"
    older = TransactionBuilder()
    older.publish(depot(first.package).modules, (std, FRAMEWORK, first.package, new.package))
    assert await stage.fail(older) == "PUBLISH_UPGRADE_DEPENDENCY_DOWNGRADE"
