"""Scheduler and kubelet in one: pods get the one node, and are declared running. No container is started."""

from __future__ import annotations

import hashlib

from infra.local.kube.controllers.context import PODS, Context, controller_of, is_over, is_terminating
from infra.local.kube.defaults import NODE_NAME
from infra.local.kube.errors import Json

NODE_ADDRESS = "10.0.0.1"


def reconcile(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    if obj is None or (is_over(obj) and not is_terminating(obj)):
        return
    if is_terminating(obj):
        # The grace period is over at once: there is no process to wait for.
        context.event(obj, "Killing", "Stopping the pod's containers", by="kubelet")
        context.kill(PODS, obj)
    elif not obj["spec"].get("nodeName"):
        _schedule(context, obj)
    elif obj["spec"]["nodeName"] == NODE_NAME and obj["status"].get("phase") == "Pending":
        context.event(obj, "Started", "Declared running; this cluster starts no containers", by="kubelet")
        context.update(PODS, obj, lambda pod: _run(pod, context.operations.now()))
    elif (controller_of(obj) or {}).get("kind") == "Job":
        context.update(PODS, obj, lambda pod: _complete(pod, context.operations.now()))


def reconcile_node(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """A node that was uncordoned or relabelled may take pods that wait."""
    for pod in context.objects(PODS):
        if not pod["spec"].get("nodeName"):
            context.requeue(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])


def _schedule(context: Context, pod: Json) -> None:
    now = context.operations.now()
    node = context.operations.store.get(("", "nodes"), "", NODE_NAME)
    why = _why_not(pod, node)
    if why:
        message = f"0/1 nodes are available: 1 {why}."
        known = (pod["status"].get("conditions") or [{}])[0]
        if known.get("message") != message:
            context.event(pod, "FailedScheduling", message, kind="Warning", by="default-scheduler")
            failed = {"type": "PodScheduled", "status": "False", "lastTransitionTime": now}
            failed |= {"reason": "Unschedulable", "message": message}
            context.update(PODS, pod, lambda new: new["status"].update(conditions=[failed]))
        return

    def assign(new: Json) -> None:
        new["spec"]["nodeName"] = NODE_NAME
        new["status"]["conditions"] = [_condition("PodScheduled", now)]

    target = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    context.event(pod, "Scheduled", f"Successfully assigned {target} to {NODE_NAME}", by="default-scheduler")
    context.update(PODS, pod, assign)


def _why_not(pod: Json, node: Json | None) -> str:
    if node is None:
        return "node(s) not found"
    if (node.get("spec") or {}).get("unschedulable"):
        return "node(s) were unschedulable"
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in (pod["spec"].get("nodeSelector") or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    return ""


def _condition(kind: str, now: str, status: str = "True") -> Json:
    return {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": now}


def _run(pod: Json, now: str) -> None:
    digest = hashlib.sha256(pod["metadata"]["uid"].encode()).digest()
    address = f"10.244.{digest[0]}.{digest[1] % 250 + 2}"
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    pod["status"] |= {
        "phase": "Running",
        "conditions": [_condition(kind, now) for kind in kinds],
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{"ip": NODE_ADDRESS}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "containerStatuses": [
            _container(c, {"running": {"startedAt": now}}) for c in pod["spec"]["containers"]
        ],
    }
    if pod["spec"].get("initContainers"):
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        pod["status"]["initContainerStatuses"] = [_container(c, done) for c in pod["spec"]["initContainers"]]


def _complete(pod: Json, now: str) -> None:
    started = pod["status"].get("startTime", now)
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}}
    pod["status"]["phase"] = "Succeeded"
    pod["status"]["containerStatuses"] = [_container(c, done) for c in pod["spec"]["containers"]]
    for known in pod["status"]["conditions"]:
        if known["type"] in ("Ready", "ContainersReady"):
            known |= {"status": "False", "reason": "PodCompleted", "lastTransitionTime": now}


def _container(container: Json, state: Json) -> Json:
    running = "running" in state
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }
