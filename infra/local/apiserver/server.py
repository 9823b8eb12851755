"""Run etcd, kube-apiserver and kube-controller-manager on the loopback interface, with keys of their own.

TLS with an authority made at start, RBAC, random bearer tokens, an audit log of who asked for what. All
state lies in one directory; every process is ended by its id.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.local.apiserver.recipe import Binaries
from infra.local.certificates import LocalAuthority
from infra.local.stack.kubeconfigs import token_kubeconfig
from infra.local.stack.processes import Part, StackError, Supervisor

START_TIMEOUT_S = 90.0
_ATTEMPTS = 3
_LOOK_EVERY_S = 0.1
# Metadata says who asked for what as whom, and keeps bodies, which may be secrets, out of the log.
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""


class ApiServer:
    """One cluster without nodes. Use as a context manager, from the main thread.

    `kubeconfig` is the administrator's (group `system:masters`), `audit_log` one JSON object per line
    (Kubernetes: audit.k8s.io/v1 Event).
    """

    def __init__(self, binaries: Binaries, state: Path) -> None:
        self._binaries = binaries
        self._state = state.absolute()
        self._keys = self._state / "keys"
        self._supervisor = Supervisor(self._state / "logs")
        self.kubeconfig = self._keys / "admin.kubeconfig"
        self.audit_log = self._state / "audit.log"

    @property
    def pids(self) -> dict[str, int]:
        """Name to process id: etcd, kube-apiserver, kube-controller-manager."""
        return self._supervisor.pids

    def __enter__(self) -> ApiServer:
        """Start everything, and wait until the default namespace can take pods.

        Raises:
            StackError: a part ended or did not become ready; names its log.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start()
            except StackError as error:
                self._supervisor.stop()
                # Another process may have taken a port between our look and the start.
                if attempt == _ATTEMPTS or "address already in use" not in str(error):
                    raise
                self._supervisor = Supervisor(self._state / "logs")
            except BaseException:
                self._supervisor.stop()
                raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()
        shutil.rmtree(self._state / "etcd", ignore_errors=True)

    def ended(self) -> list[Part]:
        """Parts that ended although nobody told them to."""
        return self._supervisor.ended()

    def _start(self) -> None:
        self._keys.mkdir(parents=True, exist_ok=True)
        self._keys.chmod(0o700)
        authority = LocalAuthority(self._state / "tls")
        etcd = f"http://127.0.0.1:{_free_port()}"
        self._start_etcd(etcd)
        tokens = self._tokens("admin,admin,system:masters", "system:kube-controller-manager,manager,")
        port = _free_port()
        server = self._start_apiserver(etcd, port, authority, tokens)
        url = f"https://127.0.0.1:{port}"
        cluster = {"server": url, "certificate-authority": str(authority.certificate_file)}
        admin, manager = tokens.values()
        self._secret(self.kubeconfig, token_kubeconfig(cluster, "admin", admin))
        kubernetes = _Questions(url, admin, authority.certificate_file)
        _wait_until(kubernetes.ready, server)
        kubeconfig = self._keys / "manager.kubeconfig"
        self._secret(kubeconfig, token_kubeconfig(cluster, "manager", manager))
        _wait_until(kubernetes.has_default_account, self._start_manager(kubeconfig, authority))

    def _start_etcd(self, url: str) -> None:
        peers = f"http://127.0.0.1:{_free_port()}"
        shutil.rmtree(self._state / "etcd", ignore_errors=True)
        self._run(
            self._binaries.etcd,
            f"--data-dir={self._state / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        )

    def _start_apiserver(
        self, etcd: str, port: int, authority: LocalAuthority, tokens: dict[str, str]
    ) -> Part:
        files = authority.issue("kubernetes")
        policy = self._state / "audit-policy.yaml"
        policy.write_text(_AUDIT_POLICY)
        token_file = self._keys / "tokens.csv"
        self._secret(token_file, "".join(f"{token},{user}\n" for user, token in tokens.items()))
        return self._run(
            self._binaries.apiserver,
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            # The address of no service endpoint: loopback may not be one, and there are no nodes.
            "--endpoint-reconciler-type=none",
            f"--secure-port={port}",
            f"--tls-cert-file={files.certificate}",
            f"--tls-private-key-file={files.key}",
            f"--cert-dir={self._state / 'tls'}",
            f"--token-auth-file={token_file}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._account_key()}",
            f"--service-account-signing-key-file={self._account_key()}",
            "--allow-privileged",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
        )

    def _start_manager(self, kubeconfig: Path, authority: LocalAuthority) -> Part:
        return self._run(
            self._binaries.controller_manager,
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            # Nobody asks it for its health or its metrics.
            *("--port=0", "--secure-port=0"),
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._account_key()}",
            f"--root-ca-file={authority.certificate_file}",
        )

    def _run(self, program: Path, *arguments: str) -> Part:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._state)}
        return self._supervisor.start(program.name, [str(program), *arguments], environment)

    def _tokens(self, *users: str) -> dict[str, str]:
        """Users as the token file names them (name, uid, group) to tokens."""
        return {user: secrets.token_urlsafe(24) for user in users}

    def _account_key(self) -> Path:
        """The key that service account tokens are signed with; the public half is read out of it."""
        path = self._keys / "accounts.key"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            self._secret(path, pem.decode())
        return path

    def _secret(self, path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)


class _Questions:
    """What is asked of a server that is starting."""

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(
            ca_certs=str(authority), headers={"Authorization": f"Bearer {token}"}, retries=False, timeout=5
        )

    def ready(self) -> bool:
        return self._get("/readyz") is not None

    def has_default_account(self) -> bool:
        """Whether pods can be created: without the account and its token, admission refuses them."""
        answer = self._get("/api/v1/namespaces/default/serviceaccounts/default")
        return answer is not None and bool(answer.json().get("secrets"))

    def _get(self, path: str) -> Any:
        try:
            answer = self._pool.request("GET", self._url + path)
        except urllib3.exceptions.HTTPError:
            return None
        return answer if answer.status == 200 else None


def _wait_until(question: Any, part: Part) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not question():
        if part.process.poll() is not None:
            raise StackError(f"the {part.name} ended: {part.last_words()}")
        if time.monotonic() > deadline:
            raise StackError(f"the {part.name} was not ready after {START_TIMEOUT_S:.0f} s; see {part.log}")
        time.sleep(_LOOK_EVERY_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
