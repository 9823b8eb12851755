"""The tasks of the commands in work, and which of them nobody has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class InWork:
    """Used from one event loop. What nobody has claimed (reads among it) is a successor's once the term is
    over; what is claimed is nobody else's.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._unclaimed: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, command: Coroutine[None, None, None], ended: Callable[[], None]) -> None:
        """Starts a command, which nobody has claimed yet; `ended` is called when it is over in any way."""
        task = asyncio.create_task(command)
        self._tasks.add(task)
        self._unclaimed.add(task)

        def forget(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._unclaimed.discard(task)
            ended()

        task.add_done_callback(forget)

    def claiming(self) -> None:
        """The command that calls this may be claimed from now on."""
        self._unclaimed.discard(_current())

    def not_claimed(self) -> None:
        """The command that calls this tried to, and is not."""
        self._unclaimed.add(_current())

    async def wait(self, timeout_s: float) -> None:
        """Until those of now are over, at most `timeout_s` seconds."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)

    async def cut_unclaimed(self) -> int:
        """Ends what nobody has claimed; how many that were."""
        return await _cut(set(self._unclaimed))

    async def cut_all(self) -> int:
        """Ends what is left; how many that were."""
        return await _cut(set(self._tasks))


def _current() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None, "only commands are in work, and each is a task"
    return task


async def _cut(tasks: set[asyncio.Task[None]]) -> int:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return len(tasks)
