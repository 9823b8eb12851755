"""Deletion: preconditions, grace periods, finalizers and propagation policies."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from infra.local.kube.conversion import absorb, present
from infra.local.kube.errors import Json, bad_request, conflict
from infra.local.kube.naming import timestamp
from infra.local.kube.registry import Resource

if TYPE_CHECKING:
    from infra.local.kube.operations import Operations

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(frozen=True)
class DeleteOptions:
    """`metav1.DeleteOptions`: the body of a DELETE, or its query. No `grace_seconds`: the type's default."""

    grace_seconds: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @classmethod
    def from_request(cls, body: Json | None, query: dict[str, str]) -> DeleteOptions:
        body = body or {}
        preconditions = body.get("preconditions") or {}
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
        if propagation not in ("", "Foreground", "Background", "Orphan"):
            raise bad_request(f"invalid propagationPolicy {propagation!r}")
        orphan = body.get("orphanDependents", query.get("orphanDependents") == "true")
        try:
            seconds = None if grace is None else int(grace)
        except ValueError as error:
            raise bad_request(f"gracePeriodSeconds must be a number, not {grace!r}") from error
        return cls(
            grace_seconds=seconds,
            propagation=propagation or ("Orphan" if orphan else ""),
            uid=preconditions.get("uid", ""),
            resource_version=preconditions.get("resourceVersion", ""),
            dry_run=bool(body.get("dryRun")) or query.get("dryRun") == "All",
        )


def delete(
    operations: Operations, resource: Resource, namespace: str, name: str, options: DeleteOptions
) -> tuple[Json, bool]:
    """Deletes, or marks for deletion what finalizers or a grace period still hold.

    Returns the last state and whether the object is gone. 404 if there is none, 409 if a
    precondition fails.
    """
    obj = operations.get(resource, namespace, name)
    metadata = obj["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        why = (
            f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
        )
        raise conflict(resource, name, why)
    if options.resource_version and options.resource_version != metadata["resourceVersion"]:
        why = f"Precondition failed: ResourceVersion in precondition: {options.resource_version}"
        raise conflict(resource, name, why)
    marked = _marked(operations, resource, obj, options)
    finished = is_finished(resource, marked)
    if options.dry_run:
        return marked, finished
    if finished:
        gone = operations.store.remove(resource.key, namespace, name)
        return (present(resource, gone) if gone else marked), True
    return present(resource, operations.store.put(resource.key, absorb(resource, marked))), False


def _marked(operations: Operations, resource: Resource, obj: Json, options: DeleteOptions) -> Json:
    marked = copy.deepcopy(obj)
    metadata = marked["metadata"]
    grace = _grace_seconds(resource, obj, options)
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = timestamp(operations.clock() + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
    elif grace < metadata.get("deletionGracePeriodSeconds", 0):
        metadata["deletionGracePeriodSeconds"] = grace
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(options.propagation)
    finalizers = [f for f in metadata.get("finalizers") or [] if f not in (FOREGROUND, ORPHAN)]
    if wanted:
        finalizers.append(wanted)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if (resource.group, resource.plural) == ("", "namespaces"):
        marked["status"] = {**(marked.get("status") or {}), "phase": "Terminating"}
    return marked


def _grace_seconds(resource: Resource, obj: Json, options: DeleteOptions) -> int:
    if (resource.group, resource.plural) != ("", "pods"):
        return 0
    if not (obj.get("spec") or {}).get("nodeName"):
        return 0  # no kubelet knows the pod yet
    default = (obj.get("spec") or {}).get("terminationGracePeriodSeconds", 30)
    return int(default if options.grace_seconds is None else options.grace_seconds)


def is_finished(resource: Resource, obj: Json) -> bool:
    """Whether nothing holds a deleted object any more."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if (resource.group, resource.plural) == ("", "namespaces"):
        return not (obj.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")
