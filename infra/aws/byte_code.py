"""Byte code for the functions' archive.

Lambda's file system cannot be written to: without byte code in the archive every cold start compiles all that
it imports, which is more than half of what importing costs. Each file says that it is not to be compared with
its source, whose modification time the archive does not keep; another minor version of Python passes it over
and compiles the source, as it would have.
"""

from __future__ import annotations

import compileall
import tempfile
import zipfile
from pathlib import Path
from py_compile import PycInvalidationMode

# Where Lambda unpacks the archive (AWS Lambda: the execution environment); it is read in tracebacks only.
_UNPACKED = "/var/task"
# The same archive for the same code, whenever it is made.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16


def add_byte_code(archive: Path) -> None:
    """Add what this interpreter makes of the archive's modules. Raises ValueError if one does not compile."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(root, [name for name in packed.namelist() if name.endswith(".py")])
        compiled = compileall.compile_dir(
            root,
            quiet=2,
            stripdir=root,
            prependdir=_UNPACKED,
            maxlevels=100,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        if not compiled:
            raise ValueError("a module of the archive does not compile: import each of them to see which")
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(root.rglob("*.pyc")):
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _NO_TIME)
                entry.external_attr = _READABLE
                entry.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(entry, path.read_bytes())
