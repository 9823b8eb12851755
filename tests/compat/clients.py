"""What the tests of other clients share: a namespace of their own on a running stack, and both ways to it."""

from __future__ import annotations

import stat
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

from tests.compat.stages import Stage

# How long a test waits for what must come; on a loaded machine a command takes a second.
PATIENCE_S = 60.0
_HOUR_MS = 3_600_000

_PLUGIN = """\
#!{python}
import sys, time
from pathlib import Path
from k3s_daas.cli.holder import Holder
from k3s_daas.cli.kubectl_daas import exec_credential

runs = Path({runs!r})
before = len(runs.read_text())
runs.write_text("x" * (before + 1))
old_ms = {hour_ms} if before < {dead} else 0
print(exec_credential(Holder.load(Path(sys.argv[-1])), time.time_ns() // 1_000_000 - old_ms))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace; `admin` is a client that does not go through the gateway."""

    stage: Stage
    namespace: str
    admin: Any

    def chain(self, kubeconfig: Path | None = None) -> Any:
        """An ApiClient of the `kubernetes` package that goes through the gateway as its holder."""
        return config.new_client_from_config(config_file=str(kubeconfig or self.stage.chain))

    def happens(self, name: str, *, labels: dict[str, str] | None = None, **data: str) -> None:
        """A ConfigMap is created past the gateway."""
        body = {"metadata": {"name": name, "labels": labels or {}}, "data": data}
        client.CoreV1Api(self.admin).create_namespaced_config_map(self.namespace, body)

    def changes(self, name: str, **data: str) -> None:
        """A ConfigMap is changed past the gateway."""
        client.CoreV1Api(self.admin).patch_namespaced_config_map(name, self.namespace, {"data": data})

    def ends(self, name: str) -> None:
        """A ConfigMap is deleted past the gateway."""
        client.CoreV1Api(self.admin).delete_namespaced_config_map(name, self.namespace)


def place_on(stage: Stage) -> Place:
    """A new namespace."""
    admin = config.new_client_from_config(config_file=str(stage.direct))
    name = f"clients-{uuid.uuid4().hex[:8]}"
    client.CoreV1Api(admin).create_namespace({"metadata": {"name": name}})
    return Place(stage, name, admin)


@dataclass(frozen=True, slots=True)
class Fading:
    """A kubeconfig whose plugin's first tokens have ended already, as tokens do in a long-lived client."""

    kubeconfig: Path
    _runs: Path

    @property
    def runs(self) -> int:
        """How often the plugin was asked."""
        return len(self._runs.read_text())


def fading(stage: Stage, directory: Path, *, dead: int) -> Fading:
    """The first `dead` tokens ended long ago."""
    plugin, runs = directory / "plugin", directory / "runs"
    runs.write_text("")
    plugin.write_text(_PLUGIN.format(python=sys.executable, runs=str(runs), dead=dead, hour_ms=_HOUR_MS))
    plugin.chmod(stat.S_IRWXU)
    fields = yaml.safe_load(stage.chain.read_text())
    for user in fields["users"]:
        user["user"]["exec"]["command"] = str(plugin)
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(fields))
    return Fading(kubeconfig, runs)
