"""Memory for large replies: how large one is shows only while it is read, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager

from listener_service.queue.shares import Fit, Shares

SMALL_BYTES = 256 * 1024
"""Replies up to this size are part of what a command costs anyway, and never wait."""

# Its chunks, the whole, compressed, sealed.
_COPIES = 4


class Replies:
    """Replies that grow large take memory as `Shares` says; `capacity` in bytes, as of now.

    The one that has been large for longest always goes on, so two never wait for each other, and memory is
    exceeded by one reply at most.
    """

    def __init__(self, capacity: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._shares = Shares(0)
        self._large: OrderedDict[Reply, None] = OrderedDict()

    @property
    def used_bytes(self) -> int:
        return self._shares.used

    @contextmanager
    def reply(self, holder: bytes) -> Generator[Reply, None, None]:
        """Memory for one reply, kept until the end of the block: until it is answered."""
        reply = Reply(self, holder)
        try:
            yield reply
        finally:
            with self._changed:
                self._large.pop(reply, None)
                if reply.held_bytes:
                    self._shares.give_back(holder, reply.held_bytes)
                reply.held_bytes = 0
                reply.ended = True
                self._changed.notify_all()

    def grow(self, reply: Reply, size: int, deadline_s: float) -> bool:
        """See `Reply.grow`."""
        more = _COPIES * size - reply.held_bytes
        with self._changed:
            if reply.ended:
                return False
            self._large.setdefault(reply, None)

            def may_grow() -> bool:
                self._shares.capacity = self._capacity()
                return (
                    reply.ended
                    or next(iter(self._large)) is reply
                    or self._shares.fit(reply.holder, more) is Fit.YES
                )

            if not self._changed.wait_for(may_grow, max(0.0, deadline_s - self._monotonic())) or reply.ended:
                return False
            self._shares.take(reply.holder, more)
            reply.held_bytes += more
            return True


class Reply:
    """One reply. `held_bytes` is what it takes, 0 as long as it is small."""

    def __init__(self, replies: Replies, holder: bytes) -> None:
        self._replies = replies
        self.holder = holder
        self.held_bytes = 0
        self.ended = False

    def grow(self, size: int, deadline_s: float) -> bool:
        """It has this size now. Waits for memory, in a thread; False if there was none until `deadline_s` on
        the monotonic clock, or nobody wants the reply any more.
        """
        return size <= SMALL_BYTES or self._replies.grow(self, size, deadline_s)
