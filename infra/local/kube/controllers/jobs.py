"""Jobs: their pods are declared complete at once. CronJobs are stored but never fire."""

from __future__ import annotations

from infra.local.kube.controllers.context import (
    PODS,
    Context,
    active,
    condition,
    is_terminating,
    pod_from,
)
from infra.local.kube.errors import Json


def reconcile(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    if obj is None or is_terminating(obj):
        return
    status, spec, now = dict(obj.get("status") or {}), obj["spec"], context.operations.now()
    if any(c["type"] == "Complete" and c["status"] == "True" for c in status.get("conditions") or []):
        return
    if spec.get("suspend"):
        return
    pods = context.children(obj, PODS)
    succeeded = sum((pod.get("status") or {}).get("phase") == "Succeeded" for pod in pods)
    wanted = spec.get("completions") or spec.get("parallelism", 1)
    missing = min(wanted - succeeded, spec.get("parallelism", 1)) - len(active(pods))
    for _ in range(missing):
        if context.create(PODS, namespace, pod_from(spec["template"], prefix=f"{name}-"), obj) is None:
            break
    running = len(active(context.children(obj, PODS)))
    status |= {"active": running, "succeeded": succeeded, "ready": 0, "terminating": 0}
    status.setdefault("startTime", now)
    if succeeded >= wanted:
        reached = "Reached expected number of succeeded pods"
        status["completionTime"] = now
        status["conditions"] = [
            condition(kind, "True", reason="CompletionsReached", message=reached, now=now, old=obj)
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        context.event(obj, "Completed", "Job completed", by="job-controller")
    shown = {k: v for k, v in status.items() if v or k in ("ready", "terminating")}
    context.update(("batch", "jobs"), obj, lambda new: new.update(status=shown))
