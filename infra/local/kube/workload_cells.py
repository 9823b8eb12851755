"""The table cells of pods and of what makes pods."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from infra.local.kube.errors import Json
from infra.local.kube.formats import NONE, age, age_of, labels_text, name_of, selector_text, status_of
from infra.local.kube.naming import parse_time


def _containers(spec: Json) -> tuple[str, str]:
    containers = spec.get("containers") or []
    return ",".join(c["name"] for c in containers), ",".join(c.get("image", "") for c in containers)


def _template_containers(obj: Json) -> tuple[str, str]:
    return _containers((obj["spec"].get("template") or {}).get("spec") or {})


def pod_phase(obj: Json) -> str:
    """The STATUS column: a reason is more telling than the phase."""
    status = obj.get("status") or {}
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def pod_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    states = status.get("containerStatuses") or []
    ready = sum(bool(state.get("ready")) for state in states)
    restarts = sum(state.get("restartCount", 0) for state in states)
    gates = len(spec.get("readinessGates") or [])
    return [
        name_of(obj),
        f"{ready}/{len(spec.get('containers') or [])}",
        pod_phase(obj),
        str(restarts),
        age_of(obj, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        NONE if not gates else f"0/{gates}",
    ]


def deployment_cells(obj: Json, now: datetime) -> list[Any]:
    ready = f"{status_of(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}"
    updated, available = status_of(obj, "updatedReplicas"), status_of(obj, "availableReplicas")
    selector = selector_text(obj["spec"].get("selector"))
    return [name_of(obj), ready, updated, available, age_of(obj, now), *_template_containers(obj), selector]


def replica_set_cells(obj: Json, now: datetime) -> list[Any]:
    selector = obj["spec"].get("selector") or {}
    text = labels_text(selector) if obj["kind"] == "ReplicationController" else selector_text(selector)
    counts = [obj["spec"].get("replicas", 0), status_of(obj, "replicas"), status_of(obj, "readyReplicas")]
    return [name_of(obj), *counts, age_of(obj, now), *_template_containers(obj), text]


def stateful_set_cells(obj: Json, now: datetime) -> list[Any]:
    ready = f"{status_of(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}"
    return [name_of(obj), ready, age_of(obj, now), *_template_containers(obj)]


def daemon_set_cells(obj: Json, now: datetime) -> list[Any]:
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady")
    counts = [status_of(obj, name) for name in (*names, "updatedNumberScheduled", "numberAvailable")]
    spec = obj["spec"]
    nodes = labels_text(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector"))
    selector = selector_text(spec.get("selector"))
    return [name_of(obj), *counts, nodes, age_of(obj, now), *_template_containers(obj), selector]


def job_cells(obj: Json, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    conditions = [c["type"] for c in status.get("conditions") or [] if c.get("status") == "True"]
    state = "Complete" if "Complete" in conditions else "Failed" if "Failed" in conditions else "Running"
    if obj["spec"].get("suspend"):
        state = "Suspended"
    took = ""
    if start := status.get("startTime"):
        end = parse_time(status["completionTime"]) if status.get("completionTime") else now
        took = age(start, end)
    completions = f"{status.get('succeeded', 0)}/{obj['spec'].get('completions', 1)}"
    selector = selector_text(obj["spec"].get("selector"))
    return [name_of(obj), state, completions, took, age_of(obj, now), *_template_containers(obj), selector]


def cron_job_cells(obj: Json, now: datetime) -> list[Any]:
    spec, last = obj["spec"], status_of(obj, "lastScheduleTime", None)
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    return [
        name_of(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(spec.get("suspend", False)),
        len(status_of(obj, "active", [])),
        age(last, now) if last else NONE,
        age_of(obj, now),
        *_containers(template.get("spec") or {}),
        selector_text((spec.get("jobTemplate") or {}).get("spec", {}).get("selector")),
    ]
