"""A running stack in front of an API server: kubeconfigs for both ways to it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.apiserver.build import ensure
from infra.local.apiserver.server import ApiServer
from infra.local.stack.options import StackOptions
from infra.local.stack.stack import Stack


@dataclass(frozen=True, slots=True)
class Stage:
    """Kubeconfigs of one API server: the administrator's, and the holders'; and the stack's state."""

    direct: Path
    chain: Path
    state: Path
    audit_log: Path | None = None


@contextmanager
def in_memory(
    directory: Path, *, finality_ms: int = 50, checkpoint_ms: int = 50, conversion: str = "strict"
) -> Generator[Stage, None, None]:
    """The stack with its own API server in memory."""
    options = StackOptions(
        state=directory / "stack",
        port=0,
        finality_ms=finality_ms,
        checkpoint_ms=checkpoint_ms,
        conversion=conversion,
    )
    with _started(options) as kubeconfig:
        admin = options.state / "keys" / "kubernetes-admin.kubeconfig"
        yield Stage(admin, kubeconfig, options.state)


@contextmanager
def real(
    directory: Path, *, finality_ms: int = 50, checkpoint_ms: int = 50, conversion: str = "strict"
) -> Generator[Stage, None, None]:
    """The stack in front of a real kube-apiserver.

    Raises:
        UnsupportedPlatformError: this machine cannot build one. BuildError: it could, and failed.
    """
    with ApiServer(ensure(print), directory / "apiserver") as server:
        options = StackOptions(
            state=directory / "stack",
            port=0,
            kubeconfig=server.kubeconfig,
            finality_ms=finality_ms,
            checkpoint_ms=checkpoint_ms,
            conversion=conversion,
        )
        with _started(options) as kubeconfig:
            yield Stage(server.kubeconfig, kubeconfig, options.state, server.audit_log)


@contextmanager
def _started(options: StackOptions) -> Generator[Path, None, None]:
    stack = Stack(options, print)
    try:
        yield stack.start().kubeconfig
    finally:
        stack.stop()
