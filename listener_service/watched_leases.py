"""The leader Lease under watch: the calls that are made anyway show whether the API server is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from listener_service.counts import Counts
from listener_service.kube_objects import KubeRefusedError
from listener_service.leases import Lease, Leases
from listener_service.vitals import Calls


@dataclass(slots=True)
class WatchedLeases:
    """`Leases` that tells when it was called and answered. A replica looks at the leader Lease, or writes it,
    all the time.
    """

    leases: Leases
    calls: Calls
    counts: Counts

    async def get(self, name: str) -> Lease | None:
        async with self._noticed():
            return await self.leases.get(name)

    async def create(self, lease: Lease) -> Lease:
        async with self._noticed():
            return await self.leases.create(lease)

    async def replace(self, lease: Lease) -> Lease:
        succeeded = False
        try:
            async with self._noticed():
                stored = await self.leases.replace(lease)
            succeeded = True
            return stored
        finally:
            self.counts.renewal(succeeded=succeeded)

    async def find(self, labels: Mapping[str, str]) -> list[Lease]:
        async with self._noticed():
            return await self.leases.find(labels)

    async def remove(self, labels: Mapping[str, str]) -> None:
        async with self._noticed():
            await self.leases.remove(labels)

    @asynccontextmanager
    async def _noticed(self) -> AsyncGenerator[None, None]:
        self.calls.tried_s = self.calls.boot_s()
        try:
            yield
        except KubeRefusedError:
            # It is there, whatever it said.
            self.calls.answered_s = self.calls.boot_s()
            raise
        self.calls.answered_s = self.calls.boot_s()
