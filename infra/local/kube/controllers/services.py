"""What selects pods by label: Endpoints and EndpointSlices of services, and disruption budgets."""

from __future__ import annotations

import math

from infra.local.kube.controllers.context import PODS, Context, is_ready, is_terminating
from infra.local.kube.defaults import NODE_NAME
from infra.local.kube.errors import Json
from infra.local.kube.naming import hash_suffix
from infra.local.kube.selectors import match_label_selector
from infra.local.kube.store import ResourceKey

_ENDPOINTS: ResourceKey = ("", "endpoints")
_SLICES: ResourceKey = ("discovery.k8s.io", "endpointslices")


def reconcile(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    store = context.operations.store
    slice_name = f"{name}-{hash_suffix(f'{namespace}/{name}')[:5]}"
    if obj is None or is_terminating(obj):
        if obj is None and (left := store.get(_ENDPOINTS, namespace, name)):
            context.delete(_ENDPOINTS, left)
        return
    selector = obj["spec"].get("selector")
    if not selector:
        return  # its endpoints are kept by hand
    pods = [
        pod
        for pod in context.objects(PODS, namespace)
        if match_label_selector({"matchLabels": selector}, pod["metadata"].get("labels") or {})
        and is_ready(pod)
    ]
    ports = [_port(port, pods) for port in obj["spec"].get("ports") or []]
    subset: Json = {"addresses": [_address(pod) for pod in pods], "ports": ports}
    subsets = [subset] if pods else []
    _put(context, _ENDPOINTS, name, obj, {"subsets": subsets} if subsets else {})
    endpoints = [
        {
            "addresses": [pod["status"]["podIP"]],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": NODE_NAME,
            "targetRef": _address(pod)["targetRef"],
        }
        for pod in pods
    ]
    content: Json = {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}
    _put(context, _SLICES, slice_name, obj, content)


def _address(pod: Json) -> Json:
    metadata = pod["metadata"]
    target = {
        "kind": "Pod",
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
    }
    return {"ip": pod["status"]["podIP"], "nodeName": NODE_NAME, "targetRef": target}


def _port(port: Json, pods: list[Json]) -> Json:
    target = port.get("targetPort", port["port"])
    if isinstance(target, str):
        named = [p for pod in pods for c in pod["spec"]["containers"] for p in c.get("ports") or []]
        target = next((p["containerPort"] for p in named if p.get("name") == target), port["port"])
    return {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}


def _put(context: Context, key: ResourceKey, name: str, service: Json, content: Json) -> None:
    namespace = service["metadata"]["namespace"]
    known = context.operations.store.get(key, namespace, name)
    if known is not None:

        def replace(new: Json) -> None:
            new.pop("subsets", None)
            new.update(content)

        context.update(key, known, replace)
        return
    label = {"kubernetes.io/service-name": service["metadata"]["name"]} if key == _SLICES else {}
    labels = {**(service["metadata"].get("labels") or {}), **label}
    metadata: Json = {"name": name, **({"labels": labels} if labels else {})}
    context.create(key, namespace, {"metadata": metadata, **content}, service if key == _SLICES else None)


def reconcile_budget(context: Context, namespace: str, name: str, obj: Json | None) -> None:
    """How many of the selected pods may be evicted now."""
    if obj is None or is_terminating(obj):
        return
    spec = obj.get("spec") or {}
    selector = spec.get("selector")
    pods = [
        p
        for p in context.objects(PODS, namespace)
        if match_label_selector(selector, p["metadata"].get("labels") or {})
    ]
    healthy, expected = sum(map(is_ready, pods)), len(pods)
    if (most := spec.get("maxUnavailable")) is not None:
        desired = max(expected - _share(most, expected), 0)
    else:
        desired = _share(spec.get("minAvailable", 1), expected)
    allowed = max(healthy - desired, 0)
    status: Json = {
        "observedGeneration": obj["metadata"]["generation"],
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed if expected else 0,
    }
    context.update(("policy", "poddisruptionbudgets"), obj, lambda new: new.update(status=status))


def _share(value: int | str, total: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(total * int(value[:-1]) / 100)
    return int(value)
