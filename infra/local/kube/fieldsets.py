"""Sets of fields, the currency of server-side apply, and their wire form `FieldsV1`.

A path is a tuple of steps: `f:name` (a field), `k:{"name":"c"}` (an item of a keyed list), `v:"x"`
(a value of a set) and `.` (the item itself). A set of fields is a set of such paths to leaves.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from infra.local.kube.errors import Json, bad_request
from infra.local.kube.schema import is_atomic, is_set, items_of, map_keys, property_of

Path = tuple[str, ...]
ABSENT = object()

# Fields that nobody can own: identity, and what the server alone sets.
_SERVER_FIELDS = {
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "uid",
        )
    ),
}


def fields_of(obj: Json, schema: Json) -> set[Path]:
    """All fields set in the object that a manager can own."""
    found: set[Path] = set()
    _collect(obj, schema, (), found)
    return {path for path in found if path[:1] not in _SERVER_FIELDS and path[:2] not in _SERVER_FIELDS}


def _collect(value: Any, schema: Json, path: Path, found: set[Path]) -> None:
    if isinstance(value, dict) and value and not is_atomic(schema):
        for name, inner in value.items():
            _collect(inner, property_of(schema, name), (*path, f"f:{name}"), found)
    elif isinstance(value, list) and value and map_keys(schema):
        for item in value:
            step = (*path, item_step(item, schema))
            found.add((*step, "."))
            _collect(item, items_of(schema), step, found)
    elif isinstance(value, list) and value and is_set(schema):
        found.update((*path, f"v:{json.dumps(item)}") for item in value)
    else:
        found.add(path)


def item_step(item: Json, schema: Json) -> str:
    """`k:{…}` for an item of a keyed list; a key that is absent counts with its default."""
    if not isinstance(item, dict):
        raise bad_request("an item of a keyed list must be an object")
    keys = {}
    for key in map_keys(schema):
        value = item.get(key, "TCP" if key == "protocol" else None)
        if value is None:
            raise bad_request(f"associative list with keys has an element that omits key field {key!r}")
        keys[key] = value
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def _matches(item: Any, step: str) -> bool:
    keys = json.loads(step[2:])
    return isinstance(item, dict) and all(
        item.get(key, "TCP" if key == "protocol" else None) == value for key, value in keys.items()
    )


def value_at(obj: Any, path: Path) -> Any:
    """The value at the path, or ABSENT."""
    for step in path:
        if step == ".":
            return obj
        kind, text = step[:2], step[2:]
        if kind == "f:":
            obj = obj.get(text, ABSENT) if isinstance(obj, dict) else ABSENT
        elif not isinstance(obj, list):
            return ABSENT
        elif kind == "k:":
            obj = next((item for item in obj if _matches(item, step)), ABSENT)
        else:
            wanted = json.loads(text)
            obj = next((item for item in obj if item == wanted), ABSENT)
        if obj is ABSENT:
            return ABSENT
    return obj


def without(obj: Json, paths: set[Path]) -> Json:
    """A copy of the object without these fields, and without the maps and lists that this empties."""
    result = copy.deepcopy(obj)
    # Whole items first, while the keys that identify them are there; then the deepest fields.
    for path in sorted(paths, key=lambda path: (path[-1] != ".", -len(path))):
        if value_at(result, path) is not ABSENT:
            _remove(result, path)
    return result


def _remove(obj: Json, path: Path) -> None:
    if path[-1] == ".":
        item, holder = value_at(obj, path), value_at(obj, path[:-2])
        if isinstance(holder, list) and item is not ABSENT:
            holder[:] = [other for other in holder if other is not item]
    else:
        holder = value_at(obj, path[:-1])
        if path[-1].startswith("f:") and isinstance(holder, dict):
            holder.pop(path[-1][2:], None)
        elif path[-1].startswith("v:") and isinstance(holder, list):
            wanted = json.loads(path[-1][2:])
            holder[:] = [other for other in holder if other != wanted]
    parent = path[:-1] if path[-1] != "." else path[:-2]
    if len(parent) > 1 and parent[-1].startswith("f:") and value_at(obj, parent) in ({}, []):
        _remove(obj, parent)


def to_fields_v1(paths: set[Path]) -> Json:
    tree: Json = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return tree


def from_fields_v1(tree: Json) -> set[Path]:
    found: set[Path] = set()
    pending: list[tuple[Path, Json]] = [((), tree)]
    while pending:
        path, node = pending.pop()
        if not node and path:
            found.add(path)
        pending.extend(((*path, step), inner) for step, inner in node.items())
    return found


def readable(path: Path) -> str:
    """`.spec.containers[name="c"].image`, the form of conflict messages."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += "." + step[2:]
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        elif step.startswith("v:"):
            text += f"[={step[2:]}]"
    return text
