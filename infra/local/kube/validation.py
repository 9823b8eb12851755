"""Structural checks of objects against their schema: unknown fields, wrong types, missing and bad values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.local.kube.errors import Cause, Json, bad_request, invalid_value, required
from infra.local.kube.naming import parse_time
from infra.local.kube.registry import Resource
from infra.local.kube.schema import items_of, property_of, resolve

_GO_TYPES = {"integer": "int32", "number": "float64", "boolean": "bool", "string": "string", "array": "slice"}


def unknown_fields(obj: Json, schema: Json, path: str = "") -> Iterator[str]:
    """Field paths that the schema does not know, e.g. `spec.replicass`."""
    properties = schema.get("properties")
    if properties is None or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, value in obj.items():
        where = f"{path}.{name}" if path else name
        if name not in properties:
            if not isinstance(schema.get("additionalProperties"), dict):
                yield where
        else:
            yield from _unknown_below(value, property_of(schema, name), where)


def _unknown_below(value: Any, schema: Json, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if "properties" in schema:
            yield from unknown_fields(value, schema, path)
        elif isinstance(schema.get("additionalProperties"), dict):
            for name, inner in value.items():
                yield from _unknown_below(inner, property_of(schema, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_below(item, items_of(schema), f"{path}[{index}]")


def pruned(value: Any, schema: Json, *, root: bool = True) -> Any:
    """The value without what the schema does not know, as the API server stores it."""
    if isinstance(value, list):
        return [pruned(item, items_of(schema), root=False) for item in value]
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    properties = schema.get("properties")
    if properties is None or isinstance(schema.get("additionalProperties"), dict):
        return {name: pruned(inner, property_of(schema, name), root=False) for name, inner in value.items()}
    kept = {}
    for name, inner in value.items():
        if root and name in ("apiVersion", "kind"):
            kept[name] = inner
        elif name in properties:
            kept[name] = pruned(inner, property_of(schema, name), root=False)
    return kept


def check_types(resource: Resource, obj: Json, schema: Json) -> None:
    """400, as the decoder of a built-in type answers when a value has the wrong JSON type."""
    for path, value, wanted in _type_errors(obj, schema, ""):
        got = {"str": "string", "dict": "object", "list": "array", "int": "number", "float": "number"}
        name = "bool" if isinstance(value, bool) else got.get(type(value).__name__, "value")
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: json: '
            f"cannot unmarshal {name} into Go struct field {resource.kind}.{path} of type "
            f"{_GO_TYPES.get(wanted, wanted)}"
        )


def _type_errors(value: Any, schema: Json, path: str) -> Iterator[tuple[str, Any, str]]:
    wanted = schema.get("type")
    if value is None or wanted is None:
        return
    if not _has_type(value, schema):
        yield path, value, "Time" if schema.get("format") == "date-time" else wanted
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _type_errors(inner, property_of(schema, name), f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if item is None:
                yield f"{path}[{index}]", item, items_of(schema).get("type", "object")
            yield from _type_errors(item, items_of(schema), f"{path}[{index}]")


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _has_type(value: Any, schema: Json) -> bool:
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        wanted: tuple[type, ...] = (int, str)
    elif schema.get("format") == "quantity":
        wanted = (int, float, str)
    else:
        wanted = _PYTHON_TYPES.get(kind or "", (object,))
    if schema.get("format") == "date-time" and isinstance(value, str):
        return _is_time(value)
    if isinstance(value, bool) and kind != "boolean":
        return wanted == (object,)  # Python counts booleans as integers
    return isinstance(value, wanted)


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def structural_causes(value: Any, schema: Json, path: str = "", *, root: bool = True) -> Iterator[Cause]:
    """Required fields and the bounds of structural schemas. At the root, metadata and status are skipped."""
    schema = resolve(schema)
    if value is None:
        if path and not schema.get("nullable"):
            yield invalid_value(path, "null", "must not be null")
    elif not _has_type(value, schema):
        why = f"{path} in body must be of type {schema.get('type')}: {type(value).__name__}"
        yield Cause("FieldValueTypeInvalid", path, f"Invalid value: {why}")
    elif isinstance(value, dict):
        yield from _object_causes(value, schema, path, root=root)
    elif isinstance(value, list):
        yield from _bound_causes(len(value), schema, path, ("minItems", "maxItems"), "items")
        for index, item in enumerate(value):
            yield from structural_causes(item, items_of(schema), f"{path}[{index}]", root=False)
    else:
        yield from _scalar_causes(value, schema, path)


def _object_causes(value: Json, schema: Json, path: str, *, root: bool) -> Iterator[Cause]:
    for name in schema.get("required") or []:
        if value.get(name) in (None, "") and not (root and name in ("status", "metadata")):
            yield required(f"{path}.{name}" if path else name)
    for name, inner in value.items():
        if root and name in ("metadata", "status", "apiVersion", "kind"):
            continue
        if inner is not None or name not in (schema.get("required") or []):
            declared = property_of(schema, name)
            if inner is None and schema.get("properties", {}).get(name) is None:
                continue
            yield from structural_causes(inner, declared, f"{path}.{name}" if path else name, root=False)


def _bound_causes(
    size: float, schema: Json, path: str, bounds: tuple[str, str], unit: str
) -> Iterator[Cause]:
    low, high = bounds
    if low in schema and size < schema[low]:
        yield invalid_value(path, size, f"should be at least {schema[low]} {unit}".rstrip())
    if high in schema and size > schema[high]:
        yield invalid_value(path, size, f"should be at most {schema[high]} {unit}".rstrip())


def _scalar_causes(value: Any, schema: Json, path: str) -> Iterator[Cause]:
    if (allowed := schema.get("enum")) and value not in allowed:
        listed = ", ".join(f'"{v}"' for v in allowed)
        text = f'Unsupported value: "{value}": supported values: {listed}'
        yield Cause("FieldValueNotSupported", path, text)
    if isinstance(value, str):
        yield from _bound_causes(len(value), schema, path, ("minLength", "maxLength"), "chars long")
        pattern = schema.get("pattern")
        if pattern and not re.search(pattern, value):
            yield invalid_value(path, value, f"{path} in body should match '{pattern}'")
    elif not isinstance(value, bool):
        yield from _bound_causes(value, schema, path, ("minimum", "maximum"), "")
