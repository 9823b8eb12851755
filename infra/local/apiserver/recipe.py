"""What is built, out of what, and where the result is kept. Change any of it, and it is built anew."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_REVISION = 1
"""Raise it when `compilation` changes in a way that changes the binaries."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One version of Kubernetes in one release of Debian; `packages` are unpacked, never installed."""

    codename: str = "bookworm"
    source: str = "kubernetes"
    version: str = "1.20.2"
    commit: str = "faecb196815e248d3ecfb03c680a4507229c2a56"
    programs: tuple[str, ...] = ("kube-apiserver", "kube-controller-manager")
    etcd_package: str = "etcd-server"
    packages: tuple[str, ...] = (
        "golang-1.19-go",
        "golang-1.19-src",
        # The copy in Kubernetes' vendor directory corrupts maps when compiled by Go 1.18 or newer: the
        # server dies at the first custom resource. Debian's is the release that mends it.
        "golang-github-modern-go-reflect2-dev",
        # Kubernetes' makefiles copy with it; the two libraries are the ones that a small Debian may lack.
        "rsync",
        "libpopt0",
        "libxxhash0",
    )

    @property
    def label(self) -> str:
        """The version and a digest of everything above: the name of the cached result."""
        said = repr((self, _REVISION, architecture()))
        return f"kubernetes-{self.version}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


RECIPE = Recipe()


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one build."""

    directory: Path

    @property
    def etcd(self) -> Path:
        return self.directory / "etcd"

    @property
    def apiserver(self) -> Path:
        return self.directory / "kube-apiserver"

    @property
    def controller_manager(self) -> Path:
        return self.directory / "kube-controller-manager"


def architecture() -> str:
    """Debian's and Go's name of this machine's architecture; the machine's own name if they have none."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def cache_home() -> Path:
    """Where builds are kept (XDG Base Directory Specification: XDG_CACHE_HOME)."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is to be ignored.
    base = Path(told) if Path(told).is_absolute() else Path.home() / ".cache"
    return base / "k3s-daas"
