"""Create, update, patch, apply and delete: what happens to an object between the request and the store.

The order is the API server's: decode, check unknown fields, prepare (identity, status, generation),
default, validate, record who owns which field, store. A dry run stops before the last step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from infra.local.kube import apply, deletion
from infra.local.kube.conversion import absorb, present
from infra.local.kube.decoding import WriteOptions, decoded
from infra.local.kube.defaults import apply_defaults
from infra.local.kube.errors import (
    Json,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    modified,
    not_found,
)
from infra.local.kube.naming import Clock, generated, new_uid, timestamp
from infra.local.kube.registry import Registry, Resource
from infra.local.kube.rules import causes_of, update_causes
from infra.local.kube.schema import resource_schema
from infra.local.kube.store import Store

_PRESERVED = (
    "uid",
    "creationTimestamp",
    "name",
    "namespace",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)


class Operations:
    """All writes to the store, by requests and by controllers alike."""

    def __init__(self, store: Store, registry: Registry, clock: Clock) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock

    def now(self) -> str:
        return timestamp(self.clock())

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        found = self.store.get(resource.key, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return present(resource, found)

    # --- creating

    def create(self, resource: Resource, namespace: str, body: Any, options: WriteOptions) -> Json:
        obj = decoded(resource, body, options)
        metadata: Json = obj["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = generated(metadata["generateName"])
        return self._insert(resource, namespace, obj, options, applied=False)

    def _insert(
        self, resource: Resource, namespace: str, obj: Json, options: WriteOptions, *, applied: bool
    ) -> Json:
        metadata = obj["metadata"]
        self._check_namespace(resource, namespace, metadata)
        name = metadata.get("name") or ""
        for server_field in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "selfLink"):
            metadata.pop(server_field, None)
        metadata["uid"], metadata["creationTimestamp"] = new_uid(), self.now()
        if resource.has_status():
            obj.pop("status", None)
        if has_generation(resource):
            metadata["generation"] = 1
        schema = resource_schema(resource)
        apply_defaults(resource, obj, schema)
        if causes := causes_of(resource, obj):
            raise invalid(resource, name, causes)
        if self.store.get(resource.key, metadata.get("namespace", ""), name) is not None:
            raise already_exists(resource, name)
        if not applied:
            metadata.pop("managedFields", None)
            obj = apply.record_update(None, obj, schema, _manager(resource, options), self.now())
        options.admit(obj)
        return obj if options.dry_run else self._stored(resource, obj)

    def _check_namespace(self, resource: Resource, namespace: str, metadata: Json) -> None:
        if not resource.namespaced:
            if metadata.pop("namespace", None):
                raise bad_request("namespace must not be set on a cluster-scoped object")
            return
        if metadata.setdefault("namespace", namespace) != namespace:
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request"
                f" ({metadata['namespace']} != {namespace})"
            )
        owner = self.registry.builtin("", "namespaces")
        space = self.store.get(owner.key, "", namespace)
        if space is None:
            raise not_found(owner, namespace)
        if space["metadata"].get("deletionTimestamp"):
            name = metadata.get("name", "")
            raise forbidden(
                f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace '
                f"{namespace} because it is being terminated",
                {
                    "name": name,
                    "kind": resource.plural,
                    "causes": [
                        {"reason": "NamespaceTerminating", "message": "", "field": "metadata.namespace"}
                    ],
                },
            )

    # --- changing

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Json], Any],
        options: WriteOptions,
    ) -> Json:
        """Stores what `change` makes of a copy of the current object.

        409 if the outcome carries another resourceVersion than the current one.
        """
        old = self.get(resource, namespace, name)
        new = decoded(resource, change(copy.deepcopy(old)), options)
        return self._replace(resource, old, new, options, applied=False)

    def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        config: Any,
        options: WriteOptions,
    ) -> tuple[Json, bool]:
        """Server-side apply; the second value says whether the object was created."""
        if not isinstance(config, dict):
            raise bad_request("the configuration to apply is not an object")
        config = decoded(resource, config, options)
        if config["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if config["metadata"].setdefault("name", name) != name:
            raise bad_request(f"the name of the object ({config['metadata']['name']}) does not match {name}")
        schema, manager = resource_schema(resource), _manager(resource, options)
        stored = self.store.get(resource.key, namespace, name)
        old = None if stored is None else present(resource, stored)
        expected = config["metadata"].pop("resourceVersion", None)
        if old is not None and expected not in (None, "", old["metadata"]["resourceVersion"]):
            raise modified(resource, name)
        if old is None and options.subresource:
            raise not_found(resource, name)
        new = apply.server_side_apply(old, config, schema, manager, self.now(), force=options.force)
        if old is None:
            if expected:
                raise not_found(resource, name)
            return self._insert(resource, namespace, new, options, applied=True), True
        new = copy.deepcopy(new)
        return self._replace(resource, old, new, options, applied=True), False

    def _replace(
        self,
        resource: Resource,
        old: Json,
        new: Json,
        options: WriteOptions,
        *,
        applied: bool,
    ) -> Json:
        name, before = old["metadata"]["name"], old["metadata"]
        metadata: Json = new["metadata"]
        _check_identity(resource, before, metadata)
        for kept in _PRESERVED:
            metadata.pop(kept, None)
            if kept in before:
                metadata[kept] = before[kept]
        metadata["resourceVersion"] = before["resourceVersion"]
        if not metadata.get("managedFields") and "managedFields" in before:
            metadata["managedFields"] = before["managedFields"]
        new = _confined(resource, old, new, options.subresource)
        schema = resource_schema(resource)
        if not options.subresource:
            apply_defaults(resource, new, schema)
            if has_generation(resource) and _content(new) != _content(old):
                new["metadata"]["generation"] = before.get("generation", 0) + 1
            if causes := [*causes_of(resource, new), *update_causes(resource, old, new)]:
                raise invalid(resource, name, causes)
        if not applied:
            manager = _manager(resource, options)
            new = apply.record_update(old, new, schema, manager, self.now())
        options.admit(new)
        return new if options.dry_run else self._stored(resource, new)

    def _stored(self, resource: Resource, new: Json) -> Json:
        stored = self.store.put(resource.key, absorb(resource, new))
        if deletion.is_finished(resource, stored):
            # The last finalizer of a deleted object is gone, and so is the object.
            metadata = stored["metadata"]
            self.store.remove(resource.key, metadata.get("namespace", ""), metadata["name"])
        return present(resource, stored)

    def write_status(self, resource: Resource, obj: Json) -> Json:
        """For controllers: stores a new status (and metadata) without any manager."""
        return self._stored(resource, obj)


def _manager(resource: Resource, options: WriteOptions) -> apply.Manager:
    ignores_status = resource.has_status() and not options.subresource
    return apply.Manager(options.manager, resource.api_version, options.subresource, ignores_status)


def _check_identity(resource: Resource, before: Json, metadata: Json) -> None:
    """400 for another name, 409 for another uid or an outdated resourceVersion."""
    name, uid = before["name"], before["uid"]
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL")
    if metadata.get("uid") not in (None, "", uid):
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {uid}"
        raise conflict(resource, name, why)
    if metadata.get("resourceVersion") not in (None, "", before["resourceVersion"]):
        raise modified(resource, name)


def has_generation(resource: Resource) -> bool:
    """Types whose spec is versioned by metadata.generation."""
    if resource.crd_version is not None or resource.group in ("apps", "batch", "policy"):
        return resource.plural != "controllerrevisions"
    return (resource.group, resource.plural) in {
        ("", "pods"),
        ("", "replicationcontrollers"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "networkpolicies"),
    }


def _content(obj: Json) -> Json:
    """What generation counts: everything but metadata and status."""
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _confined(resource: Resource, old: Json, new: Json, subresource: str) -> Json:
    """The new object with only that part changed which the request may change."""
    if subresource == "status":
        kept = {**old, "metadata": {**old["metadata"], "managedFields": new["metadata"].get("managedFields")}}
        if not kept["metadata"]["managedFields"]:
            del kept["metadata"]["managedFields"]
        return {**kept, "status": new["status"]} if "status" in new else kept
    if (resource.group, resource.plural) == ("", "namespaces"):
        finalizing = subresource == "finalize"
        return (
            {**old, "spec": new["spec"]}
            if finalizing
            else {**new, "spec": old["spec"], "status": old["status"]}
        )
    if resource.has_status():
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new
