"""Frames of one turn of the event loop go out together; none is lost, none waits."""

from __future__ import annotations

import asyncio

from k3s_daas.sui.grpc_writes import JoinedWrites


class Recorded(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 443)})
        self.events: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.events.append(bytes(data))

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")

    def is_closing(self) -> bool:
        return bool(self.events) and self.events[-1] in ("close", "abort")


async def test_what_one_turn_writes_is_one_write() -> None:
    below = Recorded()
    transport = JoinedWrites(below)
    transport.write(b"headers")
    transport.write(b"message")
    assert below.events == []
    await asyncio.sleep(0)
    assert below.events == [b"headersmessage"]
    transport.write(b"later")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert below.events == [b"headersmessage", b"later"]


async def test_much_is_written_at_once_so_that_writers_can_be_paused() -> None:
    below = Recorded()
    transport = JoinedWrites(below)
    transport.write(b"x" * 60_000)
    transport.write(b"y" * 6_000)
    assert below.events == [b"x" * 60_000 + b"y" * 6_000]
    transport.write(b"z")
    await asyncio.sleep(0)
    assert below.events[1:] == [b"z"]


async def test_what_is_held_goes_out_before_the_end_and_not_after_an_abort() -> None:
    closed, aborted = Recorded(), Recorded()
    for below in (closed, aborted):
        transport = JoinedWrites(below)
        transport.write(b"goodbye")
        transport.close() if below is closed else transport.abort()
        assert transport.is_closing()
        assert transport.get_extra_info("peername") == ("192.0.2.1", 443)
        await asyncio.sleep(0)
    assert closed.events == [b"goodbye", "close"]
    assert aborted.events == ["abort"]
