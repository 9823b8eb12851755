"""The `Leases` port in memory, with faults that a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from listener_service.kube_objects import (
    KubeUnavailableError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
)
from listener_service.leases import Lease


@dataclass
class MemoryLeases:
    """`before` and `after` see each call (its name and the Lease's) and may raise; `after` means a lost
    reply. `recreates` is how kube-apiserver treats a PUT of a Lease that is gone. `writes` counts what etcd
    would write.
    """

    now_ms: Callable[[], int]
    stored: dict[str, Lease] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda call, name: None
    after: Callable[[str, str], None] = lambda call, name: None
    recreates: bool = False
    writes: int = 0
    calls: list[str] = field(default_factory=list)

    @property
    def claims(self) -> list[Lease]:
        return [lease for name, lease in self.stored.items() if name.startswith("daas-claim-")]

    def away(self) -> None:
        """From now on nothing works, until `back`."""

        def fail(call: str, name: str) -> None:
            raise KubeUnavailableError("away")

        self.before = fail

    def back(self) -> None:
        self.before = self.after = lambda call, name: None

    async def get(self, name: str) -> Lease | None:
        self._begin("get", name)
        found = self.stored.get(name)
        self.after("get", name)
        return found

    async def create(self, lease: Lease) -> Lease:
        self._begin("create", lease.name)
        if lease.name in self.stored:
            raise ObjectExistsError(409, lease.name)
        self._put(replace(lease, created_ms=self.now_ms() // 1000 * 1000))
        self.after("create", lease.name)
        return self.stored[lease.name]

    async def replace(self, lease: Lease) -> Lease:
        self._begin("replace", lease.name)
        known = self.stored.get(lease.name)
        if known is None and not self.recreates:
            raise ObjectMissingError(404, lease.name)
        if known is not None and known.version != lease.version:
            raise ObjectChangedError(409, lease.name)
        created_ms = self.now_ms() // 1000 * 1000 if known is None else known.created_ms
        self._put(replace(lease, created_ms=created_ms))
        self.after("replace", lease.name)
        return self.stored[lease.name]

    async def find(self, labels: Mapping[str, str]) -> list[Lease]:
        self._begin("find", "")
        found = [lease for lease in self.stored.values() if labels.items() <= lease.labels.items()]
        self.after("find", "")
        return found

    async def remove(self, labels: Mapping[str, str]) -> None:
        self._begin("remove", "")
        for lease in [lease for lease in self.stored.values() if labels.items() <= lease.labels.items()]:
            del self.stored[lease.name]
            self.writes += 1
        self.after("remove", "")

    def _begin(self, call: str, name: str) -> None:
        self.calls.append(call)
        self.before(call, name)

    def _put(self, lease: Lease) -> None:
        self.writes += 1
        self.stored[lease.name] = replace(lease, version=str(self.writes))
