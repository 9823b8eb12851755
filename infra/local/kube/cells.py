"""The cells of each built-in type. A head is `Name[:type][+]`; `+` marks a column of `-o wide`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from infra.local.kube.errors import Json
from infra.local.kube.naming import parse_time

Row = Callable[[Json, datetime], list[Any]]
NONE, UNKNOWN = "<none>", "<unknown>"


def age(since: str | None, now: datetime) -> str:
    """kubectl's duration format: two units at most, the second only where it still matters."""
    if not since:
        return UNKNOWN
    return duration(int((now - parse_time(since)).total_seconds()))


def duration(seconds: int) -> str:
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    # Up to which number of seconds two units are shown, or one; larger spans come later.
    day, hour, minute = 86400, 3600, 60
    for limit, unit, small in (
        (10 * minute, ("m", minute), ("s", 1)),
        (180 * minute, ("m", minute), None),
        (8 * hour, ("h", hour), ("m", minute)),
        (48 * hour, ("h", hour), None),
        (8 * day, ("d", day), ("h", hour)),
        (730 * day, ("d", day), None),
        (8 * 365 * day, ("y", 365 * day), ("d", day)),
    ):
        if seconds < limit:
            return _in_units(seconds, unit, small)
    return _in_units(seconds, ("y", 365 * day), None)


def _in_units(seconds: int, unit: tuple[str, int], small: tuple[str, int] | None) -> str:
    count, rest = divmod(seconds, unit[1])
    tail = f"{rest // small[1]}{small[0]}" if small and rest // small[1] else ""
    return f"{count}{unit[0]}{tail}"


