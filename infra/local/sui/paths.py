"""Where generated files go: ``build/`` of the checkout, which may be deleted at any time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

BUILD_DIRECTORY_VARIABLE = "MOVE_BUILD_DIR"


def build_directory() -> Path:
    """``build/`` beside ``infra/``, or what ``MOVE_BUILD_DIR`` says."""
    configured = os.environ.get(BUILD_DIRECTORY_VARIABLE)
    return Path(configured) if configured else Path(__file__).resolve().parents[3] / "build"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a concurrent reader sees the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
    temporary = Path(file.name)
    temporary.chmod(0o644)
    temporary.replace(path)
