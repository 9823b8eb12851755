"""Schemas of all types: the built-in ones generated from the `kubernetes` package's models.

A schema is an OpenAPI v3 schema object (a dict) with Kubernetes' own extensions. Schemas of built-in
types refer to each other by `$ref`; those of custom resources come from their CRD and are whole.
What the models do not say, how lists merge, is added from `data/merge_keys.yaml`.
"""

from __future__ import annotations

import re
import typing
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

import yaml

from infra.local.kube.errors import Json
from infra.local.kube.registry import Resource

REF = "#/components/schemas/"
# Types that the models flatten to strings or objects, under the names that `kubectl explain` shows.
_INT_OR_STRING, _QUANTITY = "util.IntOrString", "resource.Quantity"
_SPECIAL: dict[str, Json] = {
    _INT_OR_STRING: {
        "x-kubernetes-int-or-string": True,
        "oneOf": [{"type": "integer"}, {"type": "string"}],
        "description": "A number, or a string such as a port's name or a percentage.",
    },
    # Quantities are plain strings in the models, but the API server takes numbers too.
    _QUANTITY: {
        "type": "string",
        "format": "quantity",
        "description": "An amount such as 500m, 2 or 1Gi.",
    },
}
_DESCRIPTION_LIMIT = 160  # characters; the whole texts would be three quarters of every document

_SCALARS: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "bytes": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
}
_FREE_FORM: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

_QUANTITY_MAPS = {"allocatable", "capacity", "default", "defaultRequest", "hard", "limits", "max"}
_QUANTITY_MAPS |= {"maxLimitRequestRatio", "min", "overhead", "requests", "used", "allocatedResources"}
_QUANTITY_FIELDS = {
    "V1EmptyDirVolumeSource.sizeLimit",
    "V1ResourceFieldSelector.divisor",
    "V2MetricTarget.averageValue",
    "V2MetricTarget.value",
    "V2MetricValueStatus.averageValue",
    "V2MetricValueStatus.value",
}


@cache
def _merge_table() -> dict[str, Any]:
    text = files("infra.local.kube").joinpath("data/merge_keys.yaml").read_text("utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table


def _first_sentence(text: str | None) -> str:
    if not text:
        return ""
    sentence = re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]
    return sentence if len(sentence) <= _DESCRIPTION_LIMIT else sentence[: _DESCRIPTION_LIMIT - 1] + "…"


def _merge_extensions(model: str, name: str) -> Json:
    rule = _merge_table()["fields"].get(model, {}).get(name)
    if rule is None:
        return {}
    found: Json = {}
    patch, strategies = rule.get("patch"), []
    if patch:
        strategies.append("merge")
    if rule.get("retain"):
        strategies.append("retainKeys")
    if strategies:
        found["x-kubernetes-patch-strategy"] = ",".join(strategies)
    if isinstance(patch, str):
        found["x-kubernetes-patch-merge-key"] = patch
    if keys := rule.get("keys", [patch] if isinstance(patch, str) else []):
        found["x-kubernetes-list-type"] = "map"
        found["x-kubernetes-list-map-keys"] = keys
    elif rule.get("set"):
        found["x-kubernetes-list-type"] = "set"
    return found


def _type_schema(declared: str, annotation: Any) -> Json:
    """Translates a type of `openapi_types`, e.g. `Dict[str, List[V1EnvVar]]`."""
    if found := re.fullmatch(r"List\[(.*)\]", declared):
        return {"type": "array", "items": _type_schema(found[1], None)}
    if found := re.fullmatch(r"Dict\[str, (.*)\]", declared):
        return {"type": "object", "additionalProperties": _type_schema(found[1], None)}
    if declared in _SCALARS:
        return dict(_SCALARS[declared])
    if declared == "object":
        members = [typing.get_origin(a) or a for a in typing.get_args(annotation)]
        if any(m is typing.Annotated for m in members) and dict not in members and list not in members:
            return {"$ref": REF + _INT_OR_STRING}
        # A whole embedded object, or anything at all (a default, an enum, a schema or a list of them).
        only_objects = dict in members and not {list, typing.Annotated} & set(members)
        return dict(_FREE_FORM) if only_objects else {"x-kubernetes-preserve-unknown-fields": True}
    return {"$ref": REF + schema_name(declared)}


