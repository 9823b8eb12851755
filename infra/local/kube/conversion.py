"""Objects in the version that a request asks for.

Two resources can show the same stored objects: several versions of a custom resource (conversion
strategy None: only apiVersion differs), events, which the core group and events.k8s.io both serve, and
autoscalers, which kubectl 1.32 still creates as autoscaling/v1.
"""

from __future__ import annotations

import json

from infra.local.kube.errors import Json
from infra.local.kube.registry import Resource

# core/v1 name → events.k8s.io/v1 name
_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}


_METRICS = "autoscaling.alpha.kubernetes.io/metrics"


def present(resource: Resource, stored: Json) -> Json:
    """A stored object as the resource shows it."""
    if resource.group == "events.k8s.io":
        stored = {_EVENT_FIELDS.get(name, name): value for name, value in stored.items()}
    elif resource.api_version == "autoscaling/v1":
        stored = _autoscaler_v1(stored)
    if stored.get("apiVersion") == resource.api_version:
        return stored
    return {**stored, "apiVersion": resource.api_version}


def absorb(resource: Resource, received: Json) -> Json:
    """An object as received, in the form in which it is stored."""
    if resource.group == "events.k8s.io":
        names = {new: old for old, new in _EVENT_FIELDS.items()}
        converted = {names.get(name, name): value for name, value in received.items()}
        return {**converted, "apiVersion": "v1"}
    if resource.api_version == "autoscaling/v1":
        return _autoscaler_v2(received)
    return received


def _autoscaler_v1(stored: Json) -> Json:
    """Only a CPU target has a place in v1; other metrics are kept in the annotation that Kubernetes uses."""
    spec = dict(stored.get("spec") or {})
    others = []
    for metric in spec.pop("metrics", None) or []:
        target = (metric.get("resource") or {}).get("target") or {}
        if (metric.get("resource") or {}).get("name") == "cpu" and target.get("type") == "Utilization":
            spec["targetCPUUtilizationPercentage"] = target.get("averageUtilization")
        else:
            others.append(metric)
    metadata = dict(stored["metadata"])
    if others:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), _METRICS: json.dumps(others)}
    return {**stored, "metadata": metadata, "spec": spec}


def _autoscaler_v2(received: Json) -> Json:
    spec, metadata = dict(received.get("spec") or {}), dict(received["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    metrics = _metrics(annotations.pop(_METRICS, "[]"))
    percentage = spec.pop("targetCPUUtilizationPercentage", None)
    if percentage is not None:
        target = {"type": "Utilization", "averageUtilization": percentage}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if "annotations" in metadata:
        metadata["annotations"] = annotations
    return {**received, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec}


def _metrics(text: str) -> list[Json]:
    """The metrics in the annotation; none if somebody wrote something else into it, as in Kubernetes."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    usable = isinstance(found, list) and all(isinstance(metric, dict) for metric in found)
    return found if usable else []
