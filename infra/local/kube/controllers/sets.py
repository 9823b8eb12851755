"""StatefulSets and DaemonSets, with the ControllerRevisions that `kubectl rollout history` reads."""

from __future__ import annotations

import copy
import json

from infra.local.kube.controllers.context import (
    PODS,
    Context,
    active,
    is_ready,
    is_terminating,
    pod_from,
)
from infra.local.kube.defaults import NODE_NAME
from infra.local.kube.errors import Json
from infra.local.kube.naming import hash_suffix
from infra.local.kube.store import ResourceKey

_REVISIONS: ResourceKey = ("apps", "controllerrevisions")
_HASH = "controller-revision-hash"


def _revision(context: Context, owner: Json) -> str:
    """Name of the ControllerRevision of the current template, made or moved to the top if necessary."""
    metadata, template = owner["metadata"], copy.deepcopy(owner["spec"]["template"])
    name = f"{metadata['name']}-{hash_suffix(json.dumps(template, sort_keys=True))}"
    known = context.children(owner, _REVISIONS)
    newest = max([0, *(r["revision"] for r in known)])
    found = next((r for r in known if r["metadata"]["name"] == name), None)
    if found is None:
        labels = {**((template.get("metadata") or {}).get("labels") or {}), _HASH: name.rpartition("-")[2]}
        data = {"spec": {"template": {**template, "$patch": "replace"}}}
        body = {"metadata": {"name": name, "labels": labels}, "data": data, "revision": newest + 1}
        context.create(_REVISIONS, metadata["namespace"], body, owner)
    elif found["revision"] != newest:
        context.update(_REVISIONS, found, lambda new: new.update(revision=newest + 1))
    return name


def _replace_outdated(context: Context, pods: list[Json], revision: str) -> None:
    for pod in pods:
        if (pod["metadata"].get("labels") or {}).get(_HASH) != revision:
            context.kill(PODS, pod)


def reconcile_stateful_set(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """Pods `name-0` … `name-(n-1)`. Volume claim templates are not acted on: there is no storage here."""
    if obj is None or is_terminating(obj):
        return
    revision, wanted = _revision(context, obj), obj["spec"].get("replicas", 1)
    digest = revision.rpartition("-")[2]
    if (obj["spec"].get("updateStrategy") or {}).get("type") == "RollingUpdate":
        _replace_outdated(context, active(context.children(obj, PODS)), digest)
    existing = {pod["metadata"]["name"]: pod for pod in context.children(obj, PODS)}
    names = [f"{name}-{index}" for index in range(wanted)]
    for index, pod_name in enumerate(names):
        if pod_name not in existing:
            labels = {_HASH: digest, "statefulset.kubernetes.io/pod-name": pod_name}
            labels["apps.kubernetes.io/pod-index"] = str(index)
            pod = pod_from(obj["spec"]["template"], name=pod_name, labels=labels)
            pod["spec"] |= {"hostname": pod_name, "subdomain": obj["spec"].get("serviceName", "")}
            context.create(PODS, namespace, pod, obj)
    for pod_name, pod in existing.items():
        if pod_name not in names and not is_terminating(pod):
            context.delete(PODS, pod)
    pods = active(context.children(obj, PODS))
    ready = sum(map(is_ready, pods))
    updated = sum((pod["metadata"].get("labels") or {}).get(_HASH) == digest for pod in pods)
    status: Json = {
        "observedGeneration": obj["metadata"]["generation"],
        "replicas": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": updated,
        "updatedReplicas": updated,
        "currentRevision": revision,
        "updateRevision": revision,
        "collisionCount": 0,
    }
    context.update(("apps", "statefulsets"), obj, lambda new: new.update(status=status))


def reconcile_daemon_set(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """One pod, on the one node."""
    if obj is None or is_terminating(obj):
        return
    digest = _revision(context, obj).rpartition("-")[2]
    if (obj["spec"].get("updateStrategy") or {}).get("type") == "RollingUpdate":
        _replace_outdated(context, active(context.children(obj, PODS)), digest)
    node = context.operations.store.get(("", "nodes"), "", NODE_NAME)
    selector = (obj["spec"]["template"].get("spec") or {}).get("nodeSelector") or {}
    labels = ((node or {}).get("metadata") or {}).get("labels") or {}
    wanted = int(node is not None and all(labels.get(k) == v for k, v in selector.items()))
    pods = active(context.children(obj, PODS))
    if wanted and not pods:
        pod = pod_from(obj["spec"]["template"], prefix=f"{name}-", labels={_HASH: digest})
        pod["spec"]["nodeName"] = NODE_NAME
        context.create(PODS, namespace, pod, obj)
    for pod in pods[wanted:]:
        context.delete(PODS, pod)
    pods = active(context.children(obj, PODS))
    ready = sum(map(is_ready, pods))
    status: Json = {
        "observedGeneration": obj["metadata"]["generation"],
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": len(pods),
        "numberMisscheduled": 0,
        "numberReady": ready,
        "numberAvailable": ready,
        "updatedNumberScheduled": len(pods),
    }
    context.update(("apps", "daemonsets"), obj, lambda new: new.update(status=status))
