"""Discovery and OpenAPI come from the gateway's cache: a real kubectl, counted on the audit trail."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo.commands import Kubectl
from infra.local.kubectl import bundled_kubectl, find_kubectl
from k3s_daas.contract.audit import read_audit
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: cached}
spec:
  selector: {matchLabels: {app: cached}}
  template:
    metadata: {labels: {app: cached}}
    spec:
      containers: [{name: nginx, image: "nginx:1.27"}]
"""
WIDGETS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.demo.example.com}
spec:
  group: demo.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
WIDGET = "apiVersion: demo.example.com/v1\nkind: Widget\nmetadata: {name: first}\n"

pytestmark = pytest.mark.timeout(180)


class Shell:
    """A kubectl, and what each of its commands left on the chain."""

    def __init__(self, stack: Any, home: Path) -> None:
        self.stack = stack
        self._kubectl = Kubectl(bundled_kubectl() or find_kubectl(), stack.state / "kubeconfig", home)
        self._known = len(self._on_chain())

    def run(self, *arguments: str, stdin: str = "") -> tuple[str, list[str]]:
        """What kubectl printed, and verb and resource (or URL pattern) of its requests that reached the
        chain."""
        done = self._kubectl.run(*arguments, stdin=stdin)
        assert done.code == 0, done.errors
        trail = self._on_chain()
        new, self._known = trail[self._known :], len(trail)
        return done.output, new

    def _on_chain(self) -> list[str]:
        async def read() -> list[str]:
            ledger = GrpcLedger(self.stack.endpoints["sui"])
            try:
                roots = TrustRoots.load(self.stack.state / "roots.json")
                records = await read_audit(ledger, roots, 0)
            finally:
                await ledger.close()
            attributes = [record.requested.attributes for record in records]
            return [f"{one.verb} {one.resource or one.non_resource_url}" for one in attributes]

        return asyncio.run(read())


def test_warm_commands_reach_the_chain_once(own_stack: Any, tmp_path: Path) -> None:
    shell = Shell(own_stack(), tmp_path / "first")
    created = shell.run("apply", "-f", "-", stdin=MANIFEST)[1]
    assert "get /openapi/*" in created, "a cold gateway fetches discovery through the chain"
    assert "create deployments" in created

    assert shell.run("get", "pods")[1] == ["list pods"]
    unchanged, reached = shell.run("apply", "-f", "-", stdin=MANIFEST)
    assert "unchanged" in unchanged
    assert reached == ["get deployments"]

    # Another machine: its kubectl has no cache of its own, the gateway's is warm.
    other = Shell(shell.stack, tmp_path / "second")
    assert other.run("get", "pods")[1] == ["list pods"]
    unchanged, reached = other.run("apply", "-f", "-", stdin=MANIFEST)
    assert "unchanged" in unchanged
    assert reached == ["get deployments"]
    # Another holder: what he reads was fetched by the first.
    assert other.run("--context", "viewer", "get", "pods")[1] == ["list pods"]


def test_a_new_definition_is_known_at_once(own_stack: Any, tmp_path: Path) -> None:
    shell = Shell(own_stack(), tmp_path / "home")
    shell.run("get", "pods")
    shell.run("apply", "-f", "-", stdin=WIDGETS)
    shell.run("wait", "--for=condition=Established", "crd/widgets.demo.example.com")
    output, reached = shell.run("apply", "-f", "-", stdin=WIDGET)
    assert "created" in output
    assert "get /apis" in reached, "a definition changed: nothing kept is given"
    assert "first" in shell.run("get", "widgets")[0]
