"""The journal as the event loop uses it: one thread, and one disk write for all that wait together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from listener_service.journal import Journal, JournalEntry

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class JournalWriter:
    """Asynchronous access to a `Journal`.

    While one commit waits for the disk the next entries gather, and share the following commit: the rate of
    mutations is not bound to the rate of synchronous writes.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._waiting: list[tuple[JournalEntry, asyncio.Future[bool]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def record(self, entry: JournalEntry) -> bool:
        """True when the entry is on disk and was not there before; False: it must not be executed.

        Raises `sqlite3.Error` if the disk fails; then too nothing may be executed.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await done

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    new = await self._run(self._journal.record, [entry for entry, _ in batch])
                except Exception as error:  # noqa: BLE001  handed to everybody who waits
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(error)
                    continue
                for (_, done), is_new in zip(batch, new, strict=True):
                    if not done.done():
                        done.set_result(is_new)
        finally:
            self._flushing = None

    async def mark_answered(self, seal: bytes, request_id: bytes) -> None:
        """See `Journal.mark_answered`."""
        await self._run(self._journal.mark_answered, [(seal, request_id)])

    async def is_recorded(self, seal: bytes, request_id: bytes) -> bool:
        """See `Journal.is_recorded`."""
        return await self._run(self._journal.is_recorded, seal, request_id)

    async def unanswered(self) -> list[JournalEntry]:
        """See `Journal.unanswered`."""
        return await self._run(self._journal.unanswered)

    async def watermark(self) -> int | None:
        """See `Journal.watermark`."""
        return await self._run(self._journal.watermark)

    async def set_watermark(self, checkpoint: int) -> None:
        """See `Journal.set_watermark`."""
        await self._run(self._journal.set_watermark, checkpoint)

    async def birth_ms(self, chain_now_ms: int) -> int:
        """See `Journal.birth_ms`."""
        return await self._run(self._journal.birth_ms, chain_now_ms)

    async def forget(self, now_ms: int) -> int:
        """See `Journal.forget`."""
        return await self._run(self._journal.forget, now_ms)

    async def close(self) -> None:
        """Ends the thread and releases the file."""
        await self._run(self._journal.close)
        self._thread.shutdown()

    async def _run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
