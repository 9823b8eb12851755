"""The adapter against an endpoint that says and does what each test scripts, lies and failures included."""

import asyncio
import datetime
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.grpc_channel import MAX_MESSAGE_BYTES, Keepalive
from k3s_daas.sui.ledger import EventFilter, ForgedReplyError
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, transaction_digest

Script = Callable[[Any, Any], Awaitable[None]]
CHAIN = to_base58(bytes(range(32)))
ADDRESS = "0x" + "01" * 32
TRANSACTION = PtbBuilder().build(b"\x08" * 32, gas=AddressBalanceGas(1, 1, 1, CHAIN, 0))
DIGEST = transaction_digest(TRANSACTION)
SIGNATURE = b"\x00" + bytes(96)
FILTER = EventFilter((f"{ADDRESS}::events::Something",))
METHODS = {
    "LedgerService/GetServiceInfo": Cardinality.UNARY_UNARY,
    "LedgerService/GetObject": Cardinality.UNARY_UNARY,
    "LedgerService/BatchGetObjects": Cardinality.UNARY_UNARY,
    "LedgerService/GetTransaction": Cardinality.UNARY_UNARY,
    "LedgerService/ListEvents": Cardinality.UNARY_STREAM,
    "SubscriptionService/SubscribeEvents": Cardinality.UNARY_STREAM,
    "TransactionExecutionService/ExecuteTransaction": Cardinality.UNARY_UNARY,
}


