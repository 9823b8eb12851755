"""What reconcilers work with: reads, writes in the controllers' own name, and events."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from infra.local.kube import deletion
from infra.local.kube.decoding import WriteOptions
from infra.local.kube.errors import ApiError, Json
from infra.local.kube.naming import hash_suffix, random_suffix
from infra.local.kube.operations import Operations
from infra.local.kube.registry import Resource
from infra.local.kube.store import ResourceKey

PODS: ResourceKey = ("", "pods")
MANAGER = "kube-controller-manager"
_EVENTS_KEPT = 500
_NAME_LIMIT = 253  # characters of an object's name


@dataclass
class Context:
    """`requeue` puts an object back into the queue."""

    operations: Operations
    requeue: Callable[[ResourceKey, str, str], None]

    def resource(self, key: ResourceKey) -> Resource:
        found = self.operations.registry.by_key(key)
        if found is None:
            raise KeyError(key)
        return found

    def objects(self, key: ResourceKey, namespace: str | None = None) -> list[Json]:
        return self.operations.store.objects(key, namespace)

    def children(self, owner: Json, key: ResourceKey) -> list[Json]:
        """Objects in the owner's namespace that it controls."""
        uid = owner["metadata"]["uid"]
        found = self.objects(key, owner["metadata"].get("namespace", ""))
        return [obj for obj in found if (controller_of(obj) or {}).get("uid") == uid]

    def create(self, key: ResourceKey, namespace: str, obj: Json, owner: Json | None = None) -> Json | None:
        """Creates an object, controlled by the owner. None if the API refuses; the owner's events say why."""
        if owner is not None:
            obj = {**obj, "metadata": {**obj["metadata"], "ownerReferences": [reference_to(owner)]}}
        options = WriteOptions(MANAGER, field_validation="Ignore")
        try:
            return self.operations.create(self.resource(key), namespace, obj, options)
        except ApiError as error:
            if owner is not None:
                self.event(owner, "FailedCreate", error.message, kind="Warning")
            return None

    def update(self, key: ResourceKey, old: Json, change: Callable[[Json], None]) -> Json:
        """Stores what `change` does to a copy, with a new generation if the spec changed."""
        new = copy.deepcopy(old)
        change(new)
        if new.get("spec") != old.get("spec") and "generation" in new["metadata"]:
            new["metadata"]["generation"] += 1
        return self.operations.write_status(self.resource(key), new)

    def delete(self, key: ResourceKey, obj: Json, options: deletion.DeleteOptions | None = None) -> None:
        metadata = obj["metadata"]
        options = options or deletion.DeleteOptions()
        with contextlib.suppress(ApiError):  # gone already
            place = metadata.get("namespace", "")
            deletion.delete(self.operations, self.resource(key), place, metadata["name"], options)

    def kill(self, key: ResourceKey, obj: Json) -> None:
        """Deletes without a grace period."""
        self.delete(key, obj, replace(deletion.DeleteOptions(), grace_seconds=0))

    def event(
        self, about: Json, reason: str, message: str, *, kind: str = "Normal", by: str = "controller"
    ) -> None:
        """Records an event; an equal one only counts up. The oldest go when there are too many."""
        metadata, now = about["metadata"], self.operations.now()
        namespace = metadata.get("namespace") or "default"
        digest = hash_suffix(f"{metadata['uid']} {reason} {message}")
        name = f"{metadata['name'][: _NAME_LIMIT - len(digest) - 1]}.{digest}"
        key, events = ("", "events"), self.resource(("", "events"))
        known = self.operations.store.get(key, namespace, name)
        if known is not None:
            again = {**known, "count": known.get("count", 1) + 1, "lastTimestamp": now}
            self.operations.write_status(events, again)
            return
        body: Json = {
            "metadata": {"name": name},
            "involvedObject": {
                "kind": about["kind"],
                "apiVersion": about["apiVersion"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
                **({"namespace": metadata["namespace"]} if metadata.get("namespace") else {}),
            },
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": by},
            "reportingComponent": by,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self.create(key, namespace, body)
        if len(self.objects(key)) > _EVENTS_KEPT:
            oldest = min(self.objects(key), key=lambda event: int(event["metadata"]["resourceVersion"]))
            self.delete(key, oldest)


def controller_of(obj: Json) -> Json | None:
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            found: Json = reference
            return found
    return None


def reference_to(owner: Json) -> Json:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_terminating(obj: Json) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) and not is_terminating(pod)


def is_over(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def active(pods: Iterable[Json]) -> list[Json]:
    return [pod for pod in pods if not is_terminating(pod) and not is_over(pod)]


def pod_from(template: Json, name: str = "", prefix: str = "", labels: Json | None = None) -> Json:
    """A pod made from a pod template."""
    meta = template.get("metadata") or {}
    metadata: Json = {"labels": {**(meta.get("labels") or {}), **(labels or {})}}
    if meta.get("annotations"):
        metadata["annotations"] = dict(meta["annotations"])
    if name:
        metadata["name"] = name
    else:
        metadata |= {"generateName": prefix, "name": prefix[: 63 - 5] + random_suffix()}
    return {"metadata": metadata, "spec": copy.deepcopy(template.get("spec") or {})}


def condition(kind: str, status: str, *, reason: str, message: str, now: str, old: Json | None) -> Json:
    """A condition whose lastTransitionTime moves only when its status does."""
    for known in ((old or {}).get("status") or {}).get("conditions") or []:
        if known["type"] == kind and known["status"] == status:
            if known.get("reason") == reason and known.get("message") == message:
                same: Json = known
                return same
            now_changed = {**known, "reason": reason, "message": message}
            return {**now_changed, "lastUpdateTime": now} if "lastUpdateTime" in known else now_changed
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
