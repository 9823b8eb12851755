"""How the API server is reached: where, as whom, and over which connections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config

from k3s_daas.errors import ConfigurationError
from listener_service import kube_config
from listener_service.gated_pools import POOLS


def load_configuration(kubeconfig: Path | None) -> Any:
    """The `kubernetes` package's configuration: from a kubeconfig file, else from inside the cluster.

    Raises `ConfigurationError` naming the setting.
    """
    try:
        return kube_config.load_in_cluster() if kubeconfig is None else kube_config.load_file(kubeconfig)
    except (kubernetes_config.ConfigException, ConfigurationError) as error:
        raise ConfigurationError(_unusable(kubeconfig, str(error))) from error
    except OSError as error:
        what = f"{error.filename} cannot be read: {error.strerror}"
        raise ConfigurationError(_unusable(kubeconfig, what)) from None
    except Exception as error:  # noqa: BLE001  whatever the package's parsers raise for a file that is none
        # Without the cause: a parser's message quotes what it parsed.
        what = f"it is no kubeconfig file ({type(error).__name__})"
        raise ConfigurationError(_unusable(kubeconfig, what)) from None


def _unusable(kubeconfig: Path | None, why: str) -> str:
    if kubeconfig is not None:
        return f"KUBECONFIG {kubeconfig} cannot be used: {why}"
    return (
        "KUBECONFIG is not set, and the service account of a pod cannot be used instead "
        f"({why.rstrip('.')}): set KUBECONFIG to a kubeconfig file, or run it in the cluster"
    )


@dataclass(frozen=True, slots=True, repr=False)
class Way:
    """One way to the API server; another configuration makes another one."""

    configuration: Any
    origin: str
    authorization: str | None
    fingerprint: bytes
    pool: urllib3.PoolManager

    @classmethod
    def by(cls, configuration: Any, connections: int) -> Way:
        """With so many connections kept open."""
        configuration.connection_pool_maxsize = connections
        # client-go probes idle connections too; a dead one must not cost a command its time.
        configuration.keep_alive = True
        pool: urllib3.PoolManager = kubernetes_client.ApiClient(configuration).rest_client.pool_manager
        pool.pool_classes_by_scheme = POOLS
        setting = configuration.auth_settings().get("BearerToken")
        return cls(
            configuration,
            configuration.host.rstrip("/"),
            setting["value"] if setting else None,
            kube_config.fingerprint(configuration),
            pool,
        )

    @property
    def is_stale(self) -> bool:
        known = self.configuration
        return isinstance(known, kube_config.KubeConfiguration) and known.is_stale

    @property
    def is_expired(self) -> bool:
        known = self.configuration
        return isinstance(known, kube_config.KubeConfiguration) and known.is_expired
