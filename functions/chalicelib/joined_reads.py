"""Reads of single objects that are asked for at the same moment, as one call to the chain.

A call costs more CPU than what it brings, whatever that is: cluster, seal and grant together cost little more
than one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from k3s_daas.sui.ledger import ChainObject, Ledger, ServiceInfo


class JoinedReads:
    """`ObjectReads` on the ledger's event loop. Who shares a call shares its failure."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[bytes, asyncio.Future[ChainObject | None]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def service_info(self) -> ServiceInfo:
        """See `Ledger.service_info`."""
        return await self._ledger.service_info()

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        """See `Ledger.get_objects`."""
        return await self._ledger.get_objects(object_ids)

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        """See `Ledger.get_object`; together with the others of this round of the event loop."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # Runs after everybody who is ready now.
            loop.call_soon(self._start)
        answer = self._waiting.setdefault(object_id, loop.create_future())
        return await asyncio.shield(answer)

    def _start(self) -> None:
        wanted, self._waiting = self._waiting, {}
        call = asyncio.ensure_future(self._call(wanted))
        # The loop itself holds tasks weakly.
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, wanted: dict[bytes, asyncio.Future[ChainObject | None]]) -> None:
        ids = list(wanted)
        try:
            if len(ids) == 1:
                found = [await self._ledger.get_object(ids[0])]
            else:
                found = await self._ledger.get_objects(ids)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the objects are waited for
            for answer in wanted.values():
                answer.set_exception(error)
                # Looked at here, too: whoever waited may have gone.
                answer.exception()
        else:
            for answer, one in zip(wanted.values(), found, strict=True):
                answer.set_result(one)
