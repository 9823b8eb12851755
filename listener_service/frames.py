"""Where one watch event ends and the next begins, in the bytes of a reply that goes on.

A reply that is cut must end between two events: a client that reads half of one reports an error, or takes
the rest for lost. Events are not decoded; only their ends are found, and whether they are bookmarks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_LENGTH = struct.Struct(">I")
_JSON_BOOKMARK = b'{"type":"BOOKMARK"'
# `WatchEvent.type` stands directly behind the envelope of a protobuf frame (magic, type, length).
_PROTOBUF_BOOKMARK = b"\n\x08BOOKMARK"
_PROTOBUF_HEAD = 48

# From a buffer and where a frame begins in it: the length of that frame, 0 as long as it is not complete.
Splitter = Callable[[bytearray, int], int]


def splitter(content_type: str) -> Splitter | None:
    """How the frames of this type are told apart; None if nobody knows, and the reply must not be cut."""
    media = content_type.partition(";")[0].strip().lower()
    if media in ("application/json", "text/plain"):
        return _line
    if media == "application/vnd.kubernetes.protobuf":
        return _prefixed
    return None


def is_bookmark(frame: bytes) -> bool:
    """Whether this event only says how far the watch is."""
    return frame.startswith(_JSON_BOOKMARK) or _PROTOBUF_BOOKMARK in frame[:_PROTOBUF_HEAD]


def _line(buffer: bytearray, start: int) -> int:
    end = buffer.find(b"\n", start)
    return 0 if end < 0 else end + 1 - start


def _prefixed(buffer: bytearray, start: int) -> int:
    if len(buffer) - start < _LENGTH.size:
        return 0
    length = _LENGTH.size + int(_LENGTH.unpack_from(buffer, start)[0])
    return length if len(buffer) - start >= length else 0


class Frames:
    """Collects a reply and knows its last complete frame. `split` of None: no frame is ever complete."""

    def __init__(self, split: Splitter | None) -> None:
        self._split = split
        self._buffer = bytearray()
        self._complete = 0

    def add(self, data: bytes) -> list[bytes]:
        """The frames that are complete now and were not before."""
        self._buffer += data
        found: list[bytes] = []
        while self._split is not None and (length := self._split(self._buffer, self._complete)) > 0:
            found.append(bytes(self._buffer[self._complete : self._complete + length]))
            self._complete += length
        return found

    def whole(self) -> bytes:
        """Everything: for a reply that ended by itself."""
        return bytes(self._buffer)

    def complete(self) -> bytes:
        """Up to the end of the last complete frame: for a reply that is cut."""
        return bytes(self._buffer[: self._complete])
