"""Discovery documents: what is served here, in the aggregated form and in the older one per group."""

from __future__ import annotations

from typing import Any

from infra.local.kube.errors import Json
from infra.local.kube.registry import Registry, Resource

# What this server claims to be: the version whose API types the `kubernetes` package describes.
VERSION: Json = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+in-memory",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def _kind(group: str, version: str, kind: str) -> Json:
    return {"group": group, "version": version, "kind": kind}


def _aggregated_resource(resource: Resource) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _kind(sub.group, sub.version, sub.kind),
                "verbs": list(sub.verbs),
            }
            for sub in resource.subresources
        ]
    return entry


def aggregated(registry: Registry, *, core: bool) -> Json:
    """`apidiscovery.k8s.io/v2`: everything under /api (core) or under /apis in one document."""
    items = []
    for group, versions in registry.groups().items():
        if (group == "") != core:
            continue
        listed = [
            {
                "version": version,
                "resources": [_aggregated_resource(resource) for resource in resources],
                "freshness": "Current",
            }
            for version, resources in versions.items()
        ]
        metadata: Json = {"name": group} if group else {}
        metadata["creationTimestamp"] = None
        items.append({"metadata": metadata, "versions": listed})
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
    return {**head, "items": items}


def core_versions() -> Json:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _group(name: str, versions: dict[str, list[Resource]]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(registry: Registry) -> Json:
    groups = [_group(name, versions) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Json | None:
    versions = registry.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def resource_list(registry: Registry, group_name: str, version: str) -> Json | None:
    resources = registry.groups().get(group_name, {}).get(version)
    if resources is None:
        return None
    rows: list[Json] = []
    for resource in resources:
        row: Json = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            row["shortNames"] = list(resource.short_names)
        if resource.categories:
            row["categories"] = list(resource.categories)
        rows.append(row)
        rows += [_subresource_row(resource, sub) for sub in resource.subresources]
    group_version = f"{group_name}/{version}" if group_name else version
    head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version}
    return {**head, "resources": rows}


def _subresource_row(resource: Resource, sub: Any) -> Json:
    row: Json = {
        "name": f"{resource.plural}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": list(sub.verbs),
    }
    if (sub.group, sub.version) != (resource.group, resource.version):
        row["group"], row["version"] = sub.group, sub.version
    return row
