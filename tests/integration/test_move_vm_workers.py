"""The VM's worker processes: determinism, parallelism, crashes, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local.sui.compiler import CompiledPackage, compile_package
from infra.local.sui.execution import CallOutcome, MoveCall, MoveExecutionError, PureInput, TxFrame
from infra.local.sui.vm import SandboxVm

PACKAGE = b"\x66" * 32
FRAME = TxFrame(b"\xa1" * 32, b"\xd1" * 32, 0, 0, 0)


@pytest.fixture(scope="module")
def compiled() -> CompiledPackage:
    return compile_package(Path(__file__).parent / "packages" / "guide")


@pytest.fixture
async def vm(compiled: CompiledPackage) -> AsyncIterator[SandboxVm]:
    vm = SandboxVm(workers=2)
    vm.publish(PACKAGE, compiled.modules, compiled.dependencies)
    yield vm
    await vm.close()


async def badge(vm: SandboxVm, number: int) -> CallOutcome:
    argument = PureInput(number.to_bytes(8, "little"))
    return await vm.call(MoveCall(PACKAGE, "guide", "badge", (), (argument,)), FRAME, {}, clock_ms=0)


async def forever(vm: SandboxVm) -> CallOutcome:
    return await vm.call(MoveCall(PACKAGE, "guide", "walk_on", (), ()), FRAME, {}, clock_ms=0)


def is_running(pid: int) -> bool:
    """A zombie that nobody has waited for does not run."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text() if Path("/proc").is_dir() else ""
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[:1] != ["Z"]


async def test_no_process_is_started_before_the_first_call(vm: SandboxVm) -> None:
    assert vm.worker_pids == []


async def test_the_same_call_gives_the_same_outcome_in_every_worker(vm: SandboxVm) -> None:
    outcomes = await asyncio.gather(*(badge(vm, 7) for _ in range(6)))
    assert len(vm.worker_pids) == 2
    assert all(outcome == outcomes[0] for outcome in outcomes)


async def test_answers_go_to_whom_they_belong(vm: SandboxVm) -> None:
    outcomes = await asyncio.gather(*(badge(vm, number) for number in range(10)))
    numbers = [int.from_bytes(outcome.returns[0].contents[32:], "little") for outcome in outcomes]
    assert numbers == list(range(10))


async def test_a_worker_that_was_killed_is_replaced(vm: SandboxVm) -> None:
    await asyncio.gather(badge(vm, 1), badge(vm, 2))
    before = vm.worker_pids
    running = asyncio.create_task(forever(vm))
    await asyncio.sleep(0)  # the call is with a worker now, or about to be
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(MoveExecutionError, match="process ended with code -9"):
        await running
    outcomes = await asyncio.gather(badge(vm, 3), badge(vm, 4), return_exceptions=True)
    # The other worker's death shows at its next call at the latest; after that all is well.
    assert all(isinstance(one, CallOutcome | MoveExecutionError) for one in outcomes)
    assert (await badge(vm, 5)).returns[0].contents[32:] == (5).to_bytes(8, "little")
    assert not set(before) & set(vm.worker_pids)


async def test_a_call_that_takes_too_long_fails_and_its_worker_is_replaced(
    compiled: CompiledPackage,
) -> None:
    vm = SandboxVm(workers=1, call_seconds=0.3)
    vm.publish(PACKAGE, compiled.modules, compiled.dependencies)
    try:
        with pytest.raises(MoveExecutionError, match="did not end within"):
            await forever(vm)
        assert vm.worker_pids == []
    finally:
        await vm.close()


async def test_a_cancelled_call_does_not_answer_the_next_one(vm: SandboxVm) -> None:
    await asyncio.gather(badge(vm, 1), badge(vm, 2))
    running = asyncio.create_task(forever(vm))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    outcomes = await asyncio.gather(*(badge(vm, number) for number in (3, 4, 5)))
    assert [outcome.returns[0].contents[32] for outcome in outcomes] == [3, 4, 5]


async def test_closing_ends_the_processes(compiled: CompiledPackage) -> None:
    vm = SandboxVm(workers=2)
    vm.publish(PACKAGE, compiled.modules, compiled.dependencies)
    await asyncio.gather(badge(vm, 1), badge(vm, 2))
    pids = vm.worker_pids
    assert len(pids) == 2
    await vm.close()
    assert not any(map(is_running, pids))


async def test_what_the_library_prints_goes_nowhere(
    compiled: CompiledPackage, capfd: pytest.CaptureFixture[str]
) -> None:
    vm = SandboxVm(workers=1)
    vm.publish(PACKAGE, compiled.modules, compiled.dependencies)
    await vm.call(MoveCall(PACKAGE, "guide", "shout", (), ()), FRAME, {}, clock_ms=0)
    await vm.close()
    assert capfd.readouterr() == ("", "")


def test_a_pool_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        SandboxVm(workers=0)


async def test_workers_do_not_outlive_a_parent_that_was_killed() -> None:
    program = (
        "import asyncio, os, pathlib, sys\n"
        "sys.path.insert(0, os.getcwd())\n"
        "from infra.local.sui.compiler import compile_package\n"
        "from infra.local.sui.execution import MoveCall, PureInput, TxFrame\n"
        "from infra.local.sui.vm import SandboxVm\n"
        "async def main():\n"
        "    vm, package = SandboxVm(workers=1), bytes([102]) * 32\n"
        "    built = compile_package(pathlib.Path(sys.argv[1]))\n"
        "    vm.publish(package, built.modules, built.dependencies)\n"
        "    call = MoveCall(package, 'guide', 'badge', (), (PureInput(bytes(8)),))\n"
        "    await vm.call(call, TxFrame(bytes(32), bytes(32), 0, 0, 0), {}, clock_ms=0)\n"
        "    print(vm.worker_pids[0], flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(Path(__file__).parent / "packages" / "guide"),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    printed, _ = await parent.communicate()
    assert parent.returncode == -signal.SIGKILL
    worker = int(printed)
    async with asyncio.timeout(5):
        while is_running(worker):  # noqa: ASYNC110 - nobody signals the end of a process that is not ours
            await asyncio.sleep(0.02)
