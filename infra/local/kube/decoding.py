"""From a request body to an object that may be worked on: kind, types and unknown fields checked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from infra.local.kube.errors import Json, bad_request
from infra.local.kube.registry import Resource
from infra.local.kube.schema import resource_schema
from infra.local.kube.validation import check_types, pruned, unknown_fields


@dataclass
class WriteOptions:
    """The query of a writing request. `warnings` collects what goes out as `Warning` headers."""

    manager: str
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False
    subresource: str = ""
    """What is written: `status`, … or the object itself."""
    warnings: list[str] = field(default_factory=list)
    admit: Callable[[Json], None] = lambda obj: None
    """Called with the object that would be stored, valid and complete; may refuse it by raising."""


def decoded(resource: Resource, body: Any, options: WriteOptions) -> Json:
    """The received object, checked for kind, types and unknown fields, and without the latter."""
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized: the body must be an object")
    for name, expected in (("kind", resource.kind), ("apiVersion", resource.api_version)):
        given = body.get(name)
        if given is not None and given != expected:
            raise bad_request(
                f"the API version in the data ({body.get('apiVersion')}) or its kind ({body.get('kind')})"
                f" does not match the expected {resource.api_version} {resource.kind}"
            )
    if body.get("metadata") is not None and not isinstance(body["metadata"], dict):
        raise bad_request("metadata must be an object")
    schema = resource_schema(resource)
    obj: Json = {**body, "apiVersion": resource.api_version, "kind": resource.kind}
    if resource.crd_version is None:
        obj = _without_nulls(obj)
    obj["metadata"] = _without_nulls(obj.get("metadata") or {})
    check_types(resource, obj if resource.crd_version is None else {"metadata": obj["metadata"]}, schema)
    if unknown := list(unknown_fields(obj, schema)):
        _report_unknown(resource, unknown, options)
    cleaned: Json = pruned(copy.deepcopy(obj), schema)
    return cleaned


def _report_unknown(resource: Resource, unknown: list[str], options: WriteOptions) -> None:
    found = [f'unknown field "{path}"' for path in unknown]
    if options.field_validation == "Strict":
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {', '.join(found)}"
        )
    if options.field_validation == "Warn":
        options.warnings.extend(found)


def _without_nulls(value: Any) -> Any:
    """A null in JSON is an absent field to the API server's decoder."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
