"""Which resources exist: the built-in ones of `data/resources.yaml` and those that CRDs add at run time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

import yaml

from infra.local.kube.errors import Json
from infra.local.kube.store import ResourceKey

USUAL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

# The kind that a subresource answers with, where it is not its parent's.
_SUBRESOURCE_KINDS: dict[str, tuple[str, str, str]] = {
    "scale": ("autoscaling", "v1", "Scale"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
    "exec": ("", "v1", "PodExecOptions"),
    "attach": ("", "v1", "PodAttachOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
}
_SUBRESOURCE_VERBS: dict[str, tuple[str, ...]] = {
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "ephemeralcontainers": ("get", "patch", "update"),
    "finalize": ("update",),
    "log": ("get",),
    "exec": ("create", "get"),
    "attach": ("create", "get"),
    "portforward": ("create", "get"),
}


@dataclass(frozen=True)
class Subresource:
    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    """One resource type in one version, as discovery describes it."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = USUAL_VERBS
    subresource_names: tuple[str, ...] = ()
    model: str = ""
    """Class of `kubernetes.client.models` that describes the type; empty for custom resources."""
    stored: bool = True
    """False for the reviews, which are answered and forgotten."""
    storage_group: str = ""
    crd_version: Json | None = field(default=None, compare=False)
    """The entry of `spec.versions` that defines a custom resource."""

    @cached_property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def key(self) -> ResourceKey:
        return self.storage_group, self.plural

    @cached_property
    def qualified(self) -> str:
        """`deployments.apps`, the form used in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def path_prefix(self) -> str:
        return f"apis/{self.group}/{self.version}" if self.group else f"api/{self.version}"

    @cached_property
    def subresources(self) -> tuple[Subresource, ...]:
        found = []
        for name in self.subresource_names:
            default = (self.group, self.version, self.kind)
            group, version, kind = _SUBRESOURCE_KINDS.get(name, default)
            verbs = _SUBRESOURCE_VERBS.get(name, ("create",))
            found.append(Subresource(name, group, version, kind, verbs))
        return tuple(found)

    def has_status(self) -> bool:
        return "status" in self.subresource_names


# Types that only travel in bodies.
DELETE_OPTIONS = Resource("", "v1", "", "DeleteOptions", "", model="V1DeleteOptions")
SCALE = Resource("autoscaling", "v1", "", "Scale", "", model="V1Scale")


def _builtin(group: str, version: str, row: dict[str, Any]) -> Resource:
    kind = row["kind"]
    return Resource(
        group=group,
        version=version,
        plural=row["name"],
        kind=kind,
        singular=row.get("singular", kind.lower()),
        namespaced=row.get("namespaced", True),
        short_names=tuple(row.get("short", ())),
        categories=tuple(row.get("categories", ())),
        verbs=tuple(row.get("verbs", USUAL_VERBS)),
        subresource_names=tuple(row.get("sub", ())),
        model=row.get("model", f"V1{kind}"),
        stored=row.get("stored", True),
        storage_group=row.get("stored_as", group),
    )


def from_crd(crd: Json) -> list[Resource]:
    """The resources that a CustomResourceDefinition serves, one per served version."""
    spec, found = crd["spec"], []
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        found.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                kind=names["kind"],
                singular=names.get("singular") or names["kind"].lower(),
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresource_names=tuple(name for name in ("status", "scale") if name in subresources),
                storage_group=spec["group"],
                crd_version=version,
            )
        )
    return found


class Registry:
    """Finds resources by path and lists them for discovery, in a stable order."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, str], Resource] = {}
        text = files("infra.local.kube").joinpath("data/resources.yaml").read_text("utf-8")
        for block in yaml.safe_load(text):
            for row in block["resources"]:
                self._add(_builtin(block["group"], block["version"], row))

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._resources.get((group, version, plural))

    def by_key(self, key: ResourceKey) -> Resource | None:
        """Any version of the resource whose objects are stored under the key."""
        for resource in self._resources.values():
            if resource.key == key and resource.group == key[0]:
                return resource
        return None

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        for resource in self._resources.values():
            if resource.api_version == api_version and resource.kind == kind:
                return resource
        return None

    def builtin(self, group: str, plural: str) -> Resource:
        """A built-in resource, which must exist."""
        for resource in self._resources.values():
            if resource.group == group and resource.plural == plural:
                return resource
        raise KeyError(f"{plural}.{group}")

    def all(self) -> list[Resource]:
        return list(self._resources.values())

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """group → version → resources; the core group has the empty name."""
        grouped: dict[str, dict[str, list[Resource]]] = {}
        for resource in self._resources.values():
            grouped.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return grouped

    def define(self, crd: Json) -> None:
        """Serves what the CRD now says, forgetting what it said before."""
        self.undefine(crd)
        for resource in from_crd(crd):
            self._add(resource)

    def undefine(self, crd: Json) -> None:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        gone = [k for k, r in self._resources.items() if r.crd_version and (k[0], k[2]) == (group, plural)]
        for key in gone:
            del self._resources[key]

    def _add(self, resource: Resource) -> None:
        self._resources[resource.group, resource.version, resource.plural] = resource
