"""The gRPC services over the real Move VM: an unrelated package is published, called and read back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.google.protobuf import FieldMask
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from infra.local.sui.builder import TransactionBuilder, nested, valid_now
from infra.local.sui.compiler import compile_package
from infra.local.sui.keys import secp256k1_key
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import base58, hex_address, parse_address
from infra.local.sui.ledger.objects import StoredObject
from infra.local.sui.ledger.transactions import Argument
from infra.local.sui.ledger.type_tags import SUI
from infra.local.sui.server import LocalSui

GALLERY = Path(__file__).parent / "packages" / "gallery"
START_MS = 1_700_000_000_000
FUNDS = 10**12
TAKEN = 2
"""Abort code of the example: a piece of this title hangs already."""


class Node:
    """A chain, one client of one port, and a key that pays from its address balance."""

    def __init__(self, sui: LocalSui) -> None:
        self.sui = sui
        self.channel = Channel("127.0.0.1", sui.grpc_ports[0])
        self.ledger = v2.LedgerServiceStub(self.channel)
        self.state = v2.StateServiceStub(self.channel)
        self.execution = v2.TransactionExecutionServiceStub(self.channel)
        self.packages = v2.MovePackageServiceStub(self.channel)
        self.key = secp256k1_key()
        self.package = b""
        self.nonce = 0

    @property
    def address(self) -> str:
        return hex_address(self.key.address)

    def request(self, transaction: TransactionBuilder, *mask: str) -> Any:
        self.nonce += 1
        encoded = transaction.build(self.key, expiration=valid_now(self.sui.ledger.chain_id, 0, self.nonce))
        return v2.ExecuteTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=encoded)),
            signatures=[v2.UserSignature(bcs=v2.Bcs(value=self.key.sign(encoded)))],
            read_mask=FieldMask(paths=list(mask)) if mask else None,
        )

    async def execute(self, transaction: TransactionBuilder, *mask: str) -> Any:
        answer = await self.execution.execute_transaction(self.request(transaction, *(mask or ("*",))))
        return answer.transaction

    async def publish(self) -> StoredObject:
        """Publish the example and return its shared object."""
        compiled = compile_package(GALLERY)
        transaction = TransactionBuilder()
        cap = transaction.publish(compiled.modules, compiled.dependencies)
        transaction.transfer(self.key.address, cap)
        executed = await self.execute(transaction)
        assert executed.effects.status.success, executed.effects.status.error
        changed = executed.effects.changed_objects
        by_type = {one.object_type.split("::")[-1]: one.object_id for one in changed if one.object_type}
        self.package = parse_address(by_type["package"])
        return self.live(by_type["Gallery"])

    def live(self, object_id: str) -> StoredObject:
        stored = self.sui.ledger.final.get(parse_address(object_id))
        assert stored is not None
        return stored

    def hang(self, gallery: StoredObject, *titles: str) -> TransactionBuilder:
        transaction = TransactionBuilder()
        shared, clock = transaction.shared(gallery), transaction.clock()
        for title in titles:
            arguments = (shared, transaction.text(title), transaction.u64(500), clock)
            transaction.call(self.package, "gallery::hang", *arguments)
        return transaction


@contextlib.asynccontextmanager
async def refused(status: Status, sentence: str) -> AsyncIterator[None]:
    with pytest.raises(GRPCError) as caught:
        yield
    assert caught.value.status is status
    assert sentence in (caught.value.message or "")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with LocalSui(clock=ManualClock(START_MS), finality_ms=0, checkpoint_ms=0) as sui:
        node = Node(sui)
        await sui.faucet(node.address, FUNDS, coins=0)
        yield node
        node.channel.close()


async def test_publishes_changes_two_objects_aborts_and_reads_back(node: Node) -> None:
    gallery = await node.publish()
    frames = TransactionBuilder()
    made = [frames.call(node.package, "gallery::new_frame", frames.u64(glass)) for glass in (1, 2)]
    frames.transfer(node.key.address, *made)
    executed = await node.execute(frames)
    ids = [c.object_id for c in executed.effects.changed_objects if (c.object_type or "").endswith("::Frame")]
    first, second = map(node.live, ids)
    glass = {stored.id: stored.contents[32:] for stored in (first, second)}

    swap = TransactionBuilder()
    swap.call(node.package, "gallery::swap_frames", swap.owned(first), swap.owned(second))
    swapped = await node.execute(swap)
    assert swapped.effects.status.success, swapped.effects.status.error
    request = v2.BatchGetObjectsRequest(
        requests=[v2.GetObjectRequest(object_id=one) for one in (*ids, "0x7")],
        read_mask=FieldMask(paths=["contents", "previous_transaction", "version"]),
    )
    *read, missing = (await node.ledger.batch_get_objects(request)).objects
    assert [one.object.contents.value[32:] for one in read] == [glass[second.id], glass[first.id]]
    assert {one.object.previous_transaction for one in read} == {swapped.digest}
    assert {one.object.version for one in read} == {swapped.effects.lamport_version}
    assert (missing.error.code, read[0].object.object_id) == (Status.NOT_FOUND.value, None)

    assert (await node.execute(node.hang(gallery, "mona"))).effects.status.success
    aborted = await node.execute(node.hang(gallery, "lisa", "mona"))
    status = aborted.effects.status
    assert (status.success, status.error.kind) == (False, v2.ExecutionErrorExecutionErrorKind.MOVE_ABORT)
    assert (status.error.abort.abort_code, status.error.command) == (TAKEN, 1)
    location = status.error.abort.location
    assert (location.package, location.module) == (hex_address(node.package), "gallery")
    assert aborted.events is None
    assert node.sui.ledger.counters.failed == 1


async def test_a_resubmission_is_answered_with_the_first_effects(node: Node) -> None:
    gallery = await node.publish()
    request = node.request(node.hang(gallery, "mona"), "*")
    first, second = [(await node.execution.execute_transaction(request)).transaction for _ in range(2)]
    assert first.effects.to_dict() == second.effects.to_dict()
    read = await node.ledger.get_transaction(
        v2.GetTransactionRequest(digest=first.digest, read_mask=FieldMask(paths=["*"]))
    )
    assert read.transaction.transaction.bcs.value == request.transaction.bcs.value
    assert read.transaction.signatures[0].bcs.value == request.signatures[0].bcs.value
    assert read.transaction.checkpoint is not None


async def test_masks_decide_what_is_answered(node: Node) -> None:
    gallery = await node.publish()
    request = node.request(node.hang(gallery, "mona"))
    default = (await node.execution.execute_transaction(request)).transaction
    assert default.effects.status.success
    assert (default.digest, default.events, default.effects.digest) == (None, None, None)
    some = await node.execute(node.hang(gallery, "lisa"), "digest", "events.events.event_type")
    assert (some.digest is not None, some.effects) == (True, None)
    assert some.events.events[0].event_type.endswith("::Hung")
    assert some.events.events[0].contents is None
    async with refused(Status.INVALID_ARGUMENT, "'effets' is no field"):
        await node.execute(node.hang(gallery, "third"), "effets.status")
    default = (await node.ledger.get_object(v2.GetObjectRequest(object_id=hex_address(gallery.id)))).object
    assert (default.object_id, default.owner) == (hex_address(gallery.id), None)


async def test_refusals_are_statuses_with_a_sentence(node: Node) -> None:
    gallery = await node.publish()
    request = node.request(node.hang(gallery, "mona"))
    signature = bytearray(request.signatures[0].bcs.value)
    signature[10] ^= 1
    request.signatures[0].bcs.value = bytes(signature)
    async with refused(Status.INVALID_ARGUMENT, "does not fit"):
        await node.execution.execute_transaction(request)
    async with refused(Status.INVALID_ARGUMENT, "not valid BCS"):
        request.transaction.bcs.value = b"junk"
        await node.execution.execute_transaction(request)
    async with refused(Status.FAILED_PRECONDITION, "does not exist"):
        stranger = TransactionBuilder()
        stranger.call(b"\7" * 32, "no::thing")
        await node.execute(stranger)
    for call, sentence in (
        (node.ledger.get_object(v2.GetObjectRequest(object_id="0x7")), "not found"),
        (node.ledger.get_transaction(v2.GetTransactionRequest(digest=base58(b"\7" * 32))), "not found"),
        (node.ledger.get_checkpoint(v2.GetCheckpointRequest(sequence_number=99)), "not found"),
    ):
        async with refused(Status.NOT_FOUND, sentence):
            await call
    async with refused(Status.INVALID_ARGUMENT, "is not an address"):
        await node.ledger.get_object(v2.GetObjectRequest(object_id="hello"))
    async with refused(Status.UNIMPLEMENTED, "not simulated"):
        await v2.NameServiceStub(node.channel).lookup_name(v2.LookupNameRequest(name="a.sui"))


async def test_service_info_and_epoch_tell_what_a_sender_must_know(node: Node) -> None:
    info = await node.ledger.get_service_info()
    assert (info.chain_id, info.epoch) == (node.sui.chain_id, 0)
    assert info.timestamp.timestamp() * 1000 == START_MS
    epoch = (await node.ledger.get_epoch(v2.GetEpochRequest(read_mask=FieldMask(paths=["*"])))).epoch
    assert epoch.reference_gas_price == node.sui.ledger.reference_gas_price
    assert epoch.protocol_config.attributes["max_tx_size_bytes"] == "131072"
    checkpoint = await node.ledger.get_checkpoint(v2.GetCheckpointRequest(read_mask=FieldMask(paths=["*"])))
    assert checkpoint.checkpoint.sequence_number == info.checkpoint_height
    assert len(checkpoint.checkpoint.transactions) == 1


async def test_the_clock_is_the_chains(node: Node) -> None:
    async def clock() -> Any:
        request = v2.GetObjectRequest(object_id="0x6", read_mask=FieldMask(paths=["json"]))
        return (await node.ledger.get_object(request)).object.json.to_dict()["timestamp_ms"]

    assert await clock() == str(START_MS)
    gallery = await node.publish()
    assert isinstance(node.sui.ledger.clock, ManualClock)
    node.sui.ledger.clock.advance(5_000)
    assert await clock() == str(START_MS + 5_000)
    executed = await node.execute(node.hang(gallery, "mona"))
    assert executed.events.events[0].json.to_dict()["at_ms"] == str(START_MS + 5_000)


async def test_balances_owned_objects_and_pages(node: Node) -> None:
    await node.sui.faucet(node.address, 7, coins=5)
    answer = await node.state.get_balance(v2.GetBalanceRequest(owner=node.address, coin_type="0x2::sui::SUI"))
    balance = answer.balance
    assert (balance.address_balance, balance.coin_balance, balance.balance) == (FUNDS, 35, FUNDS + 35)
    answer = await node.state.list_balances(v2.ListBalancesRequest(owner=node.address))
    assert [one.coin_type for one in answer.balances] == [SUI]
    seen, token = [], None
    while True:
        page = await node.state.list_owned_objects(
            v2.ListOwnedObjectsRequest(
                owner=node.address, page_size=2, page_token=token, object_type="0x2::coin::Coin"
            )
        )
        seen += [one.object_id for one in page.objects]
        token = page.next_page_token
        if token is None:
            break
    assert len(seen) == len(set(seen)) == 5
    answer = await node.state.list_owned_objects(
        v2.ListOwnedObjectsRequest(owner=node.address, object_type="0x2::coin::Coin<0x2::coin::Coin>")
    )
    assert answer.objects == []


async def test_dynamic_fields_show_name_and_value(node: Node) -> None:
    gallery = await node.publish()
    transaction = TransactionBuilder()
    shared = transaction.shared(gallery)
    frame = transaction.call(node.package, "gallery::new_frame", transaction.u64(3))
    transaction.call(node.package, "gallery::put_in_frame", shared, transaction.u64(8), frame)
    assert (await node.execute(transaction)).effects.status.success
    request = v2.ListDynamicFieldsRequest(parent=hex_address(gallery.id), read_mask=FieldMask(paths=["*"]))
    (field,) = (await node.state.list_dynamic_fields(request)).dynamic_fields
    assert field.kind == v2.DynamicFieldDynamicFieldKind.OBJECT
    assert (field.name.value, field.value_type.split("::")[-1]) == ((8).to_bytes(8, "little"), "Frame")
    assert field.child_object.contents.value[32:] == (3).to_bytes(8, "little")
    assert field.child_id == field.child_object.object_id


async def test_functions_and_datatypes_of_a_package_are_told(node: Node) -> None:
    await node.publish()
    package = hex_address(node.package)
    request = v2.GetFunctionRequest(package_id=package, module_name="gallery", name="hang")
    function = (await node.packages.get_function(request)).function
    assert (function.is_entry, function.visibility) == (True, v2.FunctionDescriptorVisibility.PRIVATE)
    assert [p.body.type_name.split("::")[-1] for p in function.parameters if p.body.type_name] == [
        "Gallery",
        "String",
        "Clock",
        "TxContext",
    ]
    request = v2.GetDatatypeRequest(package_id=package, module_name="gallery", name="Mood")
    datatype = (await node.packages.get_datatype(request)).datatype
    assert [variant.name for variant in datatype.variants] == ["Calm", "Loud", "Mixed"]
    answer = await node.packages.get_package(v2.GetPackageRequest(package_id=package))
    assert "gallery" in [module.name for module in answer.package.modules]
    async with refused(Status.NOT_FOUND, "no function"):
        request = v2.GetFunctionRequest(package_id=package, module_name="gallery", name="hung")
        await node.packages.get_function(request)


async def test_a_simulation_prices_and_shows_results_without_a_trace(node: Node) -> None:
    gallery = await node.publish()
    transaction = node.hang(gallery, "mona")
    shared = Argument("input", 0)
    transaction.call(node.package, "gallery::gallery_mood", shared, transaction.text("mona"))
    request = v2.SimulateTransactionRequest(
        transaction=node.request(transaction).transaction, read_mask=FieldMask(paths=["*"])
    )
    answer = await node.execution.simulate_transaction(request)
    assert answer.transaction.effects.status.success, answer.transaction.effects.status.error
    assert answer.transaction.effects.gas_used.computation_cost > 0
    assert [len(one.return_values) for one in answer.command_outputs] == [0, 1]
    assert answer.command_outputs[1].return_values[0].json.to_dict()["@variant"] == "Mixed"
    assert node.live(hex_address(gallery.id)).version == gallery.version


async def test_a_bought_piece_pays_in(node: Node) -> None:
    gallery = await node.publish()
    assert (await node.execute(node.hang(gallery, "mona"))).effects.status.success
    (coin,) = await node.sui.faucet(node.address, 900)
    transaction = TransactionBuilder()
    bought = transaction.call(
        node.package,
        "gallery::buy",
        transaction.shared(gallery),
        transaction.text("mona"),
        transaction.owned(coin),
    )
    transaction.transfer(node.key.address, nested(bought, 0))
    executed = await node.execute(transaction)
    assert executed.effects.status.success, executed.effects.status.error
    change = {one.address: int(one.amount) for one in executed.balance_changes}
    gas = executed.effects.gas_used
    assert change == {node.address: -900 - (gas.computation_cost + gas.storage_cost - gas.storage_rebate)}
