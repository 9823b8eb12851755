"""Transfers of bodies: a few at a time, in threads of their own, and again while the other side is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import urllib3

from k3s_daas.blobs.store import BlobUnavailableError
from listener_service.clock import Clock

T = TypeVar("T")

AT_A_TIME = 8
_ATTEMPTS = 3
_PAUSE_S = 0.2
_CONNECT_S = 3.0
_SILENCE_S = 5.0


class Transfers:
    """One pool of threads, named after what it transfers."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(max_workers=AT_A_TIME, thread_name_prefix=name)

    async def insist(self, transfer: Callable[[float], T], timeout_s: float) -> T:
        """What `transfer` returns, which is given its deadline on the monotonic clock (s).

        Raises `BlobUnavailableError` when the time or the attempts are used up, and whatever else it raises.
        """
        deadline = time.monotonic() + timeout_s
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            attempt += 1
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    return await loop.run_in_executor(self._threads, transfer, deadline)
            except TimeoutError:
                raise BlobUnavailableError("the blob store did not answer in time") from None
            except BlobUnavailableError:
                if attempt == _ATTEMPTS:
                    raise
            await self._clock.sleep(_PAUSE_S * attempt)

    def close(self) -> None:
        """Does not wait for transfers in work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def timeout_until(deadline: float) -> urllib3.Timeout:
    """For one exchange that shall end by `deadline` (monotonic, s)."""
    left_s = max(0.001, deadline - time.monotonic())
    return urllib3.Timeout(connect=min(_CONNECT_S, left_s), read=min(_SILENCE_S, left_s))
