"""The adapter and its way to an endpoint: what became of a transaction, and what breaks meanwhile."""

import asyncio
import re
import socket
from typing import Any

import pytest
from grpclib.const import Status
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.ledger import ForgedReplyError
from tests.integration.scripted_sui import (
    ADDRESS,
    CHAIN,
    DIGEST,
    SIGNATURE,
    TRANSACTION,
    Script,
    executed,
    fails,
    ledger_at,
    object_message,
    replies,
)


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
