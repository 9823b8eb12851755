"""managedFields and server-side apply: who owns which field, and what happens when two want the same.

The rules are those of Kubernetes' page on server-side apply. Left out: `x-kubernetes-map-type` and
list types of custom resources are honoured, but a change of a CRD's list types does not convert owners.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from infra.local.kube.errors import Json, apply_conflict
from infra.local.kube.fieldsets import (
    ABSENT,
    Path,
    fields_of,
    from_fields_v1,
    item_step,
    readable,
    to_fields_v1,
    value_at,
    without,
)
from infra.local.kube.schema import is_atomic, is_set, items_of, map_keys, property_of


@dataclass(frozen=True)
class Manager:
    """Who writes: name, the API version written in, and the subresource if it was one."""

    name: str
    api_version: str
    subresource: str = ""
    ignores_status: bool = False
    """The write cannot touch the status, so the manager never owns a field of it."""

    def may_own(self, fields: set[Path]) -> set[Path]:
        return {path for path in fields if path[0] != "f:status"} if self.ignores_status else fields


@dataclass
class _Entry:
    manager: Manager
    operation: str
    time: str
    fields: set[Path]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        manager = self.manager
        return manager.name, self.operation, manager.subresource, manager.api_version

    def described(self) -> str:
        text = f'"{self.manager.name}"'
        if self.manager.subresource:
            text += f' with subresource "{self.manager.subresource}"'
        if self.operation == "Update":
            text += f" using {self.manager.api_version}"
        return text


def _entries(obj: Json) -> list[_Entry]:
    found = []
    for raw in obj["metadata"].get("managedFields") or []:
        if "fieldsV1" not in raw:
            continue  # kubectl sends [{}] to reset the list
        manager = Manager(raw.get("manager", ""), raw.get("apiVersion", ""), raw.get("subresource", ""))
        fields = from_fields_v1(raw["fieldsV1"])
        found.append(_Entry(manager, raw.get("operation", "Update"), raw.get("time", ""), fields))
    return found


def _with_entries(obj: Json, entries: list[_Entry]) -> Json:
    listed = []
    for entry in entries:
        if not entry.fields:
            continue
        raw: Json = {
            "manager": entry.manager.name,
            "operation": entry.operation,
            "apiVersion": entry.manager.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(entry.fields),
        }
        if entry.manager.subresource:
            raw["subresource"] = entry.manager.subresource
        listed.append(raw)
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if listed:
        metadata["managedFields"] = listed
    return {**obj, "metadata": metadata}


def record_update(old: Json | None, new: Json, schema: Json, manager: Manager, now: str) -> Json:
    """`new` with the fields that differ from `old` owned by the manager (operation Update)."""
    before = fields_of(old, schema) if old else set()
    after = fields_of(new, schema)
    changed = {p for p in after if p not in before or value_at(old, p) != value_at(new, p)}
    changed = manager.may_own(changed)
    if old is not None and not changed and before <= after:
        return _with_entries(new, _entries(new))
    entries, own = [], None
    for entry in _entries(new):
        if entry.identity == (manager.name, "Update", manager.subresource, manager.api_version):
            own = entry
            entry.fields = (entry.fields & after) | changed
            entry.time = now if changed else entry.time
        else:
            entry.fields = (entry.fields - changed) & after
        entries.append(entry)
    if own is None:
        entries.append(_Entry(manager, "Update", now, changed))
    return _with_entries(new, entries)


def server_side_apply(
    live: Json | None, config: Json, schema: Json, manager: Manager, now: str, *, force: bool
) -> Json:
    """The object after `config` was applied. Raises 409 with the fields that other managers own."""
    wanted = manager.may_own(fields_of(config, schema))
    if live is None:
        fresh = copy.deepcopy(config)
        return _with_entries(fresh, [_Entry(manager, "Apply", now, wanted)])
    entries = _entries(live)
    identity = (manager.name, "Apply", manager.subresource, manager.api_version)
    own = next((entry for entry in entries if entry.identity[:3] == identity[:3]), None)
    others = [entry for entry in entries if entry is not own]
    conflicts: list[tuple[str, str]] = []
    for entry in others:
        taken = {p for p in entry.fields & wanted if p[-1] != "." and _differs(live, config, p)}
        if force:
            entry.fields -= taken
        else:
            conflicts.extend((entry.described(), readable(path)) for path in sorted(taken))
    if conflicts:
        raise apply_conflict(conflicts)
    kept_by_others: set[Path] = set().union(*(entry.fields for entry in others)) if others else set()
    dropped = (own.fields if own else set()) - wanted - kept_by_others
    merged = _merge(without(live, dropped), config, schema)
    unchanged = own is not None and own.fields == wanted and merged == live
    applied = _Entry(manager, "Apply", own.time if own and unchanged else now, wanted)
    return _with_entries(merged, [applied, *others])


def _differs(live: Json, config: Json, path: Path) -> bool:
    current = value_at(live, path)
    return current is ABSENT or current != value_at(config, path)


def _merge(live: Any, config: Any, schema: Json) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and not is_atomic(schema):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = _merge(live.get(name), value, property_of(schema, name))
        return merged
    if isinstance(config, list) and isinstance(live, list) and map_keys(schema):
        return _merge_items(live, config, schema)
    if isinstance(config, list) and isinstance(live, list) and is_set(schema):
        return live + [value for value in config if value not in live]
    return copy.deepcopy(config)


def _merge_items(live: list[Any], config: list[Any], schema: Json) -> list[Any]:
    merged = {item_step(item, schema): item for item in live}
    for item in config:
        step = item_step(item, schema)
        merged[step] = _merge(merged.get(step), item, items_of(schema))
    return list(merged.values())
