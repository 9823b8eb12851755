"""The adapter's event streams, from an endpoint that ends, freezes or goes silent."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from grpclib.const import Status
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.grpc_channel import Keepalive
from tests.integration.scripted_sui import ADDRESS, DIGEST, FILTER, Script, fails, ledger_at, replies


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
