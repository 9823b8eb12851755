"""What the ledger counts of every transaction."""

from __future__ import annotations

from collections import Counter

import pytest

from infra.local.sui.builder import TransactionBuilder
from infra.local.sui.control import Control
from infra.local.sui.http_json import HttpError
from infra.local.sui.ledger import bcs
from infra.local.sui.ledger.counting import EventSize, ObjectSize, Volume
from infra.local.sui.ledger.digests import base58, hex_address
from infra.local.sui.ledger.objects import metered_bytes
from infra.local.sui.ledger.type_tags import SUI
from tests.unit.ledger_world import BOX, OPENED, PACKAGE, World, setting

BOX_BYTES = 80 + 40 + (1 + 32 + 4 + 4 + 1) + 9
"""Metadata, contents, type (variant, address, two names, no type arguments) and the rest of the object."""


async def test_objects_are_counted_as_they_come_change_and_go() -> None:
    world = World()
    target = await world.owned_box(1)
    assert metered_bytes(BOX, target.contents) == BOX_BYTES
    created = world.ledger.transactions[target.previous_transaction].numbers
    assert created is not None
    assert created.objects == (ObjectSize(target.id, BOX, 0, BOX_BYTES),)
    assert created.stored_bytes == BOX_BYTES

    changed = (await world.run(setting(target, 2))).numbers
    assert changed is not None
    assert changed.objects == (ObjectSize(target.id, BOX, BOX_BYTES, BOX_BYTES),)
    assert (changed.stored_bytes, changed.event_bytes) == (0, 8)
    assert changed.events == (EventSize(OPENED, 8),)

    crushing = TransactionBuilder()
    crushing.call(PACKAGE, "box::crush", crushing.owned(world.live(target.id)))
    gone = (await world.run(crushing)).numbers
    assert gone is not None
    assert gone.stored_bytes == -BOX_BYTES
    counters = world.ledger.counters
    assert [counters.created, counters.mutated, counters.deleted] == [Volume(1, BOX_BYTES)] * 3
    assert counters.events == Volume(1, 8)


async def test_mist_are_counted_by_what_they_are_for() -> None:
    world = World()
    before = world.ledger.final.balance(world.key.address, SUI)
    target = await world.shared_box(1)
    await world.run(setting(target, 2))
    counters = world.ledger.counters
    assert counters.storage_deposit_mist == 2 * BOX_BYTES * 7_600
    assert counters.storage_rebate_mist + counters.non_refundable_mist == BOX_BYTES * 7_600
    assert counters.computation_mist == 2_000_000
    spent = counters.computation_mist + counters.storage_deposit_mist - counters.storage_rebate_mist
    assert before - world.ledger.final.balance(world.key.address, SUI) == spent


async def test_inputs_are_counted() -> None:
    world = World()
    executed = await world.run(setting(await world.shared_box(1), 2))
    numbers = executed.numbers
    assert numbers is not None
    assert (numbers.shared_mutable_inputs, numbers.pure_bytes) == (1, 8)
    assert numbers.transaction_bytes == len(executed.data.encoded)


async def test_the_control_port_tells_totals_and_single_transactions() -> None:
    world = World()
    executed = await world.call("share", bcs.u64(1))
    control = Control(world.ledger, {}, Counter())
    totals = (await control.handle("GET", "/counters", None))["transactions"]
    assert totals["created"] == {"count": 1, "bytes": BOX_BYTES}
    told = await control.handle("GET", f"/transactions/{base58(executed.digest)}", None)
    [stored] = told["objects"]
    assert (stored["after"], told["stored_bytes"]) == (BOX_BYTES, BOX_BYTES)
    assert stored["id"] == hex_address(executed.effects.changed[0].id)
    for unknown in (base58(bytes(32)), "0OIl"):
        with pytest.raises(HttpError):
            await control.handle("GET", f"/transactions/{unknown}", None)
