"""`meta.k8s.io/v1 Table`: what `kubectl get` prints. Columns and cells per type, as in kubectl's printers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.local.kube.cells import BUILT_IN
from infra.local.kube.conversion import absorb
from infra.local.kube.errors import Json
from infra.local.kube.formats import age
from infra.local.kube.registry import Resource


@dataclass(frozen=True)
class Column:
    name: str
    type: str = "string"
    priority: int = 0
    """0 is always shown, 1 only with `-o wide`."""
    format: str = ""
    description: str = ""

    def as_json(self) -> Json:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


_NAME = Column("Name", format="name")
Row = Callable[[Json, datetime], list[Any]]


def columns_of(resource: Resource) -> tuple[list[Column], Row]:
    """The columns of a type and the function that fills one row."""
    if resource.crd_version is not None:
        return _custom(resource.crd_version.get("additionalPrinterColumns") or [])
    found = BUILT_IN.get((resource.storage_group, resource.kind))
    if found is None:
        return [_NAME, Column("Age")], lambda obj, now: [obj["metadata"]["name"], age(_created(obj), now)]
    heads, row = found
    columns = []
    for head in heads:
        name, _, kind = head.rstrip("+").partition(":")
        label = "name" if name == "Name" else ""
        columns.append(Column(name, kind or "string", 1 if head.endswith("+") else 0, label))
    return columns, row


def table(resource: Resource, objects: Sequence[Json], metadata: Json, include: str, now: datetime) -> Json:
    """`include` is the query parameter includeObject: None, Metadata (also if empty) or Object."""
    columns, row = columns_of(resource)
    rows: list[Json] = []
    for obj in objects:
        entry: Json = {"cells": row(absorb(resource, obj), now)}
        if include == "Object":
            entry["object"] = obj
        elif include != "None":
            entry["object"] = partial_metadata(obj)
        rows.append(entry)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [column.as_json() for column in columns],
        "rows": rows,
    }


def partial_metadata(obj: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _created(obj: Json) -> str:
    return str(obj["metadata"].get("creationTimestamp") or "")


def _custom(declared: list[Json]) -> tuple[list[Column], Row]:
    declared = declared or [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    columns = [_NAME]
    for entry in declared:
        description, form = entry.get("description", ""), entry.get("format", "")
        columns.append(Column(entry["name"], entry["type"], entry.get("priority", 0), form, description))

    def row(obj: Json, now: datetime) -> list[Any]:
        cells: list[Any] = [obj["metadata"]["name"]]
        for entry in declared:
            value = _json_path(obj, entry["jsonPath"])
            if entry["type"] == "date" and isinstance(value, str):
                value = _age_or_invalid(value, now)
            elif entry["type"] == "string" and value is not None:
                value = str(value)
            cells.append(value)
        return cells

    return columns, row


def _age_or_invalid(text: str, now: datetime) -> str:
    """A custom resource may hold any text where its column expects a time."""
    try:
        return age(text, now)
    except ValueError:
        return "<invalid>"


def _json_path(obj: Any, path: str) -> Any:
    """The first match of a simple JSONPath: fields, indexes and `[?(@.type=="Ready")]` filters."""
    steps = re.findall(r"\.([\w-]+)|\['([^']+)'\]|\[(\d+)\]|\[\?\(@\.([\w.]+)==[\"']([^\"']*)[\"']\)\]", path)
    for name, quoted, index, filtered, wanted in steps:
        if index:
            obj = obj[int(index)] if isinstance(obj, list) and int(index) < len(obj) else None
        elif filtered:
            items = obj if isinstance(obj, list) else []
            obj = next((item for item in items if str(item.get(filtered)) == wanted), None)
        else:
            obj = obj.get(name or quoted) if isinstance(obj, dict) else None
    return obj
