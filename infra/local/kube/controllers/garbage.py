"""Garbage collection by ownerReferences: background, foreground and orphan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.local.kube.controllers.context import Context
from infra.local.kube.deletion import FOREGROUND, ORPHAN
from infra.local.kube.errors import Json
from infra.local.kube.store import ObjectKey, ResourceKey, Store


class Collector:
    """`places` knows every object that exists, by uid."""

    def __init__(self, places: Mapping[str, tuple[ResourceKey, ObjectKey]]) -> None:
        self._places = places

    @staticmethod
    def dependents(store: Store, uid: str) -> Iterator[tuple[ResourceKey, Json]]:
        for key in store.kinds():
            for obj in store.objects(key):
                if any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences") or []):
                    yield key, obj

    def reconcile(self, context: Context, key: ResourceKey, obj: Json | None) -> None:
        if obj is None:
            return
        metadata = obj["metadata"]
        if "deletionTimestamp" in metadata:
            self._finish(context, key, obj)
            return
        references = metadata.get("ownerReferences") or []
        if references and not any(ref["uid"] in self._places for ref in references):
            context.delete(key, obj)

    def _finish(self, context: Context, key: ResourceKey, obj: Json) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        if not {FOREGROUND, ORPHAN} & set(finalizers):
            return
        uid = obj["metadata"]["uid"]
        owned = list(self.dependents(context.operations.store, uid))
        if ORPHAN in finalizers:
            for owned_key, dependent in owned:
                context.update(owned_key, dependent, lambda new: _disown(new, uid))
        elif owned:
            for owned_key, dependent in owned:
                if "deletionTimestamp" not in dependent["metadata"]:
                    context.delete(owned_key, dependent)
            if any(True for _ in self.dependents(context.operations.store, uid)):
                return  # the last dependent's deletion brings the owner back into the queue

        def release(new: Json) -> None:
            kept = [f for f in finalizers if f not in (FOREGROUND, ORPHAN)]
            new["metadata"].pop("finalizers")
            if kept:
                new["metadata"]["finalizers"] = kept

        context.update(key, obj, release)


def _disown(dependent: Json, uid: str) -> None:
    metadata = dependent["metadata"]
    kept = [ref for ref in metadata["ownerReferences"] if ref["uid"] != uid]
    metadata.pop("ownerReferences")
    if kept:
        metadata["ownerReferences"] = kept