def _property_schema(model: str, name: str, declared: str, info: Any) -> Json:
    if declared == "Dict[str, str]" and name in _QUANTITY_MAPS:
        schema: Json = {"type": "object", "additionalProperties": {"$ref": REF + _QUANTITY}}
    elif f"{model}.{name}" in _QUANTITY_FIELDS:
        schema = {"$ref": REF + _QUANTITY}
    else:
        schema = _type_schema(declared, info.annotation)
    extensions = _merge_extensions(model, name)
    if f"{model}.{name}" in _merge_table()["atomic"]:
        extensions["x-kubernetes-map-type"] = "atomic"
    description = _first_sentence(info.description)
    if "$ref" in schema and (extensions or description):
        schema = {"allOf": [schema]}  # siblings of a $ref do not count in OpenAPI 3.0
    if description:
        schema["description"] = description
    return {**schema, **extensions}


def schema_name(model: str) -> str:
    """`V1Container` → `v1.Container`, `CoreV1Event` → `core.v1.Event`."""
    found = re.fullmatch(r"(.*?)(V\d+(?:(?:alpha|beta)\d+)?)([A-Z].*)", model)
    if found is None:
        return model
    return ".".join(part for part in (found[1].lower(), found[2].lower(), found[3]) if part)


@cache
def _models() -> dict[str, str]:
    """Schema name → class name."""
    return {schema_name(name): name for name in dir(import_module("kubernetes.client.models"))}


def named_schema(name: str) -> Json:
    """The schema that a `$ref` names. Raises KeyError if there is none."""
    return _SPECIAL[name] if name in _SPECIAL else model_schema(_models()[name])


@cache
def model_schema(model: str) -> Json:
    """The schema of one class of `kubernetes.client.models`. Raises KeyError if there is no such class."""
    cls = getattr(import_module("kubernetes.client.models"), model, None)
    if cls is None:
        raise KeyError(model)
    # Attributes that are Python words go by other names in model_fields; the JSON name is common to both.
    fields = {info.serialization_alias or name: info for name, info in cls.model_fields.items()}
    properties = {
        json_name: _property_schema(model, json_name, cls.openapi_types[attribute], fields[json_name])
        for attribute, json_name in cls.attribute_map.items()
    }
    schema: Json = {"type": "object", "properties": properties}
    documentation = _first_sentence((cls.__doc__ or "").split("Attributes:")[0])
    if documentation:
        schema["description"] = documentation
    if needed := [json_name for json_name, info in fields.items() if info.is_required()]:
        schema["required"] = needed
    if model in _merge_table()["atomic"]:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def references(schema: Json) -> set[str]:
    """Names of the schemas that a schema refers to directly."""
    found: set[str] = set()
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if isinstance(target := value.get("$ref"), str):
                found.add(target.removeprefix(REF))
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return found


def resource_schema(resource: Resource) -> Json:
    """The schema of a resource's objects; a CRD without one leaves its fields free."""
    if resource.crd_version is None:
        return model_schema(resource.model)
    declared: Json = (resource.crd_version.get("schema") or {}).get("openAPIV3Schema") or dict(_FREE_FORM)
    properties = {
        **declared.get("properties", {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": REF + schema_name("V1ObjectMeta")}]},
    }
    return {**declared, "properties": properties}


def resolve(schema: Json | None) -> Json:
    """Follows `$ref` and a single `allOf`, keeping the extensions that stand beside them."""
    if not schema:
        return {}
    if "$ref" in schema:
        return named_schema(schema["$ref"].removeprefix(REF))
    parts = schema.get("allOf") or []
    if len(parts) == 1 and "properties" not in schema:
        beside = {k: v for k, v in schema.items() if k != "allOf"}
        return {**resolve(parts[0]), **beside}
    return schema


def property_of(schema: Json | None, name: str) -> Json:
    """The resolved schema of a field; `additionalProperties` describes the values of a map."""
    schema = resolve(schema)
    declared = (schema.get("properties") or {}).get(name)
    if declared is None:
        declared = schema.get("additionalProperties")
    return resolve(declared) if isinstance(declared, dict) else {}


def items_of(schema: Json | None) -> Json:
    declared = resolve(schema).get("items")
    return resolve(declared) if isinstance(declared, dict) else {}


def map_keys(schema: Json) -> list[str]:
    """Keys by which server-side apply tells the items of a list apart; empty for atomic lists and sets."""
    if schema.get("x-kubernetes-list-type") != "map":
        return []
    return list(schema.get("x-kubernetes-list-map-keys") or [])


def is_set(schema: Json) -> bool:
    return schema.get("x-kubernetes-list-type") == "set"


def is_atomic(schema: Json) -> bool:
    """Server-side apply owns the value as a whole: atomic maps and structs, and free-form content."""
    return schema.get("x-kubernetes-map-type") == "atomic"
