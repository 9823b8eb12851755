"""The operator's manifests: rendered by kubectl, taken by an API server, true to code, container and docs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.certificates import LocalAuthority
from infra.local.kube.authentication import User
from infra.local.kube.cluster import Cluster
from infra.local.kube.server import ThreadedServer
from infra.local.kubectl import find_kubectl
from infra.local.stack.kubeconfigs import token_kubeconfig
from k3s_daas.admin.listener_rbac import listener_manifests
from listener_service.settings import ListenerSettings
from listener_service.settings_table import GROUPS

ROOT = Path(__file__).parents[2]
BASE = ROOT / "infra/kubernetes"
NAMESPACE = "daas-system"

Manifest = dict[str, Any]


def kubectl(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [find_kubectl(), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that docs/operations.md shows."""
    [text] = re.findall(
        r"```yaml\n(# kustomization\.yaml, .*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
    )
    directory = tmp_path_factory.mktemp("overlay")
    base = os.path.relpath(BASE.resolve(), directory.resolve())
    assert text.count("../k3s-daas/infra/kubernetes") == 1
    (directory / "kustomization.yaml").write_text(text.replace("../k3s-daas/infra/kubernetes", base))
    (directory / "roots.json").write_text("{}")
    return directory


@pytest.fixture(scope="module")
def rendered(overlay: Path) -> str:
    return kubectl("kustomize", str(overlay))


@pytest.fixture(scope="module")
def objects(rendered: str) -> dict[tuple[str, str], Manifest]:
    """By kind and name, without the hash that a generated name ends in."""
    found = [one for one in yaml.safe_load_all(rendered) if one]
    return {(one["kind"], re.sub(r"-[0-9a-z]{10}$", "", one["metadata"]["name"])): one for one in found}


@pytest.fixture(scope="module")
def pod(objects: dict[tuple[str, str], Manifest]) -> Manifest:
    spec: Manifest = objects["Deployment", "daas-listener"]["spec"]["template"]["spec"]
    return spec


def test_the_base_renders_alone() -> None:
    kinds = [one["kind"] for one in yaml.safe_load_all(kubectl("kustomize", str(BASE)))]
    assert kinds.count("Deployment") == 1
    assert "ClusterRole" not in kinds, "it comes from the chain; applied from here it would be emptied"


def test_the_service_accounts_rights_are_those_of_the_code(
    objects: dict[tuple[str, str], Manifest],
) -> None:
    wanted = [one for one in listener_manifests(NAMESPACE, [], []) if one["kind"] != "ClusterRole"]
    assert len(wanted) == 7
    for manifest in wanted:
        assert objects[manifest["kind"], manifest["metadata"]["name"]] == manifest
    rights = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount", "Secret")
    assert {key for key in objects if key[0] in rights} == {
        (one["kind"], one["metadata"]["name"]) for one in wanted if one["kind"] in rights
    }


def test_the_pod_has_no_privileges_and_writes_nothing(pod: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert container["resources"]["limits"]["memory"] == "512Mi"


def test_pod_and_container_image_agree(pod: Manifest) -> None:
    dockerfile = (ROOT / "listener_service/Dockerfile").read_text()
    [container] = pod["containers"]
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"USER {user}\n" in dockerfile
    [port] = container["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile
    [address] = [one["value"] for one in container["env"] if one["name"] == "DAAS_HEALTH_ADDRESS"]
    assert f"DAAS_HEALTH_ADDRESS={address}\n" in dockerfile
    assert address.endswith(f":{port['containerPort']}")
    assert container["image"] == "registry.example/k3s-daas-listener:0.1.0"


def environment(objects: dict[tuple[str, str], Manifest], pod: Manifest) -> dict[str, str]:
    [container] = pod["containers"]
    own = {
        one["name"]: one["value"] if "value" in one else {"metadata.namespace": NAMESPACE}[_field(one)]
        for one in container["env"]
    }
    return {**objects["ConfigMap", "daas-listener"]["data"], **own}


def _field(variable: Manifest) -> str:
    path: str = variable["valueFrom"]["fieldRef"]["fieldPath"]
    return path


def test_the_pods_settings_are_settings_and_sound(
    objects: dict[tuple[str, str], Manifest], pod: Manifest
) -> None:
    values = environment(objects, pod)
    known = {setting.name for group in GROUPS for setting in group.settings}
    assert {name for name in values if not name.startswith("AWS_")} <= known
    settings = ListenerSettings.from_environment(values)
    assert settings.listener_namespace == NAMESPACE
    assert settings.endpoints.quorum == 2
    ends_within_s = (settings.drain_ms + settings.finish_ms) / 1000 + max(settings.lease_s / 4, 5)
    assert pod["terminationGracePeriodSeconds"] > ends_within_s
    [container] = pod["containers"]
    [mount] = container["volumeMounts"]
    assert settings.trust_roots_file == Path(mount["mountPath"]) / "roots.json"
    [volume] = pod["volumes"]
    assert volume["configMap"]["name"] == objects["ConfigMap", "daas-roots"]["metadata"]["name"]


def test_whatever_selects_the_pods_selects_them(objects: dict[tuple[str, str], Manifest]) -> None:
    deployment = objects["Deployment", "daas-listener"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"]["matchLabels"],
        objects["Service", "daas-listener"]["spec"]["selector"],
        objects["PodDisruptionBudget", "daas-listener"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy", "daas-listener"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    assert deployment["replicas"] > objects["PodDisruptionBudget", "daas-listener"]["spec"]["minAvailable"]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("cluster")
    authority = LocalAuthority(directory / "authority")
    files = authority.issue("kubernetes")
    cluster = Cluster({"token": User("admin", ("system:masters",))})
    with ThreadedServer(cluster, files.certificate, files.key) as server:
        path = directory / "kubeconfig"
        entry = {"server": server.url, "certificate-authority": str(authority.certificate_file)}
        path.write_text(token_kubeconfig(entry, "admin", "token"))
        yield path


def test_an_api_server_takes_them_and_applying_again_changes_nothing(
    overlay: Path, kubeconfig: Path, objects: dict[tuple[str, str], Manifest]
) -> None:
    home = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}
    for _ in range(2):
        said = kubectl("apply", "--server-side", "-k", str(overlay), **home)
        assert len(said.splitlines()) == len(objects)
        assert all(line.endswith("serverside-applied") for line in said.splitlines()), said
    stored = json.loads(kubectl("-n", NAMESPACE, "get", "deployment", "daas-listener", "-o", "json", **home))
    assert stored["metadata"]["generation"] == 1
    assert stored["spec"]["replicas"] == 2
