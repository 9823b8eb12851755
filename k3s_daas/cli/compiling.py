"""Where an operator's bytecode comes from: a file, or a Move package compiled now.

Compiler and compatibility check are the local tools'; they are imported only when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from k3s_daas.admin.publishing import PackageCode
from k3s_daas.errors import ConfigurationError


def package_code(bytecode: Path | None, source: Path) -> PackageCode:
    """The compiled package in the file `bytecode`, else the one made from the directory `source`.

    Raises `ConfigurationError`: unreadable, or it does not compile.
    """
    if bytecode is None:
        return _compiled(source)
    try:
        return PackageCode.from_json(bytecode.read_text(encoding="utf-8"), str(bytecode))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {bytecode}: {error}") from None


def incompatibilities(old: Sequence[bytes], new: Sequence[bytes]) -> list[str]:
    """Why modules cannot be upgraded to others. Raises `ConfigurationError` if one is not understood."""
    from infra.local.sui.bytecode.compatibility import incompatibilities as check  # noqa: PLC0415
    from infra.local.sui.bytecode.reader import BytecodeError  # noqa: PLC0415

    try:
        return check(old, new)
    except BytecodeError as error:
        raise ConfigurationError(f"the bytecode is not understood, so nothing was tried: {error}") from None


def _compiled(source: Path) -> PackageCode:
    from infra.local.sui.compiler import CompileError, compile_package  # noqa: PLC0415

    try:
        compiled = compile_package(source)
    except CompileError as error:
        raise ConfigurationError(f"{source} was not compiled: {error}") from None
    return PackageCode(compiled.modules, compiled.dependencies, compiled.digest)
