"""A reply that goes on: filled by the thread that reads it, ended by whoever decides that it is enough."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from listener_service.frames import Frames, is_bookmark, splitter


class Stream(Protocol):
    """The body of a reply while it comes in (urllib3's response is one)."""

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """What there is, at least one byte; nothing at the end."""
        ...

    def shutdown(self) -> None:
        """Wakes a reader in another thread; there is nothing to read any more."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes. Beyond `most` a reply is an error; beyond `enough` it is cut, if it may be (not None)."""

    most: int
    enough: int | None


class UncutError(Exception):
    """The reply would have to be cut, and nobody knows where one of its events ends."""


class TooMuchError(Exception):
    """The reply is larger than the limit."""


class LiveReply:
    """One body. In the reading thread, `on_begin` is called when the reply has begun, and `on_event` whenever
    there is something new that is no bookmark."""

    def __init__(self, on_begin: Callable[[], None], on_event: Callable[[], None], limits: Limits) -> None:
        self._on_begin = on_begin
        self._on_event = on_event
        self._limits = limits
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._cut = False
        self._cut_short = False

    @property
    def was_cut_short(self) -> bool:
        """Whether its sender had more to say; false for a reply that had ended before."""
        return self._cut_short

    def cut(self) -> None:
        """Let the reading end now, from whatever thread. Does nothing to what has ended."""
        with self._lock:
            self._cut = True
            if self._stream is not None:
                _wake(self._stream)

    def read(self, stream: Stream, content_type: str, chunk_bytes: int) -> bytes:
        """Reads until the end or until cut; then only whole events are left.

        Raises what the stream raises, `TooMuchError`, and `UncutError`.
        """
        split = splitter(content_type)
        frames, size = Frames(split), 0
        self._begin(stream)
        self._on_begin()
        try:
            # A shut socket still gives what comes in, and a sender may never pause.
            while not self._cut and (chunk := self._next(stream, chunk_bytes)):
                size += len(chunk)
                if size > self._limits.most:
                    raise TooMuchError
                if not all(map(is_bookmark, frames.add(chunk))):
                    self._on_event()
                if self._limits.enough is not None and size > self._limits.enough:
                    self.cut()
                    break
        finally:
            with self._lock:
                self._stream = None
        if not self._cut:
            return frames.whole()
        self._cut_short = True
        if split is None:
            raise UncutError(f"a reply in the format {content_type!r} cannot be cut")
        return frames.complete()

    def _begin(self, stream: Stream) -> None:
        with self._lock:
            self._stream = stream
            if self._cut:
                _wake(stream)

    def _next(self, stream: Stream, chunk_bytes: int) -> bytes:
        try:
            return stream.read1(chunk_bytes, decode_content=False)
        except Exception:
            if self._cut:
                return b""
            raise


def _wake(stream: Stream) -> None:
    try:
        stream.shutdown()
    except (OSError, ValueError, RuntimeError):
        # It has ended in the meantime, and its connection serves somebody else: there is nobody to wake.
        return
