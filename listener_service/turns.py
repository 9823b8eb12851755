"""Order among mutations: those of one named object run one after the other, as the chain ordered them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from k3s_daas.contract.attributes import OnChainAttributes

ObjectKey = tuple[str, str, str, str]


def object_key(attributes: OnChainAttributes) -> ObjectKey | None:
    """What a mutation must wait for: group, resource, namespace, name.

    None for reads, and without a name (generateName, deletecollection, non-resource requests).
    """
    if not attributes.resource or not attributes.name or attributes.verb in ("get", "list", "watch"):
        return None
    return (attributes.api_group, attributes.resource, attributes.namespace, attributes.name)


class Turn:
    """A place in the queue of one object, taken when it is made. Leave it in every case."""

    def __init__(self, line: list[Turn]) -> None:
        self._line = line
        self._first = asyncio.Event()
        line.append(self)
        if line[0] is self:
            self._first.set()

    async def wait(self) -> bool:
        """Returns when every earlier command on the object has left, and whether there was one."""
        had_to_wait = not self._first.is_set()
        await self._first.wait()
        return had_to_wait

    def leave(self) -> None:
        """Lets the next one go; also possible before one's turn has come. Leaving twice is harmless."""
        if self in self._line:
            self._line.remove(self)
            if self._line:
                self._line[0]._first.set()


class Turns:
    """The queues, by object; an object without commands in work takes no memory."""

    def __init__(self) -> None:
        self._lines: dict[ObjectKey, list[Turn]] = {}

    @asynccontextmanager
    async def take(self, key: ObjectKey | None) -> AsyncGenerator[Turn | None, None]:
        """A turn for the object, left at the end of the block at the latest."""
        if key is None:
            yield None
            return
        line = self._lines.setdefault(key, [])
        turn = Turn(line)
        try:
            yield turn
        finally:
            turn.leave()
            if not line and self._lines.get(key) is line:
                del self._lines[key]
