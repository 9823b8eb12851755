"""CustomResourceDefinitions: accepted and served when they appear, emptied before they go."""

from __future__ import annotations

from infra.local.kube.controllers.context import Context, condition, is_terminating
from infra.local.kube.errors import Json
from infra.local.kube.store import ResourceKey

KEY: ResourceKey = ("apiextensions.k8s.io", "customresourcedefinitions")
_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def reconcile(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    if obj is None:
        return
    if is_terminating(obj):
        _empty(context, obj)
        return
    context.operations.registry.define(obj)
    now, names = context.operations.now(), obj["spec"]["names"]
    stored = next(v["name"] for v in obj["spec"]["versions"] if v.get("storage"))
    known = (obj.get("status") or {}).get("storedVersions") or []
    wanted = {
        "NamesAccepted": ("NoConflicts", "no conflicts found"),
        "Established": ("InitialNamesAccepted", "the initial names have been accepted"),
    }
    conditions = [
        _without_update_time(condition(kind, "True", reason=reason, message=message, now=now, old=obj))
        for kind, (reason, message) in wanted.items()
    ]

    def accept(new: Json) -> None:
        finalizers = new["metadata"].get("finalizers") or []
        if _CLEANUP not in finalizers:
            new["metadata"]["finalizers"] = [*finalizers, _CLEANUP]
        new["status"] = {
            "acceptedNames": names,
            "storedVersions": [*(v for v in known if v != stored), stored],
            "conditions": conditions,
        }

    context.update(KEY, obj, accept)


def _without_update_time(entry: Json) -> Json:
    return {name: value for name, value in entry.items() if name != "lastUpdateTime"}


def _empty(context: Context, obj: Json) -> None:
    """Deletes the custom resources; the definition goes once the last one is gone."""
    key = obj["spec"]["group"], obj["spec"]["names"]["plural"]
    for instance in context.objects(key):
        if not is_terminating(instance):
            context.delete(key, instance)
    finalizers = obj["metadata"].get("finalizers") or []
    if context.objects(key) or _CLEANUP not in finalizers:
        return
    context.operations.registry.undefine(obj)
    kept = [f for f in finalizers if f != _CLEANUP]

    def release(new: Json) -> None:
        new["metadata"].pop("finalizers")
        if kept:
            new["metadata"]["finalizers"] = kept

    context.update(KEY, obj, release)


def reconcile_instance(context: Context, key: ResourceKey) -> None:
    """A custom resource that is gone may have been the last one of a definition that waits to go."""
    for obj in context.objects(KEY):
        if is_terminating(obj) and key == (obj["spec"]["group"], obj["spec"]["names"]["plural"]):
            _empty(context, obj)
