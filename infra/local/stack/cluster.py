"""What the listener needs in a Kubernetes cluster, applied with an administrator's kubeconfig."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client

from infra.local.stack.kubeconfigs import token_kubeconfig
from infra.local.stack.processes import StackError
from infra.local.stack.roles import CLUSTER_ROLES
from k3s_daas.admin.kube_cluster import KubeCluster, KubeClusterError, connect
from k3s_daas.admin.listener_rbac import SERVICE_ACCOUNT, listener_manifests
from k3s_daas.errors import ConfigurationError

TOKEN_SECONDS = 7 * 24 * 3600
_PATIENCE_S = 5


def check_cluster(admin: Path) -> None:
    """Whether the cluster answers, before anything is started for it.

    Raises:
        StackError: the kubeconfig cannot be used, or its cluster cannot be reached or refuses.
    """
    api = _connect(admin)
    try:
        client.VersionApi(api).get_code(_request_timeout=_PATIENCE_S)
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(admin, error) from None
    except client.ApiException as error:
        raise StackError(f"the cluster of {admin} refuses to tell its version: {error.reason}") from None


def prepare_cluster(admin: Path, namespace: str, owners: Sequence[str], target: Path) -> Path:
    """Apply namespace, service account and RBAC; write a kubeconfig for the listener's service account.

    Raises:
        StackError: the kubeconfig cannot be used, or its cluster cannot be reached or refuses.
    """
    api = _connect(admin)
    try:
        KubeCluster(api).apply(listener_manifests(namespace, list(owners), CLUSTER_ROLES))
        token = _service_account_token(api, namespace)
    except KubeClusterError as error:
        raise StackError(f"{admin}: {error}") from None
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(admin, error) from None
    except client.ApiException as error:
        raise StackError(f"the cluster of {admin} refuses what the listener needs: {error.reason}") from None
    finally:
        api.rest_client.close()
    target.touch(mode=0o600)
    target.write_text(token_kubeconfig(_cluster_entry(api.configuration), SERVICE_ACCOUNT, token))
    return target


def _connect(admin: Path) -> Any:
    try:
        return connect(admin)
    except ConfigurationError as error:
        raise StackError(str(error)) from None


def _unreachable(admin: Path, error: urllib3.exceptions.HTTPError) -> StackError:
    """Without the client's wrapping of the reason: pool, retries, and the path that was asked."""
    reason = getattr(error, "reason", None) or error
    return StackError(f"the cluster of {admin} cannot be reached: {str(reason).rpartition('): ')[2]}")


def _service_account_token(api: Any, namespace: str) -> str:
    """A token for the listener's service account (Kubernetes: TokenRequest API)."""
    request = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=TOKEN_SECONDS)
    )
    answer = client.CoreV1Api(api).create_namespaced_service_account_token(
        SERVICE_ACCOUNT, namespace, request
    )
    token: str = answer.status.token
    return token


def _cluster_entry(configuration: Any) -> dict[str, Any]:
    """The cluster entry of a kubeconfig, as the administrator's says it."""
    entry: dict[str, Any] = {"server": configuration.host}
    if not configuration.verify_ssl:
        entry["insecure-skip-tls-verify"] = True
    elif configuration.ssl_ca_cert:
        authority = Path(configuration.ssl_ca_cert).read_bytes()
        entry["certificate-authority-data"] = base64.b64encode(authority).decode()
    return entry
