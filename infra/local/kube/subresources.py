"""Subresources that are not simply a part of their object: scale, eviction, binding, token, the kubelet's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from infra.local.kube import deletion
from infra.local.kube.authentication import Authenticator
from infra.local.kube.decoding import WriteOptions
from infra.local.kube.errors import (
    ApiError,
    Json,
    bad_request,
    conflict,
    method_not_allowed,
    modified,
    not_implemented,
)
from infra.local.kube.formats import labels_text, selector_text
from infra.local.kube.naming import timestamp
from infra.local.kube.operations import Operations
from infra.local.kube.registry import SCALE, Resource
from infra.local.kube.schema import resource_schema
from infra.local.kube.selectors import match_label_selector
from infra.local.kube.validation import check_types

# What a kubelet would have to do, and this cluster has none.
NEEDS_A_CONTAINER = ("log", "exec", "attach", "portforward")
_TOKEN_SECONDS = 3600


def no_container(subresource: str) -> ApiError:
    return not_implemented(
        f"this in-memory cluster runs no containers, so there is no {subresource} here; "
        "use a cluster with nodes (--kubeconfig) for it"
        + (", or write a log into the pod's annotation local.k3s-daas/log" if subresource == "log" else "")
    )


def scale_of(resource: Resource, obj: Json) -> Json:
    """`autoscaling/v1 Scale` of a workload or of a custom resource that declares where its replicas are."""
    paths = _scale_paths(resource)
    selector = (obj.get("spec") or {}).get("selector") or {}
    if resource.crd_version is not None:
        text = _at(obj, paths["labelSelectorPath"]) if paths.get("labelSelectorPath") else ""
    else:
        text = labels_text(selector) if resource.kind == "ReplicationController" else selector_text(selector)
    metadata = {
        name: obj["metadata"][name]
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if name in obj["metadata"]
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": _at(obj, paths["specReplicasPath"]) or 0},
        "status": {"replicas": _at(obj, paths["statusReplicasPath"]) or 0, "selector": text or ""},
    }


def write_scale(
    operations: Operations,
    resource: Resource,
    place: tuple[str, str],
    change: Callable[[Json], Any],
    options: WriteOptions,
) -> Json:
    """`place` is namespace and name. Sets the replicas to what `change` makes of the current Scale."""
    paths, (namespace, name) = _scale_paths(resource), place

    def rescaled(obj: Json) -> Json:
        scale = change(scale_of(resource, obj))
        if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
            raise bad_request("the body is not a Scale")
        check_types(SCALE, scale, resource_schema(SCALE))
        replicas = (scale.get("spec") or {}).get("replicas") or 0
        if replicas < 0:
            raise bad_request("spec.replicas must not be negative")
        wanted = (scale.get("metadata") or {}).get("resourceVersion")
        if wanted not in (None, "", obj["metadata"]["resourceVersion"]):
            raise modified(resource, name)
        *parents, last = paths["specReplicasPath"].strip(".").split(".")
        target = obj
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = replicas
        return obj

    # Through the scale subresource, but what changes is the object's spec.
    options = replace(options, subresource="")
    written = operations.update(resource, namespace, name, rescaled, options)
    return scale_of(resource, written)


def _scale_paths(resource: Resource) -> dict[str, str]:
    if resource.crd_version is not None:
        declared: dict[str, str] = resource.crd_version["subresources"]["scale"]
        return declared
    return {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def _at(obj: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def evict(operations: Operations, resource: Resource, namespace: str, name: str, body: Json) -> Json:
    """Deletes a pod, unless a PodDisruptionBudget that selects it allows no disruption (429)."""
    pod = operations.get(resource, namespace, name)
    budgets = operations.store.objects(("policy", "poddisruptionbudgets"), namespace)
    for budget in budgets:
        selector = (budget.get("spec") or {}).get("selector")
        if not match_label_selector(selector, pod["metadata"].get("labels") or {}):
            continue
        if not (budget.get("status") or {}).get("disruptionsAllowed"):
            raise ApiError(
                429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."
            )
    options = deletion.DeleteOptions.from_request(body.get("deleteOptions"), {})
    dry_run = options.dry_run or bool(body.get("dryRun"))
    deletion.delete(operations, resource, namespace, name, replace(options, dry_run=dry_run))
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def bind(operations: Operations, resource: Resource, namespace: str, name: str, body: Json) -> Json:
    """Puts a pod on a node, once."""
    node = (body.get("target") or {}).get("name")
    if not node:
        raise bad_request("target.name is required")
    pod = copy.deepcopy(operations.get(resource, namespace, name))
    if pod["spec"].get("nodeName"):
        raise conflict(resource, name, f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"')
    pod["spec"]["nodeName"] = node
    operations.write_status(resource, pod)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def request_token(operations: Operations, authenticator: Authenticator, account: Json, body: Json) -> Json:
    """A token that this server accepts as that service account until it expires."""
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds") or _TOKEN_SECONDS
    if not isinstance(seconds, int) or seconds < 600:
        raise bad_request("spec.expirationSeconds: may not specify a duration less than 10 minutes")
    token, until = authenticator.issue(namespace, account, seconds, operations.clock())
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": operations.now()},
        "spec": {"audiences": spec.get("audiences") or [], "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": timestamp(until)},
    }


def check_subresource(resource: Resource, name: str, method: str) -> None:
    """404 for a subresource that the type does not have, 405 for a method that it does not take."""
    found = next((sub for sub in resource.subresources if sub.name == name), None)
    if found is None:
        raise ApiError(404, "NotFound", "the server could not find the requested resource", {})
    verbs = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}
    if verbs.get(method, "delete") not in found.verbs:
        raise method_not_allowed()
