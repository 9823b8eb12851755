"""Writing an operator's files: whole or not at all, and private where they hold a key."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from k3s_daas.errors import ConfigurationError

_PRIVATE_MODE = 0o600


def write_whole(path: Path, text: str) -> None:
    """Replaces a file at once: a reader sees the old one or the new one. Raises `ConfigurationError`."""
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def assert_writable(path: Path) -> None:
    """Before something is done that can only be recorded there. Raises `ConfigurationError`."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot write {path}: the directory is missing or closed to you")


def write_new_secret(path: Path, text: str) -> None:
    """Makes a new file that only its owner may read. Raises `ConfigurationError` if there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_MODE)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists and is not overwritten: name a new file") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
