"""One write to the socket for what one turn of the event loop sends.

grpclib writes each frame by itself: a call's headers and its message were two system calls, two TLS records
and two wake-ups of the peer.
"""

from __future__ import annotations

import asyncio
from typing import Any

# Above this the socket's own buffer is told at once, so that it can ask the writers to pause.
_AT_ONCE_BYTES = 64 << 10


class JoinedWrites(asyncio.Transport):
    """A transport that holds what is written until the loop's next turn, or until it is closed."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held += data
        if len(self._held) >= _AT_ONCE_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            self._transport.write(data)
