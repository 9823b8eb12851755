"""OpenAPI v3 documents, generated: one index and one document per group and version.

kubectl validates with them, merges with them and prints `kubectl explain` from them. Each document
holds the types reachable from its resources and, per resource, the one path that kubectl looks
up. OpenAPI v2 is not served: kubectl asks for it only if v3 fails.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from infra.local.kube.errors import Json
from infra.local.kube.registry import Registry, Resource
from infra.local.kube.schema import REF, named_schema, references, resource_schema, schema_name

_QUERY_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"


class OpenApi:
    """Builds documents on demand and keeps those of built-in groups, which never change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._built_in: dict[str, bytes] = {}

    def index(self) -> Json:
        """`/openapi/v3`: where each document is; the hash changes with its content."""
        paths: Json = {}
        for prefix, resources in self._by_prefix().items():
            custom = any(resource.crd_version for resource in resources)
            content = self.document(prefix) if custom else _origin()
            digest = hashlib.sha256(content or b"").hexdigest()[:32].upper()
            paths[prefix] = {"serverRelativeURL": f"/openapi/v3/{prefix}?hash={digest}"}
        return {"paths": paths}

    def document(self, prefix: str) -> bytes | None:
        """The document for `api/v1` or `apis/GROUP/VERSION` as JSON; None if nothing is served there."""
        resources = self._by_prefix().get(prefix)
        if resources is None:
            return None
        if any(resource.crd_version for resource in resources):
            return _encode(_document(resources))
        if prefix not in self._built_in:
            self._built_in[prefix] = _encode(_document(resources))
        return self._built_in[prefix]

    def _by_prefix(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self._registry.all():
            found.setdefault(resource.path_prefix, []).append(resource)
        return found


@cache
def _origin() -> bytes:
    """What built-in documents are made of; cheaper to hash than documents that nobody may ask for."""
    package = files("infra.local.kube")
    sources = ("openapi.py", "schema.py", "data/merge_keys.yaml", "data/resources.yaml")
    return version("kubernetes").encode() + b"".join(package.joinpath(name).read_bytes() for name in sources)


def _encode(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def component_name(resource: Resource) -> str:
    if resource.model:
        return schema_name(resource.model)
    reverse_domain = ".".join(reversed(resource.group.split(".")))
    return f"{reverse_domain}.{resource.version}.{resource.kind}"


def _document(resources: list[Resource]) -> Json:
    schemas: dict[str, Json] = {}
    paths: Json = {}
    for resource in resources:
        name = component_name(resource)
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        schema = deepcopy(resource_schema(resource))
        schema["x-kubernetes-group-version-kind"] = [kind]
        schemas[name] = schema
        paths.update(_paths(resource, kind, name))
    pending = set().union(*(references(schema) for schema in schemas.values()))
    while pending:
        name = pending.pop()
        if name not in schemas:
            schemas[name] = named_schema(name)
            pending |= references(schemas[name]) - schemas.keys()
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _paths(resource: Resource, kind: Json, schema: str) -> Json:
    scope = "namespaces/{namespace}/" if resource.namespaced else ""
    collection = f"/{resource.path_prefix}/{scope}{resource.plural}"
    content = {"application/json": {"schema": {"$ref": REF + schema}}}
    answer = {"200": {"description": "OK", "content": content}}

    def operation(action: str) -> Json:
        found: Json = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            "responses": answer,
        }
        if action in ("patch", "post", "put"):
            found["parameters"] = [
                {"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY_PARAMETERS
            ]
        if action == "patch":
            # kubectl apply looks here for the strategic merge patch, and asks for OpenAPI v2 without it.
            types = _PATCH_TYPES if resource.crd_version else (*_PATCH_TYPES, _STRATEGIC)
            found["requestBody"] = {"content": {name: {"schema": {"type": "object"}} for name in types}}
        return found

    if not resource.stored:
        return {collection: {"post": operation("post")}}
    return {f"{collection}/{{name}}": {"get": operation("get"), "patch": operation("patch")}}
