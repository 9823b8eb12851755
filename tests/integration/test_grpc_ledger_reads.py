"""What the adapter reads from an endpoint that may lie: objects and transactions."""

import asyncio
import datetime
from typing import Any

import pytest
from betterproto2 import encode_varint
from grpclib.const import Status
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.grpc_channel import MAX_MESSAGE_BYTES
from k3s_daas.sui.ledger import ForgedReplyError
from tests.integration.scripted_sui import (
    CHAIN,
    DIGEST,
    FILTER,
    SIGNATURE,
    TRANSACTION,
    Script,
    executed,
    fails,
    ledger_at,
    object_message,
    replies,
)


async def test_an_object_is_read() -> None:
    message = v2.GetObjectResponse(object=object_message())
    async with ledger_at(replies(message)) as (ledger, _):
        found = await ledger.get_object(b"\x01" * 32)
    assert found is not None
    assert (found.id, found.version, found.contents) == (b"\x01" * 32, 7, b"contents")
    assert (found.owner.kind, found.owner.initial_shared_version) == ("shared", 3)


async def test_what_is_not_found_is_none() -> None:
    async with ledger_at(fails(Status.NOT_FOUND)) as (ledger, _):
        assert await ledger.get_object(bytes(32)) is None
        assert await ledger.get_transaction(DIGEST) is None
        assert await ledger.get_signed_transaction(DIGEST) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"object_id": "0x" + "02" * 32},
        {"object_id": "0x" + "01" * 33},
        {"object_id": "no address"},
        {"version": None},
        {"digest": "no digest"},
        {"owner": None},
        {"owner": v2.Owner()},
        {"owner": v2.Owner(kind=v2.OwnerOwnerKind.ADDRESS)},
        {"previous_transaction": None},
    ],
)
async def test_an_object_that_is_not_the_one_asked_for_is_forged(changes: dict[str, Any]) -> None:
    message = v2.GetObjectResponse(object=object_message(**changes))
    async with ledger_at(replies(message)) as (ledger, _):
        with pytest.raises(ForgedReplyError):
            await ledger.get_object(b"\x01" * 32)


async def test_several_objects_come_in_the_order_asked_for() -> None:
    missing = v2.GetObjectResult(error=v2.___google__rpc__.Status(code=Status.NOT_FOUND.value))
    message = v2.BatchGetObjectsResponse(objects=[missing, v2.GetObjectResult(object=object_message())])
    async with ledger_at(replies(message)) as (ledger, _):
        nothing, found = await ledger.get_objects([bytes(32), b"\x01" * 32])
        assert nothing is None
        assert found is not None
        with pytest.raises(ForgedReplyError, match="3 objects"):
            await ledger.get_objects([bytes(32)] * 3)
        assert await ledger.get_objects([]) == []


async def test_a_transaction_must_hash_to_its_digest() -> None:
    message = v2.GetTransactionResponse(transaction=executed())
    message.transaction.transaction = v2.Transaction(bcs=v2.Bcs(value=TRANSACTION))
    message.transaction.signatures = [
        v2.UserSignature(bcs=v2.Bcs(value=SIGNATURE)),
        v2.UserSignature(bcs=v2.Bcs(value=bytes([97]) + SIGNATURE)),
    ]
    message.transaction.timestamp = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    async with ledger_at(replies(message)) as (ledger, _):
        found = await ledger.get_transaction(DIGEST)
        assert found is not None
        assert (found.bcs, found.signatures) == (TRANSACTION, [SIGNATURE, SIGNATURE])
        assert found.timestamp_ms == 1_767_225_600_000
        message.transaction.transaction = v2.Transaction(bcs=v2.Bcs(value=TRANSACTION[:-1] + b"\x01"))
        with pytest.raises(ForgedReplyError, match="do not hash"):
            await ledger.get_transaction(DIGEST)


def signed(**changes: Any) -> v2.ExecutedTransaction:
    """What an endpoint sends for the short read mask."""
    values = {
        "digest": DIGEST,
        "transaction": v2.Transaction(bcs=v2.Bcs(value=TRANSACTION)),
        "signatures": [v2.UserSignature(bcs=v2.Bcs(value=SIGNATURE))],
        "effects": v2.TransactionEffects(status=v2.ExecutionStatus(success=True), transaction_digest=DIGEST),
    }
    return v2.ExecutedTransaction(**(values | changes))


