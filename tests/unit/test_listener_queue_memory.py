"""How much memory the queue is given: settings, cgroups of both versions, pressure."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from k3s_daas.sui.ledger import ChainEvent
from listener_service.event_source import SourcedEvent
from listener_service.queue.core import Queue
from listener_service.queue.dispatcher import Dispatcher
from listener_service.queue.memory import UNLIMITED_BYTES, Cgroup, MemoryBound, full_bound
from listener_service.queue.ticket import Kind, Ticket
from tests.unit import virtual_time

MIB = 1024 * 1024


def write(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "self-cgroup"


@pytest.fixture
def v2(tmp_path: Path, own: Path) -> Path:
    """A container's view: its own cgroup is the root."""
    own.write_text("0::/\n")
    root = tmp_path / "fs"
    write(
        root,
        cgroup__controllers="memory\n",
        memory__max=f"{256 * MIB}\n",
        memory__current=f"{100 * MIB}\n",
        memory__stat="anon 1\ninactive_file 0\n",
        memory__pressure="some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 total=0\n",
    )
    return root


def test_the_setting_comes_before_the_cgroup(v2: Path, own: Path) -> None:
    assert full_bound(10 * MIB, Cgroup(v2, own)) == 10 * MIB
    assert full_bound(None, Cgroup(v2, own)) == 64 * MIB


def test_without_any_limit_there_is_a_default(tmp_path: Path, v2: Path, own: Path) -> None:
    write(v2, memory__max="max\n")
    assert full_bound(None, Cgroup(v2, own)) == UNLIMITED_BYTES
    nothing = Cgroup(tmp_path / "none", tmp_path / "none")
    assert (nothing.limit_bytes(), nothing.is_pressed()) == (None, False)


def test_the_least_limit_of_those_around_counts(v2: Path, own: Path) -> None:
    own.write_text("0::/system.slice/listener.service\n")
    write(v2 / "system.slice", memory__max=f"{64 * MIB}\n")
    write(v2 / "system.slice" / "listener.service", memory__max=f"{512 * MIB}\n")
    assert Cgroup(v2, own).limit_bytes() == 64 * MIB


def test_version_1_is_read_as_well(tmp_path: Path, own: Path) -> None:
    own.write_text("9:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    root = tmp_path / "fs" / "memory"
    write(
        root / "docker" / "abc",
        memory__limit_in_bytes=f"{128 * MIB}\n",
        memory__usage_in_bytes=f"{120 * MIB}\n",
        memory__stat=f"inactive_file 7\ntotal_inactive_file {60 * MIB}\n",
    )
    write(root, memory__limit_in_bytes="9223372036854771712\n")
    cgroup = Cgroup(tmp_path / "fs", own)
    assert (cgroup.limit_bytes(), cgroup.is_pressed()) == (128 * MIB, False)
    write(root / "docker" / "abc", memory__stat="total_inactive_file 0\n")
    assert cgroup.is_pressed()


@pytest.mark.parametrize(
    ("change", "pressed"),
    [
        ({"memory__current": f"{250 * MIB}"}, True),
        ({"memory__current": f"{250 * MIB}", "memory__stat": f"inactive_file {60 * MIB}\n"}, False),
        ({"memory__pressure": "some avg10=10.01 avg60=0.00 avg300=0.00 total=9\n"}, True),
        ({"memory__pressure": "some avg10=9.99 avg60=50.00 avg300=0.00 total=9\n"}, False),
        ({"memory__pressure": "some avg10=1.2.3\n", "memory__current": "many"}, False),
    ],
)
def test_pressure_is_waiting_for_memory_or_nearly_no_memory_left(
    change: dict[str, str], pressed: bool, v2: Path, own: Path
) -> None:
    write(v2, **change)
    assert Cgroup(v2, own).is_pressed() is pressed


def test_the_bound_shrinks_under_pressure_and_grows_back(v2: Path, own: Path) -> None:
    now_s = 0.0
    bound = MemoryBound(64 * MIB, Cgroup(v2, own), monotonic=lambda: now_s)
    assert (bound.look(), bound.is_pressed) == (64 * MIB, False)
    write(v2, memory__pressure="some avg10=80.00 avg60=0.00 avg300=0.00 total=9\n")
    assert bound.look() == 64 * MIB, "the kernel is asked once a second at most"
    sizes = []
    for now_s in (1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0):  # noqa: B007  the bound's clock reads it
        sizes.append(bound.look() // MIB)
    assert sizes == [32, 16, 16, 8, 4, 4, 4]
    assert bound.is_pressed
    write(v2, memory__pressure="some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n")
    for second in range(7, 30):
        now_s = float(second)
        bound.look()
    assert (bound.now_bytes, bound.is_pressed) == (64 * MIB, False)


def test_a_queue_that_is_pressed_takes_less_and_takes_more_again_afterwards(v2: Path, own: Path) -> None:
    async def main() -> None:
        memory = MemoryBound(64 * MIB, Cgroup(v2, own), monotonic=asyncio.get_running_loop().time)
        queue = Queue(dict.fromkeys(Kind, 0), memory.now_bytes)
        dispatcher = Dispatcher(queue, memory, virtual_time.VirtualClock(), lambda _: None)
        running = asyncio.create_task(dispatcher.run())
        for _ in range(8):
            # A quarter of the bound is for what waits.
            async with asyncio.timeout(1):
                await dispatcher.put(waiting(MIB))
        write(v2, memory__pressure="some avg10=80.00 avg60=0.00 avg300=0.00 total=9\n")
        await asyncio.sleep(5)
        assert queue.bound_bytes == 4 * MIB
        put = asyncio.create_task(dispatcher.put(waiting(MIB)))
        await asyncio.sleep(60)
        assert not put.done(), "the stream is read on although memory is short"
        write(v2, memory__pressure="some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n")
        await asyncio.sleep(30)
        assert (queue.bound_bytes, put.done()) == (64 * MIB, True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual_time.run(main())


def waiting(size: int) -> Ticket:
    event = ChainEvent(bytes(32), "m", "t", bytes(32), b"", "digest", 0)
    return Ticket(
        SourcedEvent(event, replayed=False),
        b"holder",
        Kind.READ,
        None,
        10**15,
        0,
        waiting_bytes=size,
        work_bytes=1,
    )
