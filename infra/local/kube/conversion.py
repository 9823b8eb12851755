"""Objects in the version that a request asks for.

Two resources can show the same stored objects: several versions of a custom resource (conversion
strategy None: only apiVersion differs), and events, which the core group and events.k8s.io both serve.
"""

from __future__ import annotations

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


def present(resource: Resource, stored: Json) -> Json:
    """A stored object as the resource shows it."""
    if resource.group == "events.k8s.io":
        stored = {_EVENT_FIELDS.get(name, name): value for name, value in stored.items()}
    if stored.get("apiVersion") == resource.api_version:
        return stored
    return {**stored, "apiVersion": resource.api_version}


def absorb(resource: Resource, received: Json) -> Json:
    """An object as received, in the form in which it is stored."""
    if resource.group != "events.k8s.io":
        return received
    names = {new: old for old, new in _EVENT_FIELDS.items()}
    converted = {names.get(name, name): value for name, value in received.items()}
    return {**converted, "apiVersion": "v1"}
