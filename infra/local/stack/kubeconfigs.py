"""The kubeconfig files of the local stack (Kubernetes: Config v1)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.local.certificates import ServerCertificate

EXEC_API_VERSION = "client.authentication.k8s.io/v1"


def holders_kubeconfig(server: str, authority: bytes, holders: Mapping[str, Path], plugin: Path) -> str:
    """A kubeconfig with one context for each holder; kubectl gets its tokens from ``kubectl-daas token``.

    ``authority`` is the PEM certificate that signed the gateway's; the first holder is the current one.
    """
    users = {
        name: {
            "exec": {
                "apiVersion": EXEC_API_VERSION,
                "command": str(plugin),
                "args": ["token", "--holder", str(settings)],
                "interactiveMode": "Never",
            }
        }
        for name, settings in holders.items()
    }
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    return _config(cluster, users)


def token_kubeconfig(cluster: Mapping[str, Any], user: str, token: str) -> str:
    """A kubeconfig for one bearer token at the cluster entry of another kubeconfig."""
    return _config(cluster, {user: {"token": token}})


def client_certificate_kubeconfig(like: Path, files: ServerCertificate) -> str:
    """A kubeconfig for the same cluster whose user has a certificate that nobody asks for, and no token."""
    cluster = yaml.safe_load(like.read_text())["clusters"][0]["cluster"]
    user = {"client-certificate": str(files.certificate), "client-key": str(files.key)}
    return _config(cluster, {"stranger": user})


def _config(cluster: Mapping[str, Any], users: Mapping[str, Mapping[str, Any]]) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "daas", "cluster": dict(cluster)}],
            "users": [{"name": name, "user": dict(user)} for name, user in users.items()],
            "contexts": [
                {"name": name, "context": {"cluster": "daas", "user": name, "namespace": "default"}}
                for name in users
            ],
            "current-context": next(iter(users)),
        },
        sort_keys=False,
    )
