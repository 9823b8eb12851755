"""The few objects that operators' tools write into a Kubernetes cluster, by its plain paths.

Server-side apply as the field manager `daas`, with force: the objects are ours by name, so a field that
somebody edited by hand is taken back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from kubernetes import client, config

from k3s_daas.admin.listener_rbac import Manifest
from k3s_daas.errors import ConfigurationError, DaasError

T = TypeVar("T")

FIELD_MANAGER = "daas"
_TIMEOUT_S = 30.0
_RBAC = "rbac.authorization.k8s.io"
# Where each kind that we apply lives: the server's own paths, so that no discovery is needed.
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Role": f"/apis/{_RBAC}/v1/namespaces/{{namespace}}/roles",
    "RoleBinding": f"/apis/{_RBAC}/v1/namespaces/{{namespace}}/rolebindings",
    "ClusterRole": f"/apis/{_RBAC}/v1/clusterroles",
    "ClusterRoleBinding": f"/apis/{_RBAC}/v1/clusterrolebindings",
}


class KubeClusterError(DaasError):
    """The cluster cannot be reached, or refuses. The message says which, and names no credential."""


def connect(kubeconfig: Path | None) -> Any:
    """A `kubernetes.client.ApiClient`: for a kubeconfig file, else for the pod's service account.

    Raises `ConfigurationError`.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is not None:
            config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        where = f"the kubeconfig {kubeconfig} cannot be used" if kubeconfig else "no --kubeconfig was named"
        raise ConfigurationError(f"{where}: {error}") from None
    except Exception as error:  # noqa: BLE001 - whatever the package's parsers raise for a file that is none
        # Without the cause: a parser's message quotes what it parsed.
        raise ConfigurationError(f"{kubeconfig} is no kubeconfig file ({type(error).__name__})") from None
    return client.ApiClient(configuration)


def default_kubeconfig() -> Path | None:
    """`$KUBECONFIG`, else kubectl's own file if there is one, else None: the pod's service account."""
    named = os.environ.get("KUBECONFIG")
    usual = Path.home() / ".kube" / "config"
    return Path(named) if named else usual if usual.exists() else None


class KubeCluster:
    """One cluster, through an `ApiClient`. Every method may raise `KubeClusterError`; calls block."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def read(self, manifest: Manifest) -> Manifest | None:
        """The object that has the manifest's kind and name, as it is now, or None."""
        return self._call("GET", manifest, lambda: None)

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Makes the objects what the manifests say, in their order."""
        for manifest in manifests:
            self._call("PATCH", manifest, None)

    def close(self) -> None:
        self._api.rest_client.close()

    def _call(self, method: str, manifest: Manifest, absent: Callable[[], None] | None) -> Manifest | None:
        metadata = manifest["metadata"]
        collection = _PATHS[manifest["kind"]].format(namespace=metadata.get("namespace", ""))
        applies = method == "PATCH"
        headers = {"Accept": "application/json"}
        if applies:
            headers["Content-Type"] = "application/apply-patch+yaml"
        request = self._api.param_serialize(
            method=method,
            resource_path=f"{collection}/{metadata['name']}",
            query_params=[("fieldManager", FIELD_MANAGER), ("force", "true")] if applies else [],
            header_params=headers,
            # JSON is YAML; as text, because the client would not encode this content type.
            body=json.dumps(manifest) if applies else None,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=_TIMEOUT_S)
            content = response.read()
            if response.status == 404 and absent is not None:
                return absent()
            self._api.response_deserialize(response, {})
        except client.ApiException as error:
            raise KubeClusterError(
                f"the cluster refuses {manifest['kind']} {metadata['name']}: {error.status} {error.reason}"
            ) from None
        except urllib3.exceptions.HTTPError as error:
            raise KubeClusterError(f"the cluster cannot be reached: {_reason(error)}") from None
        found: Manifest = json.loads(content)
        return found


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """Without the client's wrapping: pool, retries, and the path that was asked."""
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition("): ")[2]
