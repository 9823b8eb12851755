"""The real Move VM behind the seam of :mod:`infra.local.sui.execution`."""

from .sandbox import SandboxVm

__all__ = ["SandboxVm"]