def labels_text(labels: dict[str, str] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_text(selector: Json | None) -> str:
    """A LabelSelector in the form of a query string."""
    if not selector:
        return NONE
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(expression.get("values") or [])
        operator = expression["operator"]
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append(texts.get(operator, f"!{key}"))
    return ",".join(parts) or NONE


def _age(obj: Json, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _name(obj: Json) -> str:
    return str(obj["metadata"]["name"])


def _containers(spec: Json) -> tuple[str, str]:
    containers = spec.get("containers") or []
    return ",".join(c["name"] for c in containers), ",".join(c.get("image", "") for c in containers)


def _template_containers(obj: Json) -> tuple[str, str]:
    return _containers((obj["spec"].get("template") or {}).get("spec") or {})


def _status(obj: Json, name: str, default: Any = 0) -> Any:
    return (obj.get("status") or {}).get(name, default)


def pod_phase(obj: Json) -> str:
    """The STATUS column: a reason is more telling than the phase."""
    status = obj.get("status") or {}
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _pod(obj: Json, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    states = status.get("containerStatuses") or []
    ready = sum(bool(state.get("ready")) for state in states)
    restarts = sum(state.get("restartCount", 0) for state in states)
    gates = len(spec.get("readinessGates") or [])
    return [
        _name(obj),
        f"{ready}/{len(spec.get('containers') or [])}",
        pod_phase(obj),
        str(restarts),
        _age(obj, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        NONE if not gates else f"0/{gates}",
    ]


def _deployment(obj: Json, now: datetime) -> list[Any]:
    ready = f"{_status(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}"
    updated, available = _status(obj, "updatedReplicas"), _status(obj, "availableReplicas")
    selector = selector_text(obj["spec"].get("selector"))
    return [_name(obj), ready, updated, available, _age(obj, now), *_template_containers(obj), selector]


def _replica_set(obj: Json, now: datetime) -> list[Any]:
    selector = obj["spec"].get("selector") or {}
    text = labels_text(selector) if obj["kind"] == "ReplicationController" else selector_text(selector)
    counts = [obj["spec"].get("replicas", 0), _status(obj, "replicas"), _status(obj, "readyReplicas")]
    return [_name(obj), *counts, _age(obj, now), *_template_containers(obj), text]


def _stateful_set(obj: Json, now: datetime) -> list[Any]:
    ready = f"{_status(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}"
    return [_name(obj), ready, _age(obj, now), *_template_containers(obj)]


def _daemon_set(obj: Json, now: datetime) -> list[Any]:
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady")
    counts = [_status(obj, name) for name in (*names, "updatedNumberScheduled", "numberAvailable")]
    spec = obj["spec"]
    nodes = labels_text(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector"))
    selector = selector_text(spec.get("selector"))
    return [_name(obj), *counts, nodes, _age(obj, now), *_template_containers(obj), selector]


def _job(obj: Json, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    conditions = [c["type"] for c in status.get("conditions") or [] if c.get("status") == "True"]
    state = "Complete" if "Complete" in conditions else "Failed" if "Failed" in conditions else "Running"
    if obj["spec"].get("suspend"):
        state = "Suspended"
    took = ""
    if start := status.get("startTime"):
        end = parse_time(status["completionTime"]) if status.get("completionTime") else now
        took = age(start, end)
    completions = f"{status.get('succeeded', 0)}/{obj['spec'].get('completions', 1)}"
    selector = selector_text(obj["spec"].get("selector"))
    return [_name(obj), state, completions, took, _age(obj, now), *_template_containers(obj), selector]


def _cron_job(obj: Json, now: datetime) -> list[Any]:
    spec, last = obj["spec"], _status(obj, "lastScheduleTime", None)
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    return [
        _name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(spec.get("suspend", False)),
        len(_status(obj, "active", [])),
        age(last, now) if last else NONE,
        _age(obj, now),
        *_containers(template.get("spec") or {}),
        selector_text((spec.get("jobTemplate") or {}).get("spec", {}).get("selector")),
    ]


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
    return [_name(obj), *shown, _age(obj, now), labels_text(spec.get("selector"))]


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
        _name(obj),
        state,
        roles or NONE,
        _age(obj, now),
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
        _name(obj),
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
    return [_name(obj), phase, volume, capacity, modes, kind, "<unset>", _age(obj, now), mode]


def _ingress(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    hosts = ",".join(rule.get("host") or "*" for rule in spec.get("rules") or []) or "*"
    points = (_status(obj, "loadBalancer", {}) or {}).get("ingress") or []
    address = ",".join(p.get("ip") or p.get("hostname", "") for p in points)
    ports = "80, 443" if spec.get("tls") else "80"
    return [_name(obj), spec.get("ingressClassName") or NONE, hosts, address, ports, _age(obj, now)]


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
    replicas = _status(obj, "currentReplicas")
    return [_name(obj), reference, ", ".join(metrics) or NONE, *bounds, replicas, _age(obj, now)]


def _budget(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    low, high = str(spec.get("minAvailable", "N/A")), str(spec.get("maxUnavailable", "N/A"))
    return [_name(obj), low, high, _status(obj, "disruptionsAllowed"), _age(obj, now)]


def _binding(obj: Json, now: datetime) -> list[Any]:
    reference = obj["roleRef"]
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        space = f"{subject.get('namespace', '')}/" if subject["kind"] == "ServiceAccount" else ""
        by_kind.setdefault(subject["kind"], []).append(space + subject["name"])
    who = [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [_name(obj), f"{reference['kind']}/{reference['name']}", _age(obj, now), *who]


def _endpoints(obj: Json, now: datetime) -> list[Any]:
    found = []
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or [{}]:
            found += [f"{a['ip']}:{port.get('port', '')}" for a in subset.get("addresses") or []]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [_name(obj), ",".join(found[:3]) + more or NONE, _age(obj, now)]


def _slice(obj: Json, now: datetime) -> list[Any]:
    ports = ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"
    addresses = [a for point in obj.get("endpoints") or [] for a in point.get("addresses") or []]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return [
        _name(obj),
        obj.get("addressType", ""),
        ports,
        ",".join(addresses[:3]) + more or "<unset>",
        _age(obj, now),
    ]


def _quota(obj: Json, now: datetime) -> list[Any]:
    hard, used = _status(obj, "hard", {}) or (obj.get("spec") or {}).get("hard", {}), _status(obj, "used", {})
    texts = {"req": [], "lim": []}  # type: dict[str, list[str]]
    for name, limit in sorted(hard.items()):
        texts["lim" if name.startswith("limits.") else "req"].append(f"{name}: {used.get(name, 0)}/{limit}")
    return [_name(obj), ", ".join(texts["req"]), ", ".join(texts["lim"]), _age(obj, now)]


def _role(obj: Json, now: datetime) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _simple(*extract: Callable[[Json], Any]) -> Row:
    return lambda obj, now: [_name(obj), *(cell(obj) for cell in extract), _age(obj, now)]


def _namespace_phase(obj: Json) -> str:
    return str(_status(obj, "phase", "Active"))


def _storage_class(obj: Json, now: datetime) -> list[Any]:
    binding = obj.get("volumeBindingMode", "")
    expansion = bool(obj.get("allowVolumeExpansion", False))
    return [_name(obj), obj.get("provisioner"), obj.get("reclaimPolicy"), binding, expansion, _age(obj, now)]


_WIDE = ["Containers+", "Images+", "Selector+"]
_REPLICAS = ["Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", *_WIDE]
_BINDING = ["Name", "Role", "Age", "Users+", "Groups+", "ServiceAccounts+"]

BUILT_IN: dict[tuple[str, str], tuple[list[str], Row]] = {
    ("", "Pod"): (
        ["Name", "Ready", "Status", "Restarts", "Age", "IP+", "Node+", "Nominated Node+", "Readiness Gates+"],
        _pod,
    ),
    ("apps", "Deployment"): (
        ["Name", "Ready", "Up-to-date:integer", "Available:integer", "Age", *_WIDE],
        _deployment,
    ),
    ("apps", "ReplicaSet"): (_REPLICAS, _replica_set),
    ("", "ReplicationController"): (_REPLICAS, _replica_set),
    ("apps", "StatefulSet"): (["Name", "Ready", "Age", "Containers+", "Images+"], _stateful_set),
    ("apps", "DaemonSet"): (
        [
            "Name",
            *(f"{n}:integer" for n in ("Desired", "Current", "Ready", "Up-to-date", "Available")),
            "Node Selector",
            "Age",
            *_WIDE,
        ],
        _daemon_set,
    ),
    ("batch", "Job"): (["Name", "Status", "Completions", "Duration", "Age", *_WIDE], _job),
    ("batch", "CronJob"): (
        ["Name", "Schedule", "Timezone", "Suspend", "Active:integer", "Last Schedule", "Age", *_WIDE],
        _cron_job,
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
                _name(o),
                o.get("value"),
                bool(o.get("globalDefault")),
                _age(o, now),
                o.get("preemptionPolicy", "PreemptLowerPriority"),
            ]
        ),
    ),
    ("storage.k8s.io", "StorageClass"): (
        ["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
        _storage_class,
    ),
}
