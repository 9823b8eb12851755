"""The cells of each built-in type. A head is `Name[:type][+]`; `+` marks a column of `-o wide`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from infra.local.kube.errors import Json
from infra.local.kube.formats import (
    NONE,
    UNKNOWN,
    age,
    age_of,
    labels_text,
    name_of,
    selector_text,
    status_of,
)
from infra.local.kube.workload_cells import (
    cron_job_cells,
    daemon_set_cells,
    deployment_cells,
    job_cells,
    pod_cells,
    replica_set_cells,
    stateful_set_cells,
)

Row = Callable[[Json, datetime], list[Any]]


def _service(obj: Json, now: datetime) -> list[Any]:
    spec = obj["spec"]
    kind = spec.get("type", "ClusterIP")
    ports = []
    for port in spec.get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    external = ",".join(spec.get("externalIPs") or [])
    if kind == "ExternalName":
        external = spec.get("externalName") or NONE
    elif kind == "LoadBalancer" and not external:
        external = "<pending>"
    shown = [kind, spec.get("clusterIP") or NONE, external or NONE, ",".join(ports) or NONE]
    return [name_of(obj), *shown, age_of(obj, now), labels_text(spec.get("selector"))]


def _node(obj: Json, now: datetime) -> list[Any]:
    status, labels = obj.get("status") or {}, obj["metadata"].get("labels") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    state = "Ready" if conditions.get("Ready") == "True" else "NotReady"
    if (obj.get("spec") or {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix)))
    info = status.get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or []}
    return [
        name_of(obj),
        state,
        roles or NONE,
        age_of(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _event(obj: Json, now: datetime) -> list[Any]:
    target = obj.get("involvedObject") or {}
    source = obj.get("source") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("eventTime") or first
    origin = ", ".join(t for t in (source.get("component", ""), source.get("host", "")) if t)
    return [
        age(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{target.get('kind', '').lower()}/{target.get('name', '')}",
        target.get("fieldPath", ""),
        origin or obj.get("reportingComponent", ""),
        str(obj.get("message", "")).strip(),
        age(first, now),
        obj.get("count", 1),
        name_of(obj),
    ]


def _claim(obj: Json, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    modes = ",".join(short.get(m, m) for m in status.get("accessModes") or [])
    capacity = (status.get("capacity") or {}).get("storage", "")
    kind, volume, mode = (
        spec.get("storageClassName", ""),
        spec.get("volumeName", ""),
        spec.get("volumeMode", ""),
    )
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    return [name_of(obj), phase, volume, capacity, modes, kind, "<unset>", age_of(obj, now), mode]


def _ingress(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    hosts = ",".join(rule.get("host") or "*" for rule in spec.get("rules") or []) or "*"
    points = (status_of(obj, "loadBalancer", {}) or {}).get("ingress") or []
    address = ",".join(p.get("ip") or p.get("hostname", "") for p in points)
    ports = "80, 443" if spec.get("tls") else "80"
    return [name_of(obj), spec.get("ingressClassName") or NONE, hosts, address, ports, age_of(obj, now)]


def _autoscaler(obj: Json, now: datetime) -> list[Any]:
    spec = obj["spec"]
    target = spec.get("scaleTargetRef") or {}
    metrics = []
    for metric in spec.get("metrics") or []:
        resource = metric.get("resource") or {}
        goal = resource.get("target") or {}
        wanted = (
            f"{goal['averageUtilization']}%" if "averageUtilization" in goal else goal.get("averageValue")
        )
        if wanted:
            metrics.append(f"{resource.get('name')}: {UNKNOWN}/{wanted}")
    reference = f"{target.get('kind')}/{target.get('name')}"
    bounds = [str(spec.get("minReplicas", NONE)), spec.get("maxReplicas", 0)]
    replicas = status_of(obj, "currentReplicas")
    return [name_of(obj), reference, ", ".join(metrics) or NONE, *bounds, replicas, age_of(obj, now)]


def _budget(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    low, high = str(spec.get("minAvailable", "N/A")), str(spec.get("maxUnavailable", "N/A"))
    return [name_of(obj), low, high, status_of(obj, "disruptionsAllowed"), age_of(obj, now)]


def _binding(obj: Json, now: datetime) -> list[Any]:
    reference = obj["roleRef"]
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        space = f"{subject.get('namespace', '')}/" if subject["kind"] == "ServiceAccount" else ""
        by_kind.setdefault(subject["kind"], []).append(space + subject["name"])
    who = [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name_of(obj), f"{reference['kind']}/{reference['name']}", age_of(obj, now), *who]


def _endpoints(obj: Json, now: datetime) -> list[Any]:
    found = []
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or [{}]:
            found += [f"{a['ip']}:{port.get('port', '')}" for a in subset.get("addresses") or []]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [name_of(obj), ",".join(found[:3]) + more or NONE, age_of(obj, now)]


def _slice(obj: Json, now: datetime) -> list[Any]:
    ports = ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"
    addresses = [a for point in obj.get("endpoints") or [] for a in point.get("addresses") or []]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return [
        name_of(obj),
        obj.get("addressType", ""),
        ports,
        ",".join(addresses[:3]) + more or "<unset>",
        age_of(obj, now),
    ]


def _quota(obj: Json, now: datetime) -> list[Any]:
    hard, used = (
        status_of(obj, "hard", {}) or (obj.get("spec") or {}).get("hard", {}),
        status_of(obj, "used", {}),
    )
    texts = {"req": [], "lim": []}  # type: dict[str, list[str]]
    for name, limit in sorted(hard.items()):
        texts["lim" if name.startswith("limits.") else "req"].append(f"{name}: {used.get(name, 0)}/{limit}")
    return [name_of(obj), ", ".join(texts["req"]), ", ".join(texts["lim"]), age_of(obj, now)]


def _role(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp")]


def _simple(*extract: Callable[[Json], Any]) -> Row:
    return lambda obj, now: [name_of(obj), *(cell(obj) for cell in extract), age_of(obj, now)]


def _namespace_phase(obj: Json) -> str:
    return str(status_of(obj, "phase", "Active"))


def _storage_class(obj: Json, now: datetime) -> list[Any]:
    binding = obj.get("volumeBindingMode", "")
    expansion = bool(obj.get("allowVolumeExpansion", False))
    return [
        name_of(obj),
        obj.get("provisioner"),
        obj.get("reclaimPolicy"),
        binding,
        expansion,
        age_of(obj, now),
    ]


_WIDE = ["Containers+", "Images+", "Selector+"]
_REPLICAS = ["Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", *_WIDE]
_BINDING = ["Name", "Role", "Age", "Users+", "Groups+", "ServiceAccounts+"]

BUILT_IN: dict[tuple[str, str], tuple[list[str], Row]] = {
    ("", "Pod"): (
        ["Name", "Ready", "Status", "Restarts", "Age", "IP+", "Node+", "Nominated Node+", "Readiness Gates+"],
        pod_cells,
    ),
    ("apps", "Deployment"): (
        ["Name", "Ready", "Up-to-date:integer", "Available:integer", "Age", *_WIDE],
        deployment_cells,
    ),
    ("apps", "ReplicaSet"): (_REPLICAS, replica_set_cells),
    ("", "ReplicationController"): (_REPLICAS, replica_set_cells),
    ("apps", "StatefulSet"): (["Name", "Ready", "Age", "Containers+", "Images+"], stateful_set_cells),
    ("apps", "DaemonSet"): (
        [
            "Name",
            *(f"{n}:integer" for n in ("Desired", "Current", "Ready", "Up-to-date", "Available")),
            "Node Selector",
            "Age",
            *_WIDE,
        ],
        daemon_set_cells,
    ),
    ("batch", "Job"): (["Name", "Status", "Completions", "Duration", "Age", *_WIDE], job_cells),
    ("batch", "CronJob"): (
        ["Name", "Schedule", "Timezone", "Suspend", "Active:integer", "Last Schedule", "Age", *_WIDE],
        cron_job_cells,
    ),
    ("", "Service"): (["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector+"], _service),
    ("", "Node"): (
        [
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "Internal-IP+",
            "External-IP+",
            "OS-Image+",
            "Kernel-Version+",
            "Container-Runtime+",
        ],
        _node,
    ),
    ("", "Event"): (
        [
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject+",
            "Source+",
            "Message",
            "First Seen+",
            "Count:integer+",
            "Name+",
        ],
        _event,
    ),
    ("", "Namespace"): (["Name", "Status", "Age"], _simple(_namespace_phase)),
    ("", "ConfigMap"): (
        ["Name", "Data", "Age"],
        _simple(lambda o: str(len(o.get("data") or {}) + len(o.get("binaryData") or {}))),
    ),
    ("", "Secret"): (
        ["Name", "Type", "Data", "Age"],
        _simple(lambda o: o.get("type", "Opaque"), lambda o: str(len(o.get("data") or {}))),
    ),
    ("", "ServiceAccount"): (["Name", "Age"], _simple()),
    ("", "PersistentVolumeClaim"): (
        [
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "VolumeMode+",
        ],
        _claim,
    ),
    ("", "Endpoints"): (["Name", "Endpoints", "Age"], _endpoints),
    ("", "ResourceQuota"): (["Name", "Request", "Limit", "Age"], _quota),
    ("discovery.k8s.io", "EndpointSlice"): (["Name", "AddressType", "Ports", "Endpoints", "Age"], _slice),
    ("networking.k8s.io", "Ingress"): (["Name", "Class", "Hosts", "Address", "Ports", "Age"], _ingress),
    ("networking.k8s.io", "NetworkPolicy"): (
        ["Name", "Pod-Selector", "Age"],
        _simple(lambda o: selector_text((o.get("spec") or {}).get("podSelector"))),
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): (
        ["Name", "Reference", "Targets", "MinPods", "MaxPods:integer", "Replicas:integer", "Age"],
        _autoscaler,
    ),
    ("policy", "PodDisruptionBudget"): (
        ["Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"],
        _budget,
    ),
    ("rbac.authorization.k8s.io", "Role"): (["Name", "Created At"], _role),
    ("rbac.authorization.k8s.io", "ClusterRole"): (["Name", "Created At"], _role),
    ("rbac.authorization.k8s.io", "RoleBinding"): (_BINDING, _binding),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (_BINDING, _binding),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (["Name", "Created At"], _role),
    ("coordination.k8s.io", "Lease"): (
        ["Name", "Holder", "Age"],
        _simple(lambda o: (o.get("spec") or {}).get("holderIdentity", "")),
    ),
    ("scheduling.k8s.io", "PriorityClass"): (
        ["Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"],
        lambda o, now: (
            [
                name_of(o),
                o.get("value"),
                bool(o.get("globalDefault")),
                age_of(o, now),
                o.get("preemptionPolicy", "PreemptLowerPriority"),
            ]
        ),
    ),
    ("storage.k8s.io", "StorageClass"): (
        ["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
        _storage_class,
    ),
}
