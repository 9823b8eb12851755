"""Reading files that only their owner may read: keys and passphrases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from k3s_daas.errors import ConfigurationError

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE_BYTES = 64 * 1024


def read_private_file(path: Path, what: str) -> bytes:
    """The first 64 KiB of such a file; `what` names it in errors.

    Raises `ConfigurationError`, without its content: it cannot be read, or others may read or write it.
    """
    try:
        # Mode and content of one descriptor: the file cannot be exchanged in between.
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"cannot read {what} {path}: {error.strerror}") from error
    if mode & _OPEN_TO_OTHERS:
        raise ConfigurationError(f"{what} {path} is open to other users: run chmod 600 on it")
    return content
