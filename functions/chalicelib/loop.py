"""One event loop in a thread of its own, for everything that talks gRPC.

A gRPC channel belongs to the loop it was made on. With one `asyncio.run` per invocation a channel that is
kept between invocations hangs on its second use, after the server has executed the transaction. So there is
one loop for the life of the process, and the request threads hand it their coroutines.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from k3s_daas.errors import LedgerUnavailableError

T = TypeVar("T")


class EventLoopThread:
    """An event loop that runs in a daemon thread until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="daas-ledger-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run `work` on the loop and wait for it; its exception is raised here.

        After `timeout_s` the work is cancelled on the loop and TimeoutError raised.
        """
        return asyncio.run_coroutine_threadsafe(_bounded(work, timeout_s), self._loop).result()

    def ask(self, work: Coroutine[Any, Any, T], *, timeout_s: float, late: str) -> T:
        """The same for what asks the chain: raises LedgerUnavailableError with the sentence `late`."""
        try:
            return self.run(work, timeout_s=timeout_s)
        except TimeoutError:
            raise LedgerUnavailableError(late) from None

    def close(self) -> None:
        """Stop the loop and end its thread; coroutines that still run are cancelled."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.close()


async def _bounded(work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
    async with asyncio.timeout(timeout_s):
        return await work
