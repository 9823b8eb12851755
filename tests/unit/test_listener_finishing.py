"""What the leader Lease says about processes that finish what they claimed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from listener_service.finishing import FINISHING, read, written
from listener_service.leadership import Leadership, Term
from tests.unit import virtual_time
from tests.unit.memory_leases import MemoryLeases

NAME = "daas-listener-x"


def test_what_is_written_is_read_again_and_goes_when_its_time_is_over() -> None:
    first = written({"other": "kept"}, {"one": 100}, 10)
    both = written(first, {"two": 200, "one": 50}, 10)
    assert read(both) == {"one": 100, "two": 200}
    assert read(written(both, {}, 101)) == {"two": 200}
    assert written(both, {}, 201) == {"other": "kept"}


@pytest.mark.parametrize(
    "text", ["", "soon", "[1]", '{"one":"soon"}', '{"one":null}', "7", '{"one":Infinity}']
)
def test_what_no_listener_wrote_says_nothing(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read({FINISHING: text}) == {}
    assert len(caplog.records) == 1


def test_a_process_says_so_when_it_gives_the_lead_back_and_when_it_leads_again() -> None:
    async def main() -> None:
        clock = virtual_time.VirtualClock()
        leases = MemoryLeases(clock.now_ms)

        def replica(identity: str) -> Leadership:
            now_s = asyncio.get_running_loop().time
            return Leadership(leases, NAME, identity, 15, clock, boot_s=now_s)

        one, two = replica("one"), replica("two")
        until_ms = clock.now_ms() + 20_000
        first = await one.acquire()
        one.finishes(20.0)
        await one.release(first, None)
        second = await two.acquire()
        assert second.finishing == {"one": until_ms}
        two.finishes(30.0)
        await two.release(second, None)
        third = await replica("three").acquire()
        assert third.finishing.keys() == {"one", "two"}, "more than one may be at it"
        # One that lost the lead could write nothing; it says so when it leads again.
        leases.stored[NAME] = replace(leases.stored[NAME], holder="", annotations={})
        again: Term = await one.acquire()
        assert again.finishing == {"one": until_ms}

    virtual_time.run(main())