async def test_what_was_signed_is_read_without_what_it_did() -> None:
    message = v2.GetTransactionResponse(transaction=signed())
    async with ledger_at(replies(message)) as (ledger, _):
        found = await ledger.get_signed_transaction(DIGEST)
    assert found is not None
    assert (found.bcs, list(found.signatures), found.success) == (TRANSACTION, [SIGNATURE], True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transaction": v2.Transaction(bcs=v2.Bcs(value=b"\x01"))}, "do not hash"),
        ({"transaction": None}, "lacks the transaction"),
        ({"effects": None}, "lacks effects"),
        ({"effects": v2.TransactionEffects()}, "lacks the status"),
        (
            {
                "effects": v2.TransactionEffects(
                    status=v2.ExecutionStatus(success=True), transaction_digest=CHAIN
                )
            },
            "another transaction",
        ),
    ],
)
async def test_a_signed_transaction_that_is_not_the_one_asked_for_is_forged(
    changes: dict[str, Any], words: str
) -> None:
    message = v2.GetTransactionResponse(transaction=signed(**changes))
    async with ledger_at(replies(message)) as (ledger, _):
        with pytest.raises(ForgedReplyError, match=words):
            await ledger.get_signed_transaction(DIGEST)


async def test_a_transaction_that_failed_says_so() -> None:
    effects = v2.TransactionEffects(status=v2.ExecutionStatus(success=False), transaction_digest=DIGEST)
    message = v2.GetTransactionResponse(transaction=signed(effects=effects))
    async with ledger_at(replies(message)) as (ledger, _):
        found = await ledger.get_signed_transaction(DIGEST)
    assert found is not None
    assert not found.success


async def test_junk_on_the_wire_is_a_ledger_error() -> None:
    async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(junk, "127.0.0.1", 0)
    ledger = GrpcLedger(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=2)
    with pytest.raises(LedgerUnavailableError):
        await ledger.service_info()
    await ledger.close()
    server.close()
    await server.wait_closed()


def _nested(levels: int) -> bytes:
    """An object's JSON (field 100), a list in a list and so on: more than Python's stack holds."""
    value = b""
    for _ in range(levels):
        inner = b"\x0a" + encode_varint(len(value)) + value
        value = b"\x32" + encode_varint(len(inner)) + inner
    found = b"\xa2\x06" + encode_varint(len(value)) + value
    return bytes(b"\x0a" + encode_varint(len(found)) + found)


def _raw(reply: bytes) -> Script:
    async def script(_: Any, stream: Any) -> None:
        await stream.send_initial_metadata()
        await stream._stream.send_data(b"\0" + len(reply).to_bytes(4, "big") + reply)

    return script


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(_nested(2000), id="nesting without end"),
        pytest.param(b"\x0a\x0d\x52\x0b\x08" + b"\xff" * 9 + b"\x01", id="a number for the contents"),
    ],
)
async def test_a_reply_that_is_no_message_is_forged(reply: bytes) -> None:
    async with ledger_at(_raw(reply)) as (ledger, _):
        with pytest.raises(ForgedReplyError, match="cannot be read"):
            await ledger.get_object(b"\x01" * 32)


async def test_a_moment_that_no_calendar_has_is_forged() -> None:
    moment = b"\x08" + encode_varint(2**62)
    async with ledger_at(_raw(b"\x2a" + encode_varint(len(moment)) + moment)) as (ledger, _):
        with pytest.raises(ForgedReplyError, match="cannot be read"):
            await ledger.service_info()


@pytest.mark.parametrize("announced", [MAX_MESSAGE_BYTES + 1, 2**32 - 1])
async def test_a_message_larger_than_the_bound_is_refused_before_it_is_read(announced: int) -> None:
    async def bomb(_: Any, stream: Any) -> None:
        await stream.send_initial_metadata()
        await stream._stream.send_data(b"\0" + announced.to_bytes(4, "big") + bytes(1000))
        await asyncio.Event().wait()

    async with ledger_at(bomb) as (ledger, endpoint):
        with pytest.raises(ForgedReplyError, match=f"a message of {announced} bytes"):
            await ledger.service_info()
        frames = ledger.subscribe_events(FILTER)
        with pytest.raises(ForgedReplyError, match=f"a message of {announced} bytes"):
            await anext(frames)
    # Not asked again: another attempt would bring the same.
    assert len(endpoint.requests) == 2


async def test_a_message_as_large_as_the_bound_is_read() -> None:
    room = MAX_MESSAGE_BYTES - 1000
    message = v2.GetObjectResponse(object=object_message(contents=v2.Bcs(value=bytes(room))))
    async with ledger_at(replies(message)) as (ledger, _):
        found = await ledger.get_object(b"\x01" * 32)
    assert found is not None
    assert len(found.contents) == room
