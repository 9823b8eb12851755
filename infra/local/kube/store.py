"""The versioned object store: the one place where state lives.

Guarantees
1. Every change has its own revision; revisions only grow, and an object's `resourceVersion` is the
   revision of its last change.
2. Objects handed out are never mutated afterwards; who wants to change one copies it first.
3. The recent changes are kept in order, with the object before and after. Watches, paginated lists
   at an old revision and `410 Expired` all derive from that one log.
4. A write that changes nothing makes no revision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from infra.local.kube.errors import Json, expired, revision_too_large

ResourceKey = tuple[str, str]  # (API group, plural name)
ObjectKey = tuple[str, str]  # (namespace or "", name)


@dataclass(frozen=True)
class Change:
    """One entry of the log. `previous` is None for an object that was just created."""

    revision: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: ResourceKey
    object: Json
    previous: Json | None


def object_key(obj: Json) -> ObjectKey:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Store:
    """Not thread-safe: all of it belongs to one event loop."""

    def __init__(self, history: int = 10_000) -> None:
        self.revision = 1
        self._objects: dict[ResourceKey, dict[ObjectKey, Json]] = {}
        self._log: deque[Change] = deque(maxlen=history)
        self._oldest = 1
        self._listeners: list[Callable[[Change], None]] = []

    def get(self, key: ResourceKey, namespace: str, name: str) -> Json | None:
        return self._objects.get(key, {}).get((namespace, name))

    def objects(self, key: ResourceKey, namespace: str | None = None, at: int | None = None) -> list[Json]:
        """Objects in the order of namespace and name, of one namespace or of all (None).

        `at` gives the state at an earlier revision; raises 410 if the log no longer reaches it.
        """
        table = self._objects.get(key, {}) if at is None else self._rewound(key, at)
        chosen = (k for k in table if namespace is None or k[0] == namespace)
        return [table[k] for k in sorted(chosen)]

    def kinds(self) -> list[ResourceKey]:
        return [key for key, table in self._objects.items() if table]

    def put(self, key: ResourceKey, obj: Json) -> Json:
        """Stores the object under a new revision and returns it (or the stored one, if equal)."""
        table = self._objects.setdefault(key, {})
        name = object_key(obj)
        previous = table.get(name)
        if previous is not None and _same(previous, obj):
            return previous
        self.revision += 1
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        table[name] = stored
        change = Change(self.revision, "MODIFIED" if previous else "ADDED", key, stored, previous)
        self._record(change)
        return stored

    def remove(self, key: ResourceKey, namespace: str, name: str) -> Json | None:
        """Deletes for good; the returned last state carries the revision of the deletion."""
        previous = self._objects.get(key, {}).pop((namespace, name), None)
        if previous is None:
            return None
        self.revision += 1
        last = {**previous, "metadata": {**previous["metadata"], "resourceVersion": str(self.revision)}}
        self._record(Change(self.revision, "DELETED", key, last, previous))
        return last

    def changes_since(self, revision: int, key: ResourceKey | None = None) -> Iterator[Change]:
        """Changes after the revision, oldest first; 410 if some are forgotten, 504 if it is in the future."""
        self.check_revision(revision)
        newer: list[Change] = []
        for change in reversed(self._log):
            if change.revision <= revision:
                break
            if key is None or change.key == key:
                newer.append(change)
        return reversed(newer)

    def check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise revision_too_large(revision, self.revision)
        if revision < self._oldest:
            raise expired(f"too old resource version: {revision} ({self._oldest})")

    def forget(self) -> None:
        """Drop the log, as a server does that has just started: what is older than now is expired."""
        self._log.clear()
        self._oldest = self.revision

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Calls the listener after each change; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _record(self, change: Change) -> None:
        if len(self._log) == self._log.maxlen:
            self._oldest = self._log[0].revision
        self._log.append(change)
        for listener in tuple(self._listeners):
            listener(change)

    def _rewound(self, key: ResourceKey, revision: int) -> dict[ObjectKey, Json]:
        newer = list(self.changes_since(revision, key))
        table = dict(self._objects.get(key, {}))
        for change in reversed(newer):
            if change.previous is None:
                table.pop(object_key(change.object), None)
            else:
                table[object_key(change.object)] = change.previous
        return table


def _same(stored: Json, candidate: Json) -> bool:
    """Equal but for the resourceVersion and the times inside managedFields, which never matter alone."""

    def content(obj: Json) -> tuple[Json, Json, list[Json]]:
        rest = {k: v for k, v in obj.items() if k != "metadata"}
        skipped = ("resourceVersion", "managedFields")
        metadata = {k: v for k, v in obj["metadata"].items() if k not in skipped}
        entries = obj["metadata"].get("managedFields") or []
        return rest, metadata, [{k: v for k, v in e.items() if k != "time"} for e in entries]

    return content(stored) == content(candidate)
