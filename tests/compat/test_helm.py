"""helm, through the gateway and the chain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.clients import Place, place_on
from tests.compat.stages import Stage

# The first test of a server may wait for the compiler.
pytestmark = pytest.mark.timeout(1800)
HELM = Path(sys.executable).parent / "helm"
LONGEST_S = 120
FILES = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.1.0\n",
    "values.yaml": "greeting: hello\nreplicas: 0\n",
    "templates/all.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-settings"}
data: {greeting: "{{ .Values.greeting }}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec: {containers: [{name: web, image: nginx}]}
""",
}


class Helm:
    """helm with a chart, and a home of its own."""

    def __init__(self, place: Place, directory: Path) -> None:
        if not HELM.exists():
            pytest.skip("the package index has no helm for this machine")
        self.chart = directory / "chart"
        (self.chart / "templates").mkdir(parents=True)
        for name, text in FILES.items():
            (self.chart / name).write_text(text)
        homes = {f"HELM_{kind}_HOME": str(directory / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        self._environment = {
            **os.environ,
            **homes,
            "HOME": str(directory),
            "KUBECONFIG": str(place.stage.chain),
            "HELM_NAMESPACE": place.namespace,
        }

    def run(self, *arguments: str) -> str:
        """What it printed."""
        done = subprocess.run(
            [str(HELM), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def greeting(self) -> str:
        """Of what helm believes to be deployed."""
        return str(json.loads(self.run("get", "values", "--all", "-o", "json", "shop"))["greeting"])


def test_a_release_is_installed_upgraded_rolled_back_and_removed(real_stage: Stage, tmp_path: Path) -> None:
    helm = Helm(place_on(real_stage), tmp_path)
    helm.run("install", "shop", str(helm.chart), "--wait")
    helm.run("upgrade", "shop", str(helm.chart), "--set", "greeting=bye", "--wait")
    assert helm.greeting() == "bye"
    helm.run("rollback", "shop", "1", "--wait")
    assert helm.greeting() == "hello"
    history = json.loads(helm.run("history", "shop", "-o", "json"))
    assert [(each["revision"], each["status"]) for each in history] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]
    helm.run("uninstall", "shop", "--wait")
    assert json.loads(helm.run("list", "-o", "json")) == []


def test_waiting_for_a_deployment_ends_when_it_is_ready(memory_stage: Stage, tmp_path: Path) -> None:
    """On the server that has a node, which is not the real one."""
    helm = Helm(place_on(memory_stage), tmp_path)
    said = helm.run("install", "shop", str(helm.chart), "--set", "replicas=1", "--wait", "--timeout", "60s")
    assert "STATUS: deployed" in said