class ScriptedEndpoint:
    """Every method runs `script(request, stream)`; requests are kept."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Any] = []

    async def _serve(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.requests.append(request)
        await self._script(request, stream)

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/sui.rpc.v2.{path}": Handler(
                self._serve,
                cardinality,
                getattr(v2, path.partition("/")[2] + "Request"),
                getattr(v2, path.partition("/")[2] + "Response"),
            )
            for path, cardinality in METHODS.items()
        }


@asynccontextmanager
async def ledger_at(script: Script, **settings: Any) -> AsyncIterator[tuple[GrpcLedger, ScriptedEndpoint]]:
    endpoint = ScriptedEndpoint(script)
    server = Server([endpoint])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]
    ledger = GrpcLedger(f"http://127.0.0.1:{port}", **settings)
    try:
        yield ledger, endpoint
    finally:
        await ledger.close()
        server.close()
        await server.wait_closed()


def executed(digest: str = DIGEST, **status: Any) -> v2.ExecutedTransaction:
    return v2.ExecutedTransaction(
        digest=digest,
        effects=v2.TransactionEffects(
            status=v2.ExecutionStatus(**(status or {"success": True})),
            gas_used=v2.GasCostSummary(computation_cost=1000, storage_cost=500, storage_rebate=700),
            transaction_digest=digest,
        ),
    )


def replies(*messages: Any) -> Script:
    async def script(_: Any, stream: Any) -> None:
        for message in messages:
            await stream.send_message(message)

    return script


def fails(status: Status, message: str = "") -> Script:
    async def script(_: Any, __: Any) -> None:
        raise GRPCError(status, message)

    return script


# --- execute


async def test_execute_returns_the_effects_of_our_bytes() -> None:
    message = v2.ExecuteTransactionResponse(transaction=executed())
    async with ledger_at(replies(message)) as (ledger, endpoint):
        outcome = await ledger.execute(TRANSACTION, SIGNATURE)
    assert (outcome.digest, outcome.success, outcome.abort, outcome.gas_used) == (DIGEST, True, None, 800)
    [request] = endpoint.requests
    assert request.transaction.bcs.value == TRANSACTION
    assert [signature.bcs.value for signature in request.signatures] == [SIGNATURE]
    assert "*" not in request.read_mask.paths


async def test_an_abort_is_a_reply() -> None:
    error = v2.ExecutionError(
        kind=v2.ExecutionErrorExecutionErrorKind.MOVE_ABORT,
        command=1,
        abort=v2.MoveAbort(
            abort_code=307,
            location=v2.MoveLocation(package=ADDRESS, module="seal", function_name="assert_may_write"),
        ),
    )
    message = v2.ExecuteTransactionResponse(transaction=executed(success=False, error=error))
    async with ledger_at(replies(message)) as (ledger, _):
        outcome = await ledger.execute(TRANSACTION, SIGNATURE)
    assert outcome.success is False
    assert outcome.abort is not None
    assert (outcome.abort.module, outcome.abort.code, outcome.abort.command) == ("seal", 307, 1)
    assert (outcome.abort.package, outcome.abort.function) == (b"\x01" * 32, "assert_may_write")
    assert outcome.failure == "MOVE_ABORT in command 1"


@pytest.mark.parametrize(
    "transaction",
    [
        executed(digest=CHAIN),
        v2.ExecutedTransaction(digest=DIGEST),
        v2.ExecutedTransaction(digest=DIGEST, effects=v2.TransactionEffects()),
        None,
    ],
)
async def test_effects_of_something_else_are_forged(transaction: Any) -> None:
    message = v2.ExecuteTransactionResponse(transaction=transaction)
    async with ledger_at(replies(message)) as (ledger, _):
        with pytest.raises(ForgedReplyError):
            await ledger.execute(TRANSACTION, SIGNATURE)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (Status.INVALID_ARGUMENT, "Gas price 1 under reference gas price (RGP) 1000", "gas-price"),
        (Status.INVALID_ARGUMENT, "Transaction Expired", "expired"),
        (Status.INVALID_ARGUMENT, "Invalid user signature", "signature"),
        (Status.FAILED_PRECONDITION, "Object 0x1 version 3 is not available for consumption", "stale-object"),
        (Status.FAILED_PRECONDITION, "Insufficient address balance", "insufficient-funds"),
        (Status.INVALID_ARGUMENT, "Invalid chain ID", "wrong-chain"),
        (Status.INVALID_ARGUMENT, "no", "invalid"),
        (Status.FAILED_PRECONDITION, "no", "precondition"),
        (Status.UNIMPLEMENTED, "no", "unimplemented"),
    ],
)
async def test_a_definite_refusal_has_a_kind_and_is_not_repeated(
    status: Status, message: str, kind: str
) -> None:
    async with ledger_at(fails(status, message)) as (ledger, endpoint):
        with pytest.raises(TransactionRefusedError, match=re.escape(message)) as caught:
            await ledger.execute(TRANSACTION, SIGNATURE)
    assert caught.value.kind == kind
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "status", [Status.UNAVAILABLE, Status.ABORTED, Status.INTERNAL, Status.DEADLINE_EXCEEDED, Status.UNKNOWN]
)
async def test_any_other_status_says_nothing_about_the_effect(status: Status) -> None:
    async with ledger_at(fails(status)) as (ledger, _):
        with pytest.raises(LedgerUnavailableError):
            await ledger.execute(TRANSACTION, SIGNATURE)


def breaks_first(then: Script) -> Script:
    """The first call's connection is cut without an answer."""
    calls = 0

    async def script(request: Any, stream: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            stream._stream._transport.abort()
            return
        await then(request, stream)

    return script


async def test_a_broken_connection_is_tried_once_more_with_the_same_bytes() -> None:
    message = v2.ExecuteTransactionResponse(transaction=executed())
    async with ledger_at(breaks_first(replies(message))) as (ledger, endpoint):
        outcome = await ledger.execute(TRANSACTION, SIGNATURE)
    assert outcome.success
    first, second = endpoint.requests
    assert bytes(first) == bytes(second)


async def test_a_broken_connection_leaves_the_callers_own_timeouts_intact() -> None:
    """grpclib cancels the waiting task and never takes it back: an outer timeout would then escape as a
    cancellation."""

    async def break_then_hang(_: Any, __: Any) -> None:
        await asyncio.Event().wait()

    async with ledger_at(breaks_first(break_then_hang)) as (ledger, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await ledger.execute(TRANSACTION, SIGNATURE)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_connection_that_breaks_twice_is_unavailable() -> None:
    async with ledger_at(breaks_first(breaks_first(replies()))) as (ledger, endpoint):
        with pytest.raises(LedgerUnavailableError):
            await ledger.execute(TRANSACTION, SIGNATURE)
    assert len(endpoint.requests) == 2


async def test_a_refusal_after_a_break_is_not_definite() -> None:
    """The first attempt may have reached a validator."""
    async with ledger_at(breaks_first(fails(Status.FAILED_PRECONDITION, "stale version"))) as (ledger, _):
        with pytest.raises(LedgerUnavailableError, match="second attempt was refused"):
            await ledger.execute(TRANSACTION, SIGNATURE)


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ledger = GrpcLedger(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(LedgerUnavailableError, match="check that it runs"):
            await ledger.execute(TRANSACTION, SIGNATURE)
        await ledger.close()


async def test_a_call_ends_at_its_deadline() -> None:
    async def never(_: Any, __: Any) -> None:
        await asyncio.Event().wait()

    async with ledger_at(never, timeout_s=0.1, execute_timeout_s=0.1) as (ledger, endpoint):
        with pytest.raises(LedgerUnavailableError, match=r"within 0\.1 s"):
            await ledger.execute(TRANSACTION, SIGNATURE)
        with pytest.raises(LedgerUnavailableError, match=r"within 0\.1 s"):
            await ledger.get_object(bytes(32))
    assert len(endpoint.requests) == 2, "what ran out of time is not repeated"


# --- reads


def object_message(**changes: Any) -> v2.Object:
    values: dict[str, Any] = {
        "object_id": ADDRESS,
        "version": 7,
        "digest": CHAIN,
        "object_type": "0x2::m::T",
        "owner": v2.Owner(kind=v2.OwnerOwnerKind.SHARED, version=3),
        "contents": v2.Bcs(value=b"contents"),
        "previous_transaction": CHAIN,
    }
    return v2.Object(**(values | changes))


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


# --- event streams


def event_message(index: int = 0) -> v2.Event:
    return v2.Event(
        package_id=ADDRESS,
        module="events",
        sender=ADDRESS,
        event_type=FILTER.types[0],
        contents=v2.Bcs(value=bytes([index])),
        checkpoint=5,
        transaction_digest=DIGEST,
        event_index=index,
    )


def listed(index: int | None, cursor: bytes, reason: Any = None) -> v2.ListEventsResponse:
    return v2.ListEventsResponse(
        event=None if index is None else event_message(index),
        watermark=v2.Watermark(cursor=cursor, checkpoint=4),
        end=None if reason is None else v2.QueryEnd(reason=reason),
    )


async def collect(ledger: GrpcLedger) -> list[int]:
    found: list[int] = []
    async with aclosing(ledger.list_events(FILTER, 0)) as pages:
        async for page in pages:
            found.extend(event.event_index for event in page.events)
    return found


async def test_pages_follow_each_other_until_the_tip() -> None:
    async def script(request: Any, stream: Any) -> None:
        if not request.options.after:
            await stream.send_message(listed(0, b"\x01"))
            await stream.send_message(listed(1, b"\x02", v2.QueryEndReason.ITEM_LIMIT))
        elif request.options.after == b"\x02":
            await stream.send_message(listed(None, b"\x03", v2.QueryEndReason.SCAN_LIMIT))
        else:
            await stream.send_message(listed(2, b"\x04"))
            await stream.send_message(listed(None, b"\x05", v2.QueryEndReason.LEDGER_TIP))

    async with ledger_at(script) as (ledger, endpoint):
        assert await collect(ledger) == [0, 1, 2]
    assert [request.options.after for request in endpoint.requests] == [None, b"\x02", b"\x03"]
    assert endpoint.requests[0].filter.terms[0].literals[0].event_type.event_type == FILTER.types[0]


@pytest.mark.parametrize(
    "script",
    [
        replies(listed(0, b"\x01")),
        replies(*[listed(0, b"\x01")] * 201, listed(None, b"\x02", v2.QueryEndReason.LEDGER_TIP)),
        replies(),
        fails(Status.INTERNAL),
        replies(listed(0, b"\x01", v2.QueryEndReason.UNKNOWN)),
        replies(listed(None, b"\x01", v2.QueryEndReason.SCAN_LIMIT)),
        replies(v2.ListEventsResponse(end=v2.QueryEnd(reason=v2.QueryEndReason.LEDGER_TIP))),
    ],
)
async def test_a_list_that_does_not_end_properly_is_an_error(script: Script) -> None:
    async with ledger_at(script) as (ledger, _):
        with pytest.raises(LedgerUnavailableError):
            await collect(ledger)


def frame(index: int | None, cursor: bytes = b"\x01") -> v2.SubscribeEventsResponse:
    return v2.SubscribeEventsResponse(
        event=None if index is None else event_message(index),
        watermark=v2.Watermark(cursor=cursor, checkpoint=4),
    )


async def test_a_subscription_that_ends_is_an_error() -> None:
    async with ledger_at(replies(frame(None), frame(0))) as (ledger, _):
        frames = ledger.subscribe_events(FILTER)
        assert (await anext(frames)).event is None
        assert (await anext(frames)).event is not None
        with pytest.raises(LedgerUnavailableError, match="subscribe again"):
            await anext(frames)


async def test_a_silent_subscription_ends_at_its_idle_timeout() -> None:
    async def silent(_: Any, stream: Any) -> None:
        await stream.send_message(frame(None))
        await asyncio.Event().wait()

    async with ledger_at(silent) as (ledger, _):
        frames = ledger.subscribe_events(FILTER, idle_timeout_s=0.1)
        assert (await anext(frames)).checkpoint == 4
        with pytest.raises(LedgerUnavailableError, match=r"nothing for 0\.1 s"):
            await anext(frames)


async def test_closing_a_subscription_ends_it_at_the_endpoint() -> None:
    ended = asyncio.Event()

    async def endless(_: Any, stream: Any) -> None:
        try:
            await stream.send_message(frame(None))
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with ledger_at(endless) as (ledger, _):
        frames = ledger.subscribe_events(FILTER)
        await anext(frames)
        await frames.aclose()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_keepalive_finds_a_frozen_peer() -> None:
    """It accepts the connection and says nothing for ever; only pings can tell."""
    accepted = asyncio.Event()

    async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        try:
            while await reader.read(1000):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(frozen, "127.0.0.1", 0)
    ledger = GrpcLedger(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        keepalive=Keepalive(interval_s=0.05, timeout_s=0.1),
        idle_timeout_s=60,
    )
    async with asyncio.timeout(10):
        with pytest.raises(LedgerUnavailableError):
            await anext(ledger.subscribe_events(FILTER))
    assert accepted.is_set()
    await ledger.close()
    server.close()
    await server.wait_closed()


# --- where it connects


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9000",
        "ftp://host",
        "http://",
        "http://host/path",
        "http://host:port",
        "https://u:p@host",
        "",
    ],
)
def test_a_url_that_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        GrpcLedger(url)


def test_a_ledger_belongs_to_one_event_loop() -> None:
    """A call from another loop would hang, after the endpoint has executed it."""

    async def use(ledger: GrpcLedger) -> None:
        with pytest.raises(LedgerUnavailableError):
            await ledger.service_info()

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ledger = GrpcLedger(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with asyncio.Runner() as runner:
            runner.run(use(ledger))
        with asyncio.Runner() as runner, pytest.raises(RuntimeError, match="one event loop"):
            runner.run(use(ledger))


async def test_a_closed_ledger_stays_closed() -> None:
    async with ledger_at(replies(v2.GetObjectResponse(object=object_message()))) as (ledger, _):
        assert await ledger.get_object(b"\x01" * 32) is not None
        await ledger.close()
        with pytest.raises(LedgerUnavailableError, match="closed"):
            await ledger.get_object(b"\x01" * 32)
