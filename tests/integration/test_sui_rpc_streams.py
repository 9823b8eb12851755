"""Event lists and subscriptions, and what a port does when it is told to misbehave (over a scripted VM)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from pysui.sui.sui_grpc.suimsgs.google.protobuf import FieldMask
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from infra.local.sui.builder import TransactionBuilder, valid_now
from infra.local.sui.keys import ed25519_key
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import base58, hex_address
from infra.local.sui.ledger.objects import StoredObject
from infra.local.sui.server import LocalSui
from tests.unit.ledger_world import (
    DECLARATIONS,
    INTERFACE,
    NAME,
    OPENED,
    PACKAGE,
    START_MS,
    BoxVm,
    setting,
)

FUNDS = 10**12
QUICK = 5.0
"""Seconds that nothing here may take."""


class Chain:
    """A chain with two ports, and a box whose number every transaction sets, with an event."""

    box: StoredObject

    def __init__(self, sui: LocalSui) -> None:
        self.sui = sui
        self.channels = [Channel("127.0.0.1", port) for port in sui.grpc_ports]
        self.ledgers = [v2.LedgerServiceStub(channel) for channel in self.channels]
        self.streams = [v2.SubscriptionServiceStub(channel) for channel in self.channels]
        self.key = ed25519_key()
        self.nonce = 0

    @property
    def port(self) -> int:
        return self.sui.grpc_ports[0]

    def sign(self, transaction: TransactionBuilder) -> tuple[bytes, bytes]:
        self.nonce += 1
        encoded = transaction.build(self.key, expiration=valid_now(self.sui.ledger.chain_id, 0, self.nonce))
        return encoded, self.key.sign(encoded)

    async def prepare(self) -> None:
        self.sui.ledger.datatypes.declare(PACKAGE, DECLARATIONS)
        await self.sui.faucet(self.key.address, FUNDS, coins=0)
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, "box::share", transaction.u64(0))
        encoded, signature = self.sign(transaction)
        executed = await self.sui.ledger.execute(encoded, [signature])
        found = self.sui.ledger.final.get(executed.effects.changed[0].id)
        assert found is not None
        self.box = found

    async def emit(self, *numbers: int) -> str:
        """One transaction with an event per number; its digest."""
        transaction = TransactionBuilder()
        target = transaction.shared(self.box)
        for number in numbers:
            transaction.call(PACKAGE, "box::set", target, transaction.u64(number))
        encoded, signature = self.sign(transaction)
        executed = await self.sui.ledger.execute(encoded, [signature])
        assert executed.effects.success
        return base58(executed.digest)

    async def list(self, port: int = 0, **request: Any) -> list[Any]:
        return [frame async for frame in self.ledgers[port].list_events(v2.ListEventsRequest(**request))]


def numbers(frames: list[Any]) -> list[int]:
    return [int(frame.event.json.to_dict()["number"]) for frame in frames if frame.event is not None]


def options(**values: Any) -> Any:
    return v2.QueryOptions(**values)


def events_of(**literal: Any) -> Any:
    return v2.EventFilter(terms=[v2.EventTerm(literals=[v2.EventLiteral(**literal)])])


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    vm = BoxVm()
    vm.gate.set()
    sui = LocalSui(
        vm=vm, packages=[INTERFACE], clock=ManualClock(START_MS), finality_ms=0, checkpoint_ms=0, ports=2
    )
    async with sui, asyncio.timeout(60):
        chain = Chain(sui)
        await chain.prepare()
        yield chain
        for channel in chain.channels:
            channel.close()


# === Lists ===


async def test_lists_carry_positions_watermarks_and_an_end(chain: Chain) -> None:
    digests = [await chain.emit(1, 2), await chain.emit(3)]
    *frames, last = await chain.list()
    assert numbers(frames) == [1, 2, 3]
    assert [frame.event.transaction_digest for frame in frames] == [digests[0], digests[0], digests[1]]
    assert [frame.event.event_index for frame in frames] == [0, 1, 0]
    first = chain.sui.ledger.checkpoints.tip.sequence - 1
    assert [frame.event.checkpoint for frame in frames] == [first, first, first + 1]
    assert [frame.watermark.checkpoint for frame in frames] == [first - 1, first - 1, first]
    assert last.event is None
    assert last.end.reason == v2.QueryEndReason.LEDGER_TIP
    assert last.watermark.checkpoint == first + 1


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_cursors_resume_without_loss_or_repetition(chain: Chain, limit: int) -> None:
    await chain.emit(1, 2, 3)
    await chain.emit(4)
    seen, cursor = [], None
    while True:
        frames = await chain.list(options=options(limit=limit, after=cursor))
        seen += numbers(frames)
        cursor = frames[-1].watermark.cursor
        if frames[-1].end.reason == v2.QueryEndReason.LEDGER_TIP:
            break
        assert frames[-1].end.reason == v2.QueryEndReason.ITEM_LIMIT
    assert seen == [1, 2, 3, 4]
    await chain.emit(5)
    assert numbers(await chain.list(options=options(after=cursor))) == [5]


async def test_bounds_exclude_the_event_that_they_name(chain: Chain) -> None:
    await chain.emit(1, 2, 3, 4)
    frames = await chain.list()
    second, fourth = frames[1].watermark.cursor, frames[3].watermark.cursor
    between = await chain.list(options=options(after=second, before=fourth))
    assert numbers(between) == [3]
    assert between[-1].end.reason == v2.QueryEndReason.CURSOR_BOUND
    down = await chain.list(options=options(ordering=v2.Ordering.DESCENDING, limit=2))
    assert numbers(down) == [4, 3]
    rest = options(ordering=v2.Ordering.DESCENDING, before=down[-1].watermark.cursor)
    assert numbers(await chain.list(options=rest)) == [2, 1]


async def test_checkpoint_ranges_are_half_open(chain: Chain) -> None:
    for number in (1, 2, 3):
        await chain.emit(number)
    tip = chain.sui.ledger.checkpoints.tip.sequence
    frames = await chain.list(start_checkpoint=tip - 1, end_checkpoint=tip)
    assert numbers(frames) == [2]
    assert frames[-1].end.reason == v2.QueryEndReason.CHECKPOINT_BOUND
    assert numbers(await chain.list(start_checkpoint=tip)) == [3]
    assert numbers(await chain.list(start_checkpoint=tip + 5)) == []


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ({"event_type": v2.EventTypeFilter(event_type=OPENED)}, [1, 2]),
        ({"event_type": v2.EventTypeFilter(event_type="0xaa::box")}, [1, 2]),
        ({"event_type": v2.EventTypeFilter(event_type="0xaa::box::Closed")}, []),
        ({"emit_module": v2.EmitModuleFilter(module="0xaa")}, [1, 2]),
        ({"emit_module": v2.EmitModuleFilter(module="0xaa::lid")}, []),
        ({"emit_module": v2.EmitModuleFilter(module="0xaa::lid"), "negated": True}, [1, 2]),
        ({"sender": v2.SenderFilter(address="0x7")}, []),
    ],
)
async def test_filters_choose_events(chain: Chain, literal: dict[str, Any], expected: list[int]) -> None:
    await chain.emit(1, 2)
    assert numbers(await chain.list(filter=events_of(**literal))) == expected


async def test_filters_that_say_nothing_are_refused(chain: Chain) -> None:
    for empty in (v2.EventFilter(), v2.EventFilter(terms=[v2.EventTerm()]), events_of()):
        with pytest.raises(GRPCError) as refused:
            await chain.list(filter=empty)
        assert refused.value.status is Status.INVALID_ARGUMENT


async def test_masks_apply_to_listed_events(chain: Chain) -> None:
    await chain.emit(1)
    frames = await chain.list(read_mask=FieldMask(paths=["contents.value"]))
    assert frames[0].event.contents.value == (1).to_bytes(8, "little")
    assert (frames[0].event.contents.name, frames[0].event.checkpoint) == (None, None)
    assert frames[0].watermark.cursor


# === Subscriptions ===


async def test_a_subscription_begins_at_the_tip_and_meets_the_list(chain: Chain) -> None:
    await chain.emit(1)
    frames = chain.streams[0].subscribe_events(v2.SubscribeEventsRequest())
    start = await anext(frames)
    assert start.event is None
    await chain.emit(2, 3)
    live = [await anext(frames) for _ in range(3)]
    assert [int(f.event.json.to_dict()["number"]) for f in live[:2]] == [2, 3]
    assert (live[2].event, live[2].watermark.checkpoint) == (None, live[1].watermark.checkpoint + 1)
    assert numbers(await chain.list(options=options(after=start.watermark.cursor))) == [2, 3]
    assert numbers(await chain.list(options=options(after=live[0].watermark.cursor))) == [3]
    assert numbers(await chain.list(options=options(after=live[2].watermark.cursor))) == []
    await frames.aclose()


async def test_a_filtered_subscription_still_reports_progress(chain: Chain) -> None:
    wanted = events_of(event_type=v2.EventTypeFilter(event_type=f"{NAME}::Closed"))
    frames = chain.streams[0].subscribe_events(v2.SubscribeEventsRequest(filter=wanted))
    start = await anext(frames)
    await chain.emit(1)
    progress = await anext(frames)
    assert progress.event is None
    assert progress.watermark.checkpoint == start.watermark.checkpoint + 1
    await frames.aclose()


async def test_checkpoints_stream_without_gaps(chain: Chain) -> None:
    mask = FieldMask(paths=["sequence_number", "transactions.digest"])
    frames = chain.streams[0].subscribe_checkpoints(v2.SubscribeCheckpointsRequest(read_mask=mask))
    reading = asyncio.create_task(_take(frames, 2))
    while not chain.sui.calls["SubscribeCheckpoints"]:  # noqa: ASYNC110 - the server has no event for this
        await asyncio.sleep(0.005)
    digests = [await chain.emit(1), await chain.emit(2)]
    first, second = await reading
    assert second.cursor == first.cursor + 1
    assert [frame.checkpoint.transactions[0].digest for frame in (first, second)] == digests


async def _take(frames: AsyncIterator[Any], count: int) -> list[Any]:
    return [await anext(frames) for _ in range(count)]


# === Misbehaviour ===


async def test_one_port_fails_while_the_other_answers(chain: Chain) -> None:
    chain.sui.misbehave(chain.port, fail={"GetServiceInfo": {"status": "UNAVAILABLE", "times": 2}})
    for _ in range(2):
        with pytest.raises(GRPCError) as failed:
            await chain.ledgers[0].get_service_info()
        assert failed.value.status is Status.UNAVAILABLE
    assert (await chain.ledgers[0].get_service_info()).chain_id
    chain.sui.misbehave(chain.port, fail={"*": "INTERNAL"})
    with pytest.raises(GRPCError):
        await chain.list()
    assert (await chain.ledgers[1].get_service_info()).chain_id
    chain.sui.behave(chain.port)
    assert await chain.list()


async def test_a_failure_after_the_work_leaves_the_sender_in_doubt(chain: Chain) -> None:
    encoded, signature = chain.sign(setting(chain.box, 9))
    request = v2.ExecuteTransactionRequest(
        transaction=v2.Transaction(bcs=v2.Bcs(value=encoded)),
        signatures=[v2.UserSignature(bcs=v2.Bcs(value=signature))],
    )
    stub = v2.TransactionExecutionServiceStub(chain.channels[0])
    chain.sui.misbehave(
        chain.port, fail={"ExecuteTransaction": {"status": "UNAVAILABLE", "after": True, "times": 1}}
    )
    with pytest.raises(GRPCError):
        await stub.execute_transaction(request)
    answer = await stub.execute_transaction(request)
    assert answer.transaction.effects.status.success
    assert chain.sui.ledger.counters.resubmitted == 1
    assert numbers(await chain.list()) == [9]


async def test_a_frozen_port_does_not_even_answer_pings(chain: Chain) -> None:
    await chain.ledgers[0].get_service_info()
    chain.sui.misbehave(chain.port, frozen=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(chain.ledgers[0].get_service_info(), 0.2)
    assert (await chain.ledgers[1].get_service_info()).chain_id
    chain.sui.misbehave(chain.port, frozen=False)
    assert (await asyncio.wait_for(chain.ledgers[0].get_service_info(), QUICK)).chain_id


async def test_streams_are_dropped(chain: Chain) -> None:
    frames = chain.streams[0].subscribe_events(v2.SubscribeEventsRequest())
    await anext(frames)
    chain.sui.drop_streams(chain.port)
    with pytest.raises(StreamTerminatedError):
        await asyncio.wait_for(anext(frames), QUICK)
    assert (await chain.ledgers[0].get_service_info()).chain_id
    chain.sui.misbehave(chain.port, drop_streams_after=1)
    frames = chain.streams[0].subscribe_events(v2.SubscribeEventsRequest())
    await anext(frames)
    await chain.emit(1)
    with pytest.raises(GRPCError):
        await asyncio.wait_for(anext(frames), QUICK)


async def test_events_are_doubled_withheld_and_forged(chain: Chain) -> None:
    digest = await chain.emit(1, 2)
    chain.sui.misbehave(chain.port, duplicate_events=True)
    assert numbers(await chain.list()) == [1, 1, 2, 2]
    chain.sui.misbehave(chain.port, duplicate_events=False, withhold_events=True)
    assert numbers(await chain.list()) == []
    assert numbers(await chain.list(port=1)) == [1, 2]
    chain.sui.misbehave(
        chain.port, withhold_events=False, forge={"event": {"sender": "0xbad", "contents.value": "ff"}}
    )
    frames = await chain.list()
    assert [(f.event.sender, f.event.contents.value) for f in frames[:2]] == [("0xbad", b"\xff")] * 2
    request = v2.GetTransactionRequest(digest=digest, read_mask=FieldMask(paths=["events"]))
    forged = (await chain.ledgers[0].get_transaction(request)).transaction
    assert forged.events.events[0].sender == "0xbad"


async def test_effects_and_objects_can_be_lied_about(chain: Chain) -> None:
    digest = await chain.emit(1)
    chain.sui.misbehave(chain.port, forge={"effects": {"status.success": False}, "object": {"version": 99}})
    request = v2.GetTransactionRequest(digest=digest, read_mask=FieldMask(paths=["effects.status"]))
    told = [(await one.get_transaction(request)).transaction.effects.status.success for one in chain.ledgers]
    assert told == [False, True]
    wanted = v2.GetObjectRequest(object_id=hex_address(chain.box.id))
    versions = [(await one.get_object(wanted)).object.version for one in chain.ledgers]
    assert versions[0] == 99 != versions[1]


async def test_a_lagging_port_serves_the_past(chain: Chain) -> None:
    await chain.emit(1)
    digest = await chain.emit(2)
    chain.sui.misbehave(chain.port, lag=1)
    assert numbers(await chain.list()) == [1]
    mask = FieldMask(paths=["contents"])
    wanted = v2.GetObjectRequest(object_id=hex_address(chain.box.id), read_mask=mask)
    contents = [(await one.get_object(wanted)).object.contents.value for one in chain.ledgers]
    assert [int.from_bytes(value[32:], "little") for value in contents] == [1, 2]
    heights = [(await one.get_service_info()).checkpoint_height for one in chain.ledgers]
    assert heights[0] + 1 == heights[1]
    with pytest.raises(GRPCError) as unknown:
        await chain.ledgers[0].get_transaction(v2.GetTransactionRequest(digest=digest))
    assert unknown.value.status is Status.NOT_FOUND
    await chain.emit(3)
    assert numbers(await chain.list()) == [1, 2]


async def test_a_lagging_port_tells_the_terms_of_the_epoch_that_it_knows(chain: Chain) -> None:
    chain.sui.misbehave(chain.port, lag=1)
    chain.sui.ledger.advance_epoch(reference_gas_price=1_500)
    request = v2.GetEpochRequest(read_mask=FieldMask(paths=["epoch", "reference_gas_price"]))
    told = [(await one.get_epoch(request)).epoch for one in chain.ledgers]
    assert [(epoch.epoch or 0, epoch.reference_gas_price) for epoch in told] == [(0, 1_000), (1, 1_500)]


async def test_a_pruned_port_says_how_far_back_it_knows(chain: Chain) -> None:
    digest = await chain.emit(1)
    await chain.emit(2)
    tip = chain.sui.ledger.checkpoints.tip.sequence
    chain.sui.misbehave(chain.port, lowest_available_checkpoint=tip)
    assert (await chain.ledgers[0].get_service_info()).lowest_available_checkpoint == tip
    assert numbers(await chain.list()) == [2]
    with pytest.raises(GRPCError):
        await chain.ledgers[0].get_transaction(v2.GetTransactionRequest(digest=digest))


async def test_misbehaviour_that_does_not_exist_is_refused(chain: Chain) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sulk": True}, "no misbehaviour 'sulk'"),
        ({"fail": {"*": "TIRED"}}, "no gRPC status"),
        ({"forge": {"truth": {}}}, "forge knows"),
    ]
    for changes, sentence in wrong:
        with pytest.raises(ValueError, match=sentence):
            chain.sui.misbehave(chain.port, **changes)


# === Faucet and control ===


async def post(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    payload = b"" if body is None else json.dumps(body).encode()
    writer.write(f"{method} {path} HTTP/1.1\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
    answer = await reader.read()
    writer.close()
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(text)


async def test_the_faucet_speaks_as_suis_does(chain: Chain) -> None:
    recipient = f"0x{'0f' * 32}"
    asked = {"FixedAmountRequest": {"recipient": recipient}}
    status, answer = await post(chain.sui.faucet_port, "POST", "/v2/gas", asked)
    (sent,) = answer["coins_sent"]
    assert (status, answer["status"]) == (200, "Success")
    found = await chain.ledgers[0].get_object(
        v2.GetObjectRequest(object_id=sent["id"], read_mask=FieldMask(paths=["balance", "owner"]))
    )
    assert (found.object.balance, found.object.owner.address) == (sent["amount"], recipient)
    status, answer = await post(chain.sui.faucet_port, "POST", "/v2/gas", {"FixedAmountRequest": {}})
    assert (status, "recipient" in answer["error"]) == (400, True)


async def test_the_control_port_moves_time_counts_and_sets_misbehaviour(chain: Chain) -> None:
    port = chain.sui.control_port
    assert await post(port, "POST", "/clock/advance", {"ms": 5}) == (200, {"ms": START_MS + 5})
    assert (await post(port, "PUT", "/clock", {"ms": 5}))[0] == 400
    assert await post(port, "POST", "/epoch", {"reference_gas_price": 1_200}) == (200, {"epoch": 1})
    status, settings = await post(port, "PUT", f"/ports/{chain.port}", {"lag": 2})
    assert (status, settings["lag"]) == (200, 2)
    assert chain.sui.endpoints[chain.port].misbehaviour.lag == 2
    assert (await post(port, "PUT", "/ports/1", {"lag": 2}))[0] == 404
    assert (await post(port, "PUT", f"/ports/{chain.port}", {"sulk": 2}))[0] == 400
    assert (await post(port, "POST", f"/ports/{chain.port}/drop"))[0] == 200
    await chain.ledgers[1].get_service_info()
    status, counted = await post(port, "GET", "/counters")
    assert counted["rpc"]["GetServiceInfo"] == 1
    assert counted["transactions"]["executed"] == chain.sui.ledger.counters.executed
    assert counted["bytes_stored"] == chain.sui.ledger.final.metered_bytes
