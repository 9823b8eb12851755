"""Defaults of pod specs and pod templates, which many types contain."""

from __future__ import annotations

from typing import Any

from infra.local.kube.errors import Json


def fill(target: Json, **values: Any) -> None:
    for name, value in values.items():
        if target.get(name) is None:
            target[name] = value


def _container(container: Json) -> None:
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    fill(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    for port in container.get("ports") or []:
        fill(port, protocol="TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            fill(container[probe], timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if isinstance(get := container[probe].get("httpGet"), dict):
                fill(get, path="/", scheme="HTTP")
    for variable in container.get("env") or []:
        source = (variable.get("valueFrom") or {}).get("fieldRef")
        if source is not None:
            fill(source, apiVersion="v1")


def _volume(volume: Json) -> None:
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(name), dict):
            fill(volume[name], defaultMode=420)


def pod_spec_defaults(spec: Json, restart_policy: str = "Always") -> None:
    fill(
        spec,
        restartPolicy=restart_policy,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
        terminationGracePeriodSeconds=30,
    )
    if spec.get("serviceAccountName"):
        fill(spec, serviceAccount=spec["serviceAccountName"])
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        if isinstance(container, dict):
            _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)


def template_defaults(obj: Json, restart_policy: str = "Always") -> Json:
    """Defaults of the pod template; returns the spec that holds it."""
    spec: Json = obj.setdefault("spec", {})
    template = spec.get("template")
    if isinstance(template, dict):
        fill(template, metadata={}, spec={})
        pod_spec_defaults(template["spec"], restart_policy)
    return spec
