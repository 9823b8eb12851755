"""An API server over TLS, and a kubeconfig that leads to it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.certificates import LocalAuthority
from listener_service.api_call import ApiCall
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from tests.unit.scripted_api_server import ScriptedApiServer, scripted_api_server

INTERNAL = "kubernetes.internal"
V1 = "client.authentication.k8s.io/v1"


@dataclass
class Place:
    """A TLS server and a kubeconfig for it; `cluster` and `user` are its entries."""

    directory: Path
    authority: LocalAuthority
    api: ScriptedApiServer
    names: list[str | None]
    cluster: dict[str, Any] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        path = self.directory / "kubeconfig"
        cluster = {
            "server": f"https://127.0.0.1:{self.api.port}",
            "certificate-authority": str(self.authority.certificate_file),
            **self.cluster,
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {key: value for key, value in cluster.items() if value}}],
            "users": [{"name": "it", "user": self.user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        path.write_text(json.dumps(document))
        return path

    @contextmanager
    def server(self) -> Iterator[ApiServer]:
        kubeconfig = self.kubeconfig
        server = ApiServer(lambda: load_configuration(kubeconfig), connections=2)
        try:
            yield server
        finally:
            server.close()

    def tokens(self) -> list[str | None]:
        return [seen.header("Authorization") for seen in self.api.seen]

    def plugin(self, status: dict[str, Any], *, version: str = V1) -> None:
        """The credential plugin prints this from now on; each run adds a line to `runs`."""
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (self.directory / "answer").write_text(json.dumps(answer))
        self.script('echo "$KUBERNETES_EXEC_INFO" >> runs; cat answer')

    def script(self, body: str) -> None:
        path = self.directory / "plugin"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o700)
        self.user = {"exec": {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never"}}

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "runs").read_text().splitlines()]


@contextmanager
def place_with(
    directory: Path, authority: LocalAuthority, *hosts: str, asks_for_certificates: bool = False
) -> Iterator[Place]:
    certificate = authority.issue("server", hosts)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    if asks_for_certificates:
        tls.load_verify_locations(authority.certificate_file)
        tls.verify_mode = ssl.CERT_REQUIRED
    names: list[str | None] = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    with scripted_api_server(tls) as api:
        yield Place(directory, authority, api, names)


def get(server: ApiServer) -> int:
    return server.send(ApiCall("GET", "/version", [], b"", 20.0, 100_000), lambda: True).status


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def put(path: Path, content: str | bytes) -> None:
    """Replaces a file as a mounted Secret is replaced: another file behind the same name."""
    new = path.with_suffix(".new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.replace(path)
