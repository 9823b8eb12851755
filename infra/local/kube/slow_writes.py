"""Writes that take long, as with a slow admission webhook: without webhooks, the cluster must be told so.

A write in a namespace takes the seconds that the namespace's annotation `local.k3s-daas/slow-writes` says,
60 at most; reads and other namespaces are as quick as ever.
"""

from __future__ import annotations

from infra.local.kube.request_info import RequestInfo
from infra.local.kube.store import Store

ANNOTATION = "local.k3s-daas/slow-writes"
LONGEST_S = 60.0
_NAMESPACES = ("", "namespaces")
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def seconds_for(store: Store, info: RequestInfo) -> float:
    """How long to wait before this request is handled; none if the annotation is no number."""
    if info.verb not in _WRITES or not info.namespace or info.full_resource == "namespaces":
        return 0.0
    namespace = store.get(_NAMESPACES, "", info.namespace) or {}
    told = namespace.get("metadata", {}).get("annotations", {}).get(ANNOTATION, "0")
    return min(float(told), LONGEST_S) if told.replace(".", "", 1).isdecimal() else 0.0
