"""Deployments, ReplicaSets and ReplicationControllers."""

from __future__ import annotations

import copy
import json

from infra.local.kube.controllers.context import (
    PODS,
    Context,
    active,
    condition,
    is_ready,
    is_terminating,
    pod_from,
)
from infra.local.kube.errors import Json
from infra.local.kube.naming import hash_suffix

_DEPLOYMENTS, _SETS = ("apps", "deployments"), ("apps", "replicasets")
REVISION = "deployment.kubernetes.io/revision"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HASH = "pod-template-hash"


def reconcile_replica_set(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """Creates and deletes pods until there are as many as wanted, and counts them."""
    if obj is None or is_terminating(obj):
        return
    key = _SETS if obj["kind"] == "ReplicaSet" else ("", "replicationcontrollers")
    pods, wanted = active(context.children(obj, PODS)), obj["spec"].get("replicas", 1)
    template = obj["spec"].get("template") or {}
    for _ in range(wanted - len(pods)):
        if context.create(PODS, namespace, pod_from(template, prefix=f"{name}-"), obj) is None:
            break
    for pod in sorted(pods, key=is_ready)[: max(len(pods) - wanted, 0)]:
        context.delete(PODS, pod)
    pods = active(context.children(obj, PODS))
    ready = sum(map(is_ready, pods))
    status: Json = {"replicas": len(pods), "fullyLabeledReplicas": len(pods)}
    if ready:
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    status["observedGeneration"] = obj["metadata"].get("generation", 1)
    context.update(key, obj, lambda new: new.update(status=status))


def reconcile_deployment(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """Rolls a Deployment over to the ReplicaSet of its template, then empties the others."""
    if obj is None or is_terminating(obj):
        return
    sets = context.children(obj, _SETS)
    current = next((s for s in sets if _template(s) == _template(obj)), None)
    paused = bool(obj["spec"].get("paused"))
    if current is None and not paused:
        current = _new_set(context, obj, sets)
    elif current is not None and not paused:
        current = _with_newest_revision(context, obj, current, sets)
    if current is not None:
        current = _scaled(context, obj, current, obj["spec"]["replicas"])
        if (current.get("status") or {}).get("readyReplicas", 0) >= obj["spec"]["replicas"]:
            for old in sets:
                if old["metadata"]["uid"] != current["metadata"]["uid"] and old["spec"]["replicas"]:
                    _scaled(context, obj, old, 0)
            _forget_old(context, obj, current)
    _count(context, obj, current)


def _template(obj: Json) -> str:
    """The pod template as text, without the label that tells ReplicaSets apart."""
    template = copy.deepcopy(obj["spec"]["template"])
    ((template.get("metadata") or {}).get("labels") or {}).pop(_HASH, None)
    return json.dumps(template, sort_keys=True)


def _revision(obj: Json) -> int:
    return int((obj["metadata"].get("annotations") or {}).get(REVISION, 0))


def _annotations(deployment: Json, revision: int) -> Json:
    """What a ReplicaSet takes over, e.g. kubernetes.io/change-cause."""
    own = deployment["metadata"].get("annotations") or {}
    kept = {k: v for k, v in own.items() if k not in (_LAST_APPLIED, REVISION)}
    return {**kept, REVISION: str(revision)}


def _new_set(context: Context, deployment: Json, sets: list[Json]) -> Json | None:
    metadata, spec = deployment["metadata"], deployment["spec"]
    digest = hash_suffix(_template(deployment))
    template = copy.deepcopy(spec["template"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), _HASH: digest}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = copy.deepcopy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), _HASH: digest}
    revision = max([0, *map(_revision, sets)]) + 1
    body: Json = {
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "labels": labels,
            "annotations": _annotations(deployment, revision),
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }
    return context.create(_SETS, metadata["namespace"], body, deployment)


def _with_newest_revision(context: Context, deployment: Json, current: Json, sets: list[Json]) -> Json:
    """A template that was used before (rollback) becomes the newest revision."""
    newest = max(map(_revision, sets))
    revision = _revision(current) if _revision(current) == newest else newest + 1
    wanted = {**(current["metadata"].get("annotations") or {}), **_annotations(deployment, revision)}
    return context.update(_SETS, current, lambda new: new["metadata"].update(annotations=wanted))


def _scaled(context: Context, deployment: Json, replica_set: Json, replicas: int) -> Json:
    before = replica_set["spec"]["replicas"]
    if before == replicas:
        return replica_set
    direction = "up" if replicas > before else "down"
    text = f"Scaled {direction} replica set {replica_set['metadata']['name']} from {before} to {replicas}"
    context.event(deployment, "ScalingReplicaSet", text, by="deployment-controller")
    return context.update(_SETS, replica_set, lambda new: new["spec"].update(replicas=replicas))


def _forget_old(context: Context, deployment: Json, current: Json) -> None:
    old = [
        s for s in context.children(deployment, _SETS) if s["metadata"]["uid"] != current["metadata"]["uid"]
    ]
    idle = sorted((s for s in old if not (s.get("status") or {}).get("replicas")), key=_revision)
    for replica_set in idle[: max(len(idle) - deployment["spec"].get("revisionHistoryLimit", 10), 0)]:
        context.delete(_SETS, replica_set)


def _count(context: Context, deployment: Json, current: Json | None) -> None:
    now, wanted = context.operations.now(), deployment["spec"]["replicas"]

    def total(name: str) -> int:
        found = context.children(deployment, _SETS)
        return sum((s.get("status") or {}).get(name, 0) for s in found)

    ready, replicas = total("readyReplicas"), total("replicas")
    updated = ((current or {}).get("status") or {}).get("replicas", 0)
    status: Json = {"observedGeneration": deployment["metadata"]["generation"]}
    counts = {
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
    }
    counts["unavailableReplicas"] = max(wanted - ready, 0)
    status |= {name: count for name, count in counts.items() if count}
    enough = ready >= wanted
    available = condition(
        "Available",
        "True" if enough else "False",
        reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        now=now,
        old=deployment,
    )
    label = current["metadata"]["name"] if current else deployment["metadata"]["name"]
    if current is not None and updated == wanted == ready == replicas:
        text, reason = f'ReplicaSet "{label}" has successfully progressed.', "NewReplicaSetAvailable"
    elif deployment["spec"].get("paused"):
        text, reason = "Deployment is paused", "DeploymentPaused"
    else:
        text, reason = f'ReplicaSet "{label}" is progressing.', "ReplicaSetUpdated"
    state = "Unknown" if reason == "DeploymentPaused" else "True"
    progressing = condition("Progressing", state, reason=reason, message=text, now=now, old=deployment)
    status["conditions"] = [available, progressing]

    def write(new: Json) -> None:
        new["status"] = status
        if current is not None:
            known = new["metadata"].get("annotations") or {}
            new["metadata"]["annotations"] = {**known, REVISION: str(_revision(current))}

    context.update(_DEPLOYMENTS, deployment, write)
