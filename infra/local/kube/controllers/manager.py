"""The work queue: which reconcilers look at which objects, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from infra.local.kube.controllers import (
    definitions,
    garbage,
    jobs,
    namespaces,
    pods,
    roles,
    services,
    sets,
    workloads,
)
from infra.local.kube.controllers.context import Context
from infra.local.kube.errors import ApiError, Json
from infra.local.kube.operations import Operations
from infra.local.kube.store import Change, ObjectKey, ResourceKey, object_key

logger = logging.getLogger(__name__)

_MAX_ROUNDS = 50_000  # of one drain; more means that two reconcilers undo each other's work


class Reconciler(Protocol):
    """Brings the cluster in line with one object; `obj` is None once it is gone."""

    def __call__(self, context: Context, namespace: str, name: str, obj: Json | None) -> None: ...


RECONCILERS: dict[ResourceKey, tuple[Reconciler, ...]] = {
    ("", "namespaces"): (namespaces.reconcile,),
    ("", "pods"): (pods.reconcile,),
    ("", "nodes"): (pods.reconcile_node,),
    ("", "replicationcontrollers"): (workloads.reconcile_replica_set,),
    ("", "services"): (services.reconcile,),
    ("apps", "deployments"): (workloads.reconcile_deployment,),
    ("apps", "replicasets"): (workloads.reconcile_replica_set,),
    ("apps", "daemonsets"): (sets.reconcile_daemon_set,),
    ("apps", "statefulsets"): (sets.reconcile_stateful_set,),
    ("batch", "jobs"): (jobs.reconcile,),
    ("policy", "poddisruptionbudgets"): (services.reconcile_budget,),
    ("rbac.authorization.k8s.io", "clusterroles"): (roles.reconcile,),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (definitions.reconcile,),
}


class Controllers:
    """Collects changes from the store; `on_work` is told when the queue was empty and no longer is."""

    def __init__(self, operations: Operations, on_work: Callable[[], None] = lambda: None) -> None:
        self._operations = operations
        self._on_work = on_work
        self._queue: dict[tuple[ResourceKey, str, str], None] = {}
        self._places: dict[str, tuple[ResourceKey, ObjectKey]] = {}  # uid → where the object is
        self._collector = garbage.Collector(self._places)
        self.context = Context(operations, self._enqueue)
        operations.store.subscribe(self._changed)

    def drain(self) -> None:
        """Reconciles until nothing is left to do."""
        for _ in range(_MAX_ROUNDS):
            if not self._queue:
                return
            key, namespace, name = next(iter(self._queue))
            del self._queue[key, namespace, name]
            self._reconcile(key, namespace, name)
        logger.error("controllers do not settle; still queued: %s", list(self._queue)[:5])
        self._queue.clear()

    def _reconcile(self, key: ResourceKey, namespace: str, name: str) -> None:
        obj = self._operations.store.get(key, namespace, name)
        try:
            self._collector.reconcile(self.context, key, obj)
            for reconciler in RECONCILERS.get(key, ()):
                obj = self._operations.store.get(key, namespace, name)
                reconciler(self.context, namespace, name, obj)
            definitions.reconcile_instance(self.context, key)
        except ApiError as error:
            logger.warning("reconciling %s %s/%s: %s", key, namespace, name, error.message)
        except Exception:
            logger.exception("reconciling %s %s/%s failed", key, namespace, name)

    def _enqueue(self, key: ResourceKey, namespace: str, name: str) -> None:
        was_empty = not self._queue
        self._queue[key, namespace, name] = None
        if was_empty:
            self._on_work()

    def _changed(self, change: Change) -> None:
        obj, place = change.object, object_key(change.object)
        uid = obj["metadata"]["uid"]
        if change.type == "DELETED":
            self._places.pop(uid, None)
            for owned_key, owned in self._collector.dependents(self._operations.store, uid):
                self._enqueue(owned_key, *object_key(owned))
        else:
            self._places[uid] = change.key, place
        self._enqueue(change.key, *place)
        for reference in obj["metadata"].get("ownerReferences") or []:
            if owner := self._places.get(reference["uid"]):
                self._enqueue(owner[0], *owner[1])
        namespace = place[0]
        if namespace:
            self._enqueue_namespaced(change, namespace)

    def _enqueue_namespaced(self, change: Change, namespace: str) -> None:
        if change.type == "DELETED":
            self._enqueue(("", "namespaces"), "", namespace)
        if change.key == ("", "pods"):
            # Services and budgets select pods by label, without owning them.
            for key in (("", "services"), ("policy", "poddisruptionbudgets")):
                for obj in self._operations.store.objects(key, namespace):
                    self._enqueue(key, namespace, obj["metadata"]["name"])
