"""Leases (`coordination.k8s.io/v1`) in the listener's namespace: the port, and the API server behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote, urlencode

from listener_service.kube_objects import Json, KubeObjects, KubeUnavailableError, ObjectMissingError

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as we use it. `holder` is empty if nobody holds it; times in Unix ms.

    `version` (the resourceVersion) and `created_ms` (whole seconds, rounded down) are the server's.
    """

    name: str
    holder: str = ""
    duration_s: int | None = None
    acquired_ms: int | None = None
    renewed_ms: int | None = None
    transitions: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    created_ms: int = 0


class Leases(Protocol):
    """The Leases of one namespace.

    1. Of several `create` with one name exactly one succeeds, also across replicas; the others get
       `ObjectExistsError`.
    2. `replace` succeeds only if the lease still has that `version`, else `ObjectChangedError`. One that was
       deleted raises `ObjectMissingError`, or is there again: API servers let a PUT make a Lease. Labels and
       annotations that it does not name are gone.
    3. `get` and `find` tell the state at a moment after they were called, `find` all of it.
    4. `remove` deletes what has the labels at some moment after it was called. Removing again is harmless.
    5. After a `KubeUnavailableError` of a writing call it may have taken effect, also later.
    """

    async def get(self, name: str) -> Lease | None:
        """The lease, or None."""
        ...

    async def create(self, lease: Lease) -> Lease:
        """As stored."""
        ...

    async def replace(self, lease: Lease) -> Lease:
        """As stored."""
        ...

    async def find(self, labels: Mapping[str, str]) -> list[Lease]:
        """All with these labels."""
        ...

    async def remove(self, labels: Mapping[str, str]) -> None:
        """Deletes all with these labels, in one call."""
        ...


class KubeLeases:
    """`Leases` at an API server. Every method may raise `KubeError`."""

    def __init__(self, objects: KubeObjects, namespace: str) -> None:
        self._objects = objects
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def get(self, name: str) -> Lease | None:
        try:
            return _read(await self._objects.get(f"{self._collection}/{quote(name)}"))
        except ObjectMissingError:
            return None

    async def create(self, lease: Lease) -> Lease:
        return _read(await self._objects.create(self._collection, _written(lease)))

    async def replace(self, lease: Lease) -> Lease:
        return _read(await self._objects.replace(f"{self._collection}/{quote(lease.name)}", _written(lease)))

    async def find(self, labels: Mapping[str, str]) -> list[Lease]:
        found: list[Lease] = []
        page: dict[str, str | int] = {"labelSelector": _selector(labels), "limit": _PAGE}
        while True:
            reply = await self._objects.get(f"{self._collection}?{urlencode(page)}")
            found += [_read(item) for item in reply.get("items") or []]
            token = (reply.get("metadata") or {}).get("continue")
            if not token:
                return found
            page["continue"] = token

    async def remove(self, labels: Mapping[str, str]) -> None:
        assert labels, "an empty selector would be everything"
        await self._objects.delete_collection(
            f"{self._collection}?{urlencode({'labelSelector': _selector(labels)})}"
        )

    def close(self) -> None:
        """Ends the threads and connections behind it."""
        self._objects.close()


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _written(lease: Lease) -> Json:
    metadata = {
        "name": lease.name,
        "labels": dict(lease.labels),
        "annotations": dict(lease.annotations),
        "resourceVersion": lease.version,
    }
    spec = {
        "holderIdentity": lease.holder,
        "leaseDurationSeconds": lease.duration_s,
        "acquireTime": _micro_time(lease.acquired_ms),
        "renewTime": _micro_time(lease.renewed_ms),
        "leaseTransitions": lease.transitions,
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {name: value for name, value in metadata.items() if value},
        "spec": {name: value for name, value in spec.items() if value is not None},
    }


def _read(stored: Json) -> Lease:
    try:
        metadata, spec = stored["metadata"], stored.get("spec") or {}
        return Lease(
            name=metadata["name"],
            holder=spec.get("holderIdentity") or "",
            duration_s=spec.get("leaseDurationSeconds"),
            acquired_ms=_unix_ms(spec.get("acquireTime")),
            renewed_ms=_unix_ms(spec.get("renewTime")),
            transitions=spec.get("leaseTransitions") or 0,
            labels=metadata.get("labels") or {},
            annotations=metadata.get("annotations") or {},
            version=metadata["resourceVersion"],
            created_ms=_unix_ms(metadata["creationTimestamp"]) or 0,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise KubeUnavailableError(f"the API server sent what is no Lease ({type(error).__name__})") from None


def _micro_time(moment_ms: int | None) -> str | None:
    """metav1.MicroTime."""
    if moment_ms is None:
        return None
    moment = datetime.fromtimestamp(moment_ms // 1000, UTC).replace(microsecond=moment_ms % 1000 * 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _unix_ms(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp() * 1000)
