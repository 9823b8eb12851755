"""Namespaces: a default service account in each, and the removal of everything in one that is deleted."""

from __future__ import annotations

from infra.local.kube.controllers.context import Context, is_terminating
from infra.local.kube.errors import Json
from infra.local.kube.store import ResourceKey

_ACCOUNTS: ResourceKey = ("", "serviceaccounts")


def reconcile(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    if obj is None:
        return
    if not is_terminating(obj):
        if context.operations.store.get(_ACCOUNTS, name, "default") is None:
            context.create(_ACCOUNTS, name, {"metadata": {"name": "default"}})
        return
    store = context.operations.store
    for key in store.kinds():
        for content in store.objects(key, name):
            if not is_terminating(content):
                context.delete(key, content)
    if any(store.objects(key, name) for key in store.kinds()):
        return  # each deletion inside brings the namespace back into the queue

    def release(new: Json) -> None:
        new["spec"]["finalizers"] = [f for f in new["spec"].get("finalizers") or [] if f != "kubernetes"]

    context.update(("", "namespaces"), obj, release)
