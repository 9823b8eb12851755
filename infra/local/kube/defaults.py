"""Defaults that the API server fills in before it stores an object.

Only what kubectl shows, or what its three-way merge would otherwise report as a change. Defaulting is
idempotent, so that applying the same manifest again changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from infra.local.kube.errors import Json
from infra.local.kube.pod_defaults import fill, pod_spec_defaults, template_defaults
from infra.local.kube.registry import Resource
from infra.local.kube.schema import items_of, property_of, resolve

NODE_NAME = "local"


def apply_defaults(resource: Resource, obj: Json, schema: Json) -> None:
    """Completes the object in place."""
    if resource.crd_version is not None:
        _schema_defaults(obj, schema)
        return
    _normalise_quantities(obj, schema)
    if setter := _SETTERS.get((resource.storage_group, resource.kind)):
        setter(obj)


def _schema_defaults(value: Any, schema: Json) -> None:
    """`default` of a structural schema, for fields whose parent is there."""
    if isinstance(value, dict):
        for name, declared in (resolve(schema).get("properties") or {}).items():
            if name not in value and "default" in declared:
                value[name] = declared["default"]
        for name, inner in value.items():
            if name != "metadata":
                _schema_defaults(inner, property_of(schema, name))
    elif isinstance(value, list):
        for inner in value:
            _schema_defaults(inner, items_of(schema))


def _normalise_quantities(value: Any, schema: Json) -> None:
    """`cpu: 1` is the quantity "1"."""
    if isinstance(value, dict):
        for name, inner in value.items():
            declared = property_of(schema, name)
            is_quantity = declared.get("format") == "quantity"
            if is_quantity and isinstance(inner, int | float) and not isinstance(inner, bool):
                value[name] = str(inner)
            elif name != "managedFields":
                _normalise_quantities(inner, declared)
    elif isinstance(value, list):
        for inner in value:
            _normalise_quantities(inner, items_of(schema))


def _pod(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec_defaults(spec)
    fill(spec, enableServiceLinks=True, serviceAccountName="default", serviceAccount="default")
    fill(spec, preemptionPolicy="PreemptLowerPriority", priority=0)
    resources = [c.get("resources") or {} for c in spec.get("containers") or [] if isinstance(c, dict)]
    guaranteed = all(r.get("limits") and r.get("requests", r["limits"]) == r["limits"] for r in resources)
    burstable = any(r.get("limits") or r.get("requests") for r in resources)
    quality = "Guaranteed" if resources and guaranteed else "Burstable" if burstable else "BestEffort"
    fill(obj, status={"phase": "Pending", "qosClass": quality})


def _deployment(obj: Json) -> None:
    spec = template_defaults(obj)
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    fill(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        fill(spec["strategy"], rollingUpdate={})
        fill(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    fill(obj, status={})


def _replica_set(obj: Json) -> None:
    fill(template_defaults(obj), replicas=1)
    fill(obj, status={"replicas": 0})


def _replication_controller(obj: Json) -> None:
    spec = template_defaults(obj)
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    fill(spec, replicas=1, selector=template_labels or {})
    fill(obj, status={"replicas": 0})


def _stateful_set(obj: Json) -> None:
    spec = template_defaults(obj)
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady", updateStrategy={})
    fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        fill(spec["updateStrategy"], rollingUpdate={"partition": 0})
    retention = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    fill(spec, persistentVolumeClaimRetentionPolicy=retention)
    fill(obj, status={"replicas": 0, "availableReplicas": 0})


def _daemon_set(obj: Json) -> None:
    spec = template_defaults(obj)
    fill(spec, revisionHistoryLimit=10, updateStrategy={})
    fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        fill(spec["updateStrategy"], rollingUpdate={"maxSurge": 0, "maxUnavailable": 1})
    counters = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
    fill(obj, status=dict.fromkeys(counters, 0))


def _job_spec(spec: Json) -> None:
    fill(spec, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    fill(spec, podReplacementPolicy="TerminatingOrFailed", manualSelector=False)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    fill(spec, parallelism=1)


def _job(obj: Json) -> None:
    spec = template_defaults(obj)
    _job_spec(spec)
    if not spec.get("selector") and obj["metadata"].get("uid"):
        # The server selects a job's pods by the job's uid, so that no two jobs share pods.
        labels = {"batch.kubernetes.io/controller-uid": obj["metadata"]["uid"]}
        spec["selector"] = {"matchLabels": labels}
        if isinstance(template := spec.get("template"), dict):
            ours = {**labels, "batch.kubernetes.io/job-name": obj["metadata"].get("name", "")}
            template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), **ours}
    fill(obj, status={})


def _cron_job(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, concurrencyPolicy="Allow", failedJobsHistoryLimit=1, successfulJobsHistoryLimit=3)
    fill(spec, suspend=False)
    if isinstance(job := spec.get("jobTemplate"), dict):
        fill(job, metadata={})
        template_defaults(job)
    fill(obj, status={})


def cluster_ip(seed: str) -> str:
    """An address of the service network, stable for one object (by uid), so that no allocator is needed."""
    digest = hashlib.sha256(seed.encode()).digest()
    return f"10.96.{digest[0]}.{digest[1] % 250 + 2}"


def _service(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, type="ClusterIP", sessionAffinity="None")
    if spec["type"] != "ExternalName":
        fill(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
        fill(spec, clusterIP=cluster_ip(obj["metadata"].get("uid", "")))
        fill(spec, clusterIPs=[spec["clusterIP"]])
    for port in spec.get("ports") or []:
        fill(port, protocol="TCP", targetPort=port.get("port"))
        if spec["type"] in ("NodePort", "LoadBalancer"):
            fill(port, nodePort=30000 + int(port.get("port") or 0) % 2768)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        fill(spec, externalTrafficPolicy="Cluster")
    fill(obj, status={"loadBalancer": {}})


def _namespace(obj: Json) -> None:
    metadata = obj["metadata"]
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        "kubernetes.io/metadata.name": metadata.get("name", ""),
    }
    spec = obj.get("spec")
    obj["spec"] = spec if spec and "finalizers" in spec else {"finalizers": ["kubernetes"]}
    fill(obj, status={"phase": "Active"})


def _secret(obj: Json) -> None:
    fill(obj, type="Opaque")
    for name, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[name] = base64.b64encode(str(text).encode()).decode()


def _claim(obj: Json) -> None:
    fill(obj.setdefault("spec", {}), volumeMode="Filesystem")
    fill(obj, status={"phase": "Pending"})


def _autoscaler(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    target = {"type": "Utilization", "averageUtilization": 80}
    fill(spec, minReplicas=1)
    if obj["apiVersion"] == "autoscaling/v1":
        fill(spec, targetCPUUtilizationPercentage=80)
    else:
        fill(spec, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
    fill(obj, status={"desiredReplicas": 0})


def _network_policy(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, podSelector={}, policyTypes=["Ingress", *(["Egress"] if spec.get("egress") else [])])


def _role_binding(obj: Json) -> None:
    if isinstance(reference := obj.get("roleRef"), dict):
        fill(reference, apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup="rbac.authorization.k8s.io")


def _custom_resource_definition(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, conversion={"strategy": "None"})
    names = spec.get("names") or {}
    if kind := names.get("kind"):
        fill(names, singular=kind.lower(), listKind=f"{kind}List")


def _storage_class(obj: Json) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


_SETTERS: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "ReplicationController"): _replication_controller,
    ("", "Secret"): _secret,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_resource_definition,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _job,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _role_binding,
    ("rbac.authorization.k8s.io", "RoleBinding"): _role_binding,
    ("storage.k8s.io", "StorageClass"): _storage_class,
}
