"""An API server that takes no step for a while, and a second gateway of a running stack in front of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from infra.local.demo.commands import Kubectl, Result
from infra.local.kube.slowness import ANNOTATION
from infra.local.kubectl import find_kubectl
from k3s_daas.contract.audit import AuditRecord, read_audit
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger

DOCUMENT = """\
apiVersion: v1
kind: ConfigMap
metadata: {generateName: twin-, labels: {set: %s}}
data: {a: b}
"""
# Waits of a gateway, about 1:8.
WAITS = {
    "DAAS_START_WITHIN_MS": "2900",
    "DAAS_GATEWAY_WAIT_MS": "3000",
    "DAAS_LAMBDA_TIMEOUT_MS": "3500",
    "DAAS_API_GATEWAY_TIMEOUT_MS": "3600",
}


class SecondGateway:
    """Another gateway of the stack in `state`, with settings of its own and a log in `directory`.

    Reads /proc, so Linux only. `cold_start_s` is how long its function takes to start; with `port` it takes
    the place of one that was closed, so that kubectl's cache still fits.
    """

    def __init__(
        self,
        state: Path,
        directory: Path,
        kubectl: Path,
        *,
        settings: Mapping[str, str] | None = None,
        cold_start_s: float = 0.0,
        port: int = 0,
    ) -> None:
        running = Path(f"/proc/{process_id(state, 'gateway')}")
        told = dict(entry.split("=", 1) for entry in _strings(running / "environ"))
        command = [*_strings(running / "cmdline"), "--cold-start", str(cold_start_s)]
        command[command.index("--port") + 1] = str(port)
        self._log = directory / "gateway.log"
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command, env={**told, **(settings or {})}, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.port: int = ready["port"]
        fields = yaml.safe_load((state / "kubeconfig").read_text())
        fields["clusters"][0]["cluster"]["server"] = ready["url"]
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(fields))
        self._program, self._kubeconfig, self._home = kubectl, kubeconfig, directory / "home"
        self.kubectl = self.another_kubectl()

    def another_kubectl(self) -> Kubectl:
        """With the environment of this moment, and the cache of the others."""
        return Kubectl(self._program, self._kubeconfig, self._home)

    def answers(self, resource: str) -> list[tuple[str, int]]:
        """Verb and code of the requests for a resource, in the order of their answers."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [(line["verb"], line["code"]) for line in lines if line.get("resource") == resource]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def slow(state: Path, seconds: float, namespace: str = "default") -> Generator[None, None, None]:
    """Whatever is asked of the namespace's objects takes that long; the listener's claims do not."""
    administrator = Kubectl(
        find_kubectl(), state / "keys" / "kubernetes-admin.kubeconfig", state / "administrator"
    )
    annotate = ("annotate", "--overwrite", "namespace", namespace)
    assert administrator.run(*annotate, f"{ANNOTATION}={seconds}").code == 0
    try:
        yield
    finally:
        assert administrator.run(*annotate, f"{ANNOTATION}-").code == 0


def executed(state: Path, since: int = 0) -> list[AuditRecord]:
    """What the chain says was asked for since then."""
    endpoint = json.loads((state / "endpoints.json").read_text())["sui"]

    async def read() -> list[AuditRecord]:
        ledger = GrpcLedger(endpoint)
        try:
            return await read_audit(ledger, TrustRoots.load(state / "roots.json"), 0)
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


def process_id(state: Path, part: str) -> int:
    """Of a part of the stack in `state`."""
    found: int = json.loads((state / "pids.json").read_text())[part]
    return found


def _strings(path: Path) -> list[str]:
    return [part.decode() for part in path.read_bytes().split(b"\0") if part]
