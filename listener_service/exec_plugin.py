"""Credential plugins of a kubeconfig (`users[].user.exec`): run one, believe only what it says in full.

Rules: kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins. The
`kubernetes` package runs plugins too, but without an end, logs a failure and goes on without credentials, and
never renews a certificate.

A plugin can ask nobody here: it gets no standard input, and what it says on standard error is dropped, since
it may hold secrets.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from k3s_daas.errors import ConfigurationError

PLUGIN_TIMEOUT_S = 20.0
API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_CLUSTER_EXTENSION = "client.authentication.k8s.io/exec"
_CLUSTER_FIELDS = (
    *("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data"),
    *("proxy-url", "disable-compression"),
)


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """A bearer token, or a client certificate and its key (PEM), or both; without `expires_at` for good."""

    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


def run_plugin(
    spec: Mapping[str, Any],
    cluster: Mapping[str, Any],
    directory: str | None,
    *,
    timeout_s: float = PLUGIN_TIMEOUT_S,
) -> ExecCredential:
    """The credential of the plugin that `spec` (the kubeconfig's `exec`) names, run in `directory`.

    Raises `ConfigurationError`, which names the command and what is wrong, but nothing that it printed.
    """
    command = spec.get("command")
    version = spec.get("apiVersion")
    if not isinstance(command, str) or not command:
        raise ConfigurationError("the kubeconfig's exec plugin has no command")
    if version not in API_VERSIONS:
        raise ConfigurationError(f"the exec plugin {command} must have apiVersion {API_VERSIONS[0]}")
    if spec.get("interactiveMode") == "Always":
        raise ConfigurationError(f"the exec plugin {command} wants a terminal, which a listener has not")
    environment = dict(os.environ)
    environment.update({entry["name"]: str(entry["value"]) for entry in spec.get("env") or []})
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(_exec_info(version, spec, cluster))
    output = _run([command, *map(str, spec.get("args") or [])], environment, directory, timeout_s)
    return _credential(output, version, command)


def _exec_info(version: str, spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"interactive": False}
    if spec.get("provideClusterInfo"):
        said["cluster"] = {name: cluster[name] for name in _CLUSTER_FIELDS if name in cluster}
        for extension in cluster.get("extensions") or []:
            if extension.get("name") == _CLUSTER_EXTENSION:
                said["cluster"]["config"] = extension.get("extension")
    return {"apiVersion": version, "kind": "ExecCredential", "spec": said}


def _run(
    words: Sequence[str], environment: Mapping[str, str], directory: str | None, timeout_s: float
) -> bytes:
    try:
        done = subprocess.run(
            words,
            env=environment,
            cwd=directory or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"the exec plugin {words[0]} took longer than {timeout_s:g} s") from None
    except OSError as error:
        raise ConfigurationError(f"the exec plugin {words[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise ConfigurationError(
            f"the exec plugin {words[0]} ended with {done.returncode}: run it by hand to see why"
        )
    return done.stdout


def _credential(output: bytes, version: str, command: str) -> ExecCredential:
    def wrong(what: str) -> ConfigurationError:
        return ConfigurationError(f"the exec plugin {command} did not print an ExecCredential: {what}")

    try:
        document = json.loads(output)
    except ValueError:
        raise wrong("it is not JSON") from None
    if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
        raise wrong("its kind is another")
    if document.get("apiVersion") != version:
        raise wrong(f"its apiVersion is not {version}")
    status = document.get("status")
    if not isinstance(status, dict):
        raise wrong("it has no status")
    token, certificate, key = (
        status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData")
    )
    if not all(value is None or isinstance(value, str) for value in (token, certificate, key)):
        raise wrong("token, clientCertificateData and clientKeyData must be text")
    if (certificate is None) != (key is None):
        raise wrong("clientCertificateData and clientKeyData belong together")
    if token is None and certificate is None:
        raise wrong("it has neither token nor certificate")
    return ExecCredential(token, certificate, key, _moment(status.get("expirationTimestamp"), wrong))


def _moment(value: object, wrong: Any) -> datetime | None:
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise wrong("expirationTimestamp is no RFC 3339 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
