"""The three kinds of patch that change what is there: JSON patch, JSON merge patch, strategic merge patch.

Strategic merge patch follows the directives of Kubernetes' documentation: `$patch: replace|delete|merge`,
`$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from infra.local.kube.errors import ApiError, Json, bad_request
from infra.local.kube.schema import items_of, property_of

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def json_patch(target: Json, patch: Any) -> Json:
    """RFC 6902. 422 if an operation cannot be carried out, as the API server answers it."""
    if not isinstance(patch, list):
        raise bad_request("a JSON patch is a list of operations")
    try:
        patched = jsonpatch.apply_patch(target, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise ApiError(422, "Invalid", message) from error
    if not isinstance(patched, dict):
        raise bad_request("the patch does not leave an object")
    return patched


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_merge_patch(target: Any, patch: Json, schema: Json) -> Any:
    """Merges by the keys that the schema declares. Raises 400 for a directive it does not know."""
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown strategic merge patch directive: {directive}")
    merged: Json = dict(target) if isinstance(target, dict) else {}
    if (retained := patch.get("$retainKeys")) is not None:
        merged = {k: v for k, v in merged.items() if k in retained}
    for name, value in patch.items():
        if name in ("$patch", "$retainKeys") or name.startswith(_ORDER):
            continue
        if name.startswith(_DELETE):
            _delete_primitives(merged, name.removeprefix(_DELETE), value)
        elif value is None:
            merged.pop(name, None)
        else:
            order = patch.get(_ORDER + name)
            merged[name] = _merge_value(merged.get(name), value, property_of(schema, name), order)
    for name, order in patch.items():
        field = name.removeprefix(_ORDER)
        if name.startswith(_ORDER) and field not in patch and isinstance(merged.get(field), list):
            merged[field] = _ordered(merged[field], order, _merge_key(property_of(schema, field)))
    return merged


def _merge_value(current: Any, value: Any, schema: Json, order: Any) -> Any:
    if isinstance(value, dict):
        return strategic_merge_patch(current, value, schema)
    if isinstance(value, list):
        merged = _merge_list(current if isinstance(current, list) else [], value, schema)
        return _ordered(merged, order, _merge_key(schema)) if order else merged
    return value


def _merge_key(schema: Json) -> str:
    return str(schema.get("x-kubernetes-patch-merge-key") or "")


def _merge_list(current: list[Any], patch: list[Any], schema: Json) -> list[Any]:
    if "merge" not in schema.get("x-kubernetes-patch-strategy", ""):
        return copy.deepcopy(patch)
    key = _merge_key(schema)
    if not key:
        return current + [value for value in patch if value not in current]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if item.get("$patch") != "replace"]
    merged = list(current)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        places = [i for i, existing in enumerate(merged) if existing.get(key) == item[key]]
        if item.get("$patch") == "delete":
            merged = [existing for i, existing in enumerate(merged) if i not in places]
        elif places:
            merged[places[0]] = strategic_merge_patch(merged[places[0]], item, items_of(schema))
        else:
            merged.append(strategic_merge_patch({}, item, items_of(schema)))
    return merged


def _delete_primitives(merged: Json, name: str, values: Any) -> None:
    current = merged.get(name)
    if isinstance(current, list) and isinstance(values, list):
        merged[name] = [value for value in current if value not in values]


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items named in `order` come in that order; others keep their place behind their predecessor."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    positions = {repr(value): index for index, value in enumerate(wanted)}
    last, ranked = -1, []
    for index, item in enumerate(items):
        last = positions.get(repr(identity(item)), last)
        ranked.append((last, index, item))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])]
