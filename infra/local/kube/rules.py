"""Rules that schemas cannot express: names, fields that must fit together, what an update may not change."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from infra.local.kube.errors import Cause, Json, invalid_value, required
from infra.local.kube.naming import label_causes, name_causes
from infra.local.kube.registry import Resource
from infra.local.kube.schema import resource_schema
from infra.local.kube.selectors import match_label_selector
from infra.local.kube.validation import structural_causes

_IMMUTABLE = "field is immutable"


def causes_of(resource: Resource, obj: Json) -> list[Cause]:
    """Everything that is wrong with the object by itself; empty if it may be stored."""
    metadata = obj["metadata"]
    causes = name_causes(resource.kind, resource.group, metadata.get("name") or "")
    causes += label_causes("metadata.labels", metadata.get("labels") or {})
    for key, value in (metadata.get("annotations") or {}).items():
        if not isinstance(value, str):
            causes.append(invalid_value("metadata.annotations", key, "annotation values must be strings"))
    shape = list(structural_causes(obj, resource_schema(resource)))
    check = _CHECKS.get((resource.group, resource.kind))
    # Only an object of the right shape can be looked at more closely.
    return causes + (shape or list(check(obj) if check else ()))


def update_causes(resource: Resource, old: Json, new: Json) -> list[Cause]:
    """What the update changes although it must stay as it was created."""
    causes = []
    for path in _FIXED.get((resource.group, resource.kind), ()):
        before, after = _at(old, path), _at(new, path)
        if before is not None and before != after:
            causes.append(invalid_value(path, str(after), _IMMUTABLE))
    if resource.group == "" and resource.kind in ("ConfigMap", "Secret") and old.get("immutable"):
        causes += [
            Cause("FieldValueForbidden", name, "Forbidden: field is immutable when `immutable` is set")
            for name in ("data", "binaryData", "immutable")
            if old.get(name) != new.get(name)
        ]
    if (resource.group, resource.kind) == ("", "Pod") and _frozen_part(old) != _frozen_part(new):
        why = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds`"
        )
        causes.append(Cause("FieldValueForbidden", "spec", why))
    return causes


_FIXED: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Secret"): ("type",),
    ("", "PersistentVolumeClaim"): ("spec.accessModes", "spec.storageClassName"),
    ("", "Service"): (),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "StatefulSet"): ("spec.selector", "spec.serviceName", "spec.podManagementPolicy"),
    ("batch", "Job"): ("spec.selector", "spec.template", "spec.completionMode"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("spec.group", "spec.scope", "spec.names.plural"),
    ("storage.k8s.io", "StorageClass"): ("provisioner", "parameters", "reclaimPolicy"),
}


def _at(obj: Json, path: str) -> Any:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _frozen_part(pod: Json) -> Json:
    spec: Json = copy.deepcopy(pod.get("spec") or {})
    for name in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName"):
        spec.pop(name, None)
    spec.pop("ephemeralContainers", None)
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        container.pop("image", None)
        container.pop("imagePullPolicy", None)
    return spec


def _pod_spec(spec: Any, path: str) -> Iterator[Cause]:
    if not isinstance(spec, dict):
        return
    containers = spec.get("containers")
    if not containers:
        yield required(f"{path}.containers")
    names: set[str] = set()
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            where = f"{path}.{kind}[{index}]"
            if not isinstance(container, dict):
                continue
            if not container.get("image"):
                yield required(f"{where}.image")
            name = container.get("name")
            if name in names:
                yield Cause("FieldValueDuplicate", f"{where}.name", f'Duplicate value: "{name}"')
            names.add(name or "")
    yield from _volume_mounts(spec, path)


def _volume_mounts(spec: Json, path: str) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for index, container in enumerate(spec.get("containers") or []):
        for position, mount in enumerate(container.get("volumeMounts") or []):
            if mount.get("name") not in volumes:
                where = f"{path}.containers[{index}].volumeMounts[{position}].name"
                yield Cause("FieldValueNotFound", where, f'Not found: "{mount.get("name")}"')


def _pod(obj: Json) -> Iterator[Cause]:
    yield from _pod_spec(obj.get("spec"), "spec")


def _workload(obj: Json) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    yield from _pod_spec(template.get("spec"), "spec.template.spec")
    labels = (template.get("metadata") or {}).get("labels") or {}
    selector = spec.get("selector")
    if isinstance(selector, dict):
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid_value("spec.selector", "{}", "empty selector is invalid for deployment")
        elif not match_label_selector(selector, labels):
            why = "`selector` does not match template `labels`"
            yield invalid_value("spec.template.metadata.labels", str(labels), why)
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        yield invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")


def _job(obj: Json) -> Iterator[Cause]:
    spec = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    yield from _pod_spec(spec, "spec.template.spec")
    if spec.get("restartPolicy") not in ("OnFailure", "Never"):
        text = f'Required value: valid values: "OnFailure", "Never" (got "{spec.get("restartPolicy")}")'
        yield Cause("FieldValueRequired", "spec.template.spec.restartPolicy", text)


def _cron_job(obj: Json) -> Iterator[Cause]:
    schedule = (obj.get("spec") or {}).get("schedule") or ""
    if len(schedule.split()) != 5 and not schedule.startswith("@"):
        yield invalid_value("spec.schedule", schedule, f"expected exactly 5 fields, found {schedule!r}")


def _service(obj: Json) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield required("spec.ports")
    several = len(spec.get("ports") or []) > 1
    for index, port in enumerate(spec.get("ports") or []):
        number = port.get("port")
        if isinstance(number, int) and not 1 <= number <= 65535:
            yield invalid_value(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive")
        if several and not port.get("name"):
            yield required(f"spec.ports[{index}].name")


def _config(obj: Json) -> Iterator[Cause]:
    for field in ("data", "binaryData"):
        for key in obj.get(field) or {}:
            if not key or len(key) > 253 or not all(c.isalnum() or c in "-_." for c in key):
                why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                yield invalid_value(f"{field}[{key}]", key, why)


def _binding(obj: Json) -> Iterator[Cause]:
    reference = obj.get("roleRef") or {}
    if reference.get("kind") not in ("Role", "ClusterRole"):
        text = f'Unsupported value: "{reference.get("kind")}": supported values: "ClusterRole", "Role"'
        yield Cause("FieldValueNotSupported", "roleRef.kind", text)


def _budget(obj: Json) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field)
        if isinstance(value, str) and not re.fullmatch(r"\d+%", value):
            why = "a valid percent string must be a numeric string followed by an ending '%'"
            yield invalid_value(f"spec.{field}", value, why)
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid_value("spec", "", "minAvailable and maxUnavailable cannot be both set")


def _lease(obj: Json) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield invalid_value(
            "spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"
        )
    if spec.get("leaseTransitions", 0) < 0:
        why = "must be greater than or equal to 0"
        yield invalid_value("spec.leaseTransitions", spec["leaseTransitions"], why)


def _definition(obj: Json) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    expected = f"{names.get('plural')}.{spec.get('group')}"
    if obj["metadata"].get("name") != expected:
        why = f'must be spec.names.plural+"."+spec.group ({expected})'
        yield invalid_value("metadata.name", obj["metadata"].get("name", ""), why)
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        text = f'Unsupported value: "{spec.get("scope")}": supported values: "Cluster", "Namespaced"'
        yield Cause("FieldValueNotSupported", "spec.scope", text)
    versions = [v for v in spec.get("versions") or [] if isinstance(v, dict)]
    if sum(bool(v.get("storage")) for v in versions) != 1:
        yield invalid_value("spec.versions", "", "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not schema:
            yield required(path, "schemas are required")
        else:
            yield from _schema_causes(schema, path)


def _schema_causes(schema: Any, path: str) -> Iterator[Cause]:
    """Whether a schema is structural: a type everywhere, and objects where schemas belong."""
    if not isinstance(schema, dict):
        yield invalid_value(path, str(schema), "must be a schema")
        return
    kinds = ("object", "array", "string", "integer", "number", "boolean")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") not in kinds and not (free and "type" not in schema):
        yield required(f"{path}.type", "must not be empty for specified object fields")
    properties = schema.get("properties") or {}
    if not isinstance(properties, dict):
        yield invalid_value(f"{path}.properties", str(properties), "must be a map of schemas")
        return
    for name, inner in properties.items():
        yield from _schema_causes(inner, f"{path}.properties[{name}]")
    if "items" in schema:
        yield from _schema_causes(schema["items"], f"{path}.items")
    if isinstance(values := schema.get("additionalProperties"), dict):
        yield from _schema_causes(values, f"{path}.additionalProperties")


_CHECKS: dict[tuple[str, str], Callable[[Json], Iterator[Cause]]] = {
    ("", "ConfigMap"): _config,
    ("", "Pod"): _pod,
    ("", "Secret"): _config,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apps", "DaemonSet"): _workload,
    ("apps", "Deployment"): _workload,
    ("apps", "ReplicaSet"): _workload,
    ("apps", "StatefulSet"): _workload,
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _job,
    ("coordination.k8s.io", "Lease"): _lease,
    ("policy", "PodDisruptionBudget"): _budget,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _binding,
    ("rbac.authorization.k8s.io", "RoleBinding"): _binding,
}
