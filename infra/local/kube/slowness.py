"""Requests that take long, as behind a slow webhook or a busy etcd: the cluster in memory must be told so.

What is asked of a namespace's objects takes the seconds that its annotation `local.k3s-daas/slow` says, 60 at
most. Watches, logs, the namespace itself and all other namespaces are as quick as ever.
"""

from __future__ import annotations

from infra.local.kube.request_info import RequestInfo
from infra.local.kube.store import Store

ANNOTATION = "local.k3s-daas/slow"
LONGEST_S = 60.0
_NAMESPACES = ("", "namespaces")


def seconds_for(store: Store, info: RequestInfo) -> float:
    """How long to wait before this request is handled; none if the annotation is no number."""
    if not info.namespace or info.resource == "namespaces":
        return 0.0
    namespace = store.get(_NAMESPACES, "", info.namespace) or {}
    told = namespace.get("metadata", {}).get("annotations", {}).get(ANNOTATION, "0")
    return min(float(told), LONGEST_S) if told.replace(".", "", 1).isdecimal() else 0.0
