"""A real kubectl and an API server that takes longer than the gateway waits (waits are about 1:8)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.demo.commands import Kubectl, Result
from infra.local.kubectl import find_kubectl
from k3s_daas.contract.audit import AuditRecord, read_audit
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger

pytestmark = pytest.mark.timeout(180)

WAITS = {
    "DAAS_START_WITHIN_MS": "2900",
    "DAAS_GATEWAY_WAIT_MS": "3000",
    "DAAS_LAMBDA_TIMEOUT_MS": "3500",
    "DAAS_API_GATEWAY_TIMEOUT_MS": "3600",
}
SLOW_S = 8.0
DOCUMENT = """\
apiVersion: v1
kind: ConfigMap
metadata: {generateName: twin-, labels: {set: %s}}
data: {a: b}
"""


class ImpatientGateway:
    """A second gateway of a running stack, with its own waits and log."""

    def __init__(self, stack: Any, directory: Path) -> None:
        running = Path(f"/proc/{stack.pids['gateway']}")
        told = dict(entry.split("=", 1) for entry in _strings(running / "environ"))
        command = _strings(running / "cmdline")
        command[command.index("--port") + 1] = "0"
        self._log = directory / "gateway.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, env={**told, **WAITS}, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        url = json.loads(self._process.stdout.readline())["url"]
        fields = yaml.safe_load((stack.state / "kubeconfig").read_text())
        fields["clusters"][0]["cluster"]["server"] = url
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(fields))
        self._kubeconfig, self._home = kubeconfig, directory / "home"
        self.kubectl = self.another_kubectl()

    def another_kubectl(self) -> Kubectl:
        """With the environment of this moment, and the cache of the others."""
        return Kubectl(find_kubectl(), self._kubeconfig, self._home)

    def answers(self, resource: str) -> list[tuple[str, int]]:
        """Verb and code of the requests for a resource, in the order of their answers."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [(line["verb"], line["code"]) for line in lines if line.get("resource") == resource]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _strings(path: Path) -> list[str]:
    return [part.decode() for part in path.read_bytes().split(b"\0") if part]


@pytest.fixture
def gateway(shared_stack: Any, tmp_path: Path) -> Generator[ImpatientGateway, None, None]:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    gateway = ImpatientGateway(shared_stack, tmp_path)
    # Discovery and OpenAPI are not what these tests are about.
    assert gateway.kubectl.run("create", "-f", "-", stdin=DOCUMENT % "warm").code == 0
    yield gateway
    gateway.close()


@contextmanager
def slow(stack: Any, seconds: float = SLOW_S) -> Generator[None, None, None]:
    """The API server takes no step for that long."""
    pid = stack.pids["kubernetes"]
    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGCONT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.kill(pid, signal.SIGCONT)


def executed(stack: Any, since: int = 0) -> list[AuditRecord]:
    """What the chain says was asked for since then."""

    async def read() -> list[AuditRecord]:
        ledger = GrpcLedger(stack.endpoints["sui"])
        try:
            return await read_audit(ledger, TrustRoots.load(stack.state / "roots.json"), 0)
        finally:
            await ledger.close()

    return asyncio.run(read())[since:]


def creations(records: list[AuditRecord]) -> list[AuditRecord]:
    return [
        record
        for record in records
        if (record.requested.attributes.verb, record.requested.attributes.resource)
        == ("create", "configmaps")
    ]


def names(result: Result) -> set[str]:
    return set(result.output.split())


def test_a_slow_write_runs_once_and_kubectl_notices_nothing(
    shared_stack: Any, gateway: ImpatientGateway
) -> None:
    before = len(executed(shared_stack))
    with slow(shared_stack):
        result = gateway.kubectl.run("create", "-f", "-", stdin=DOCUMENT % "slow")
    assert (result.code, result.errors) == (0, "")
    assert result.seconds > SLOW_S - 1
    [record] = creations(executed(shared_stack, before))
    assert record.processed is not None
    assert record.processed.status_code == 201
    assert len(names(gateway.kubectl.run("get", "cm", "-l", "set=slow", "-o", "name"))) == 1
    codes = [code for verb, code in gateway.answers("configmaps") if verb == "create"]
    assert codes[-3:] == [503, 503, 201]


def test_a_slow_read_reaches_kubectl(shared_stack: Any, gateway: ImpatientGateway) -> None:
    before = len(executed(shared_stack))
    with slow(shared_stack, 5.0):
        result = gateway.kubectl.run("get", "namespaces", "-o", "name")
    assert "namespace/default" in names(result)
    asked = [record.requested.attributes for record in executed(shared_stack, before)]
    assert [attributes.verb for attributes in asked if attributes.resource == "namespaces"] == ["list"]


def test_two_identical_documents_in_one_file_stay_two(shared_stack: Any, gateway: ImpatientGateway) -> None:
    before = len(executed(shared_stack))
    document = DOCUMENT % "two"
    with slow(shared_stack, 5.0):
        result = gateway.kubectl.run("create", "-f", "-", stdin=f"{document}---\n{document}")
    assert (result.code, result.errors) == (0, "")
    assert len(names(gateway.kubectl.run("get", "cm", "-l", "set=two", "-o", "name"))) == 2
    assert len(creations(executed(shared_stack, before))) == 2


def test_without_a_session_a_slow_write_is_a_504_and_is_not_sent_again(
    shared_stack: Any, gateway: ImpatientGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(executed(shared_stack))
    # kubectl's own switch for the two headers that name its command and its process.
    monkeypatch.setenv("KUBECTL_COMMAND_HEADERS", "false")
    kubectl = gateway.another_kubectl()
    with slow(shared_stack):
        result = kubectl.run("create", "-f", "-", stdin=DOCUMENT % "alone")
    assert result.code == 1
    assert "Look at the cluster before you repeat it" in result.errors
    assert len(creations(executed(shared_stack, before))) == 1
    codes = [code for verb, code in gateway.answers("configmaps") if verb == "create"]
    assert codes[-1] == 504
    assert 503 not in codes
