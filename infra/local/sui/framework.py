"""The Sui framework, as bytecode and as stub sources.

No package registry carries the framework's sources. The Move VM brings its bytecode, embedded in the native
library of the ``sui_sandbox`` wheel: there it is found, and the declarations that a compiler needs are
generated from it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from .bytecode import stubs
from .bytecode.interface import read_interface
from .bytecode.reader import MAGIC, BytecodeError, Cursor
from .paths import build_directory, write_atomically

STD = bytes(31) + b"\x01"
SUI = bytes(31) + b"\x02"
PACKAGE_NAMES = {STD: "std", SUI: "sui", bytes(31) + b"\x03": "sui_system"}
"""Named addresses of the framework's packages."""
_COMPILED_AGAINST = (STD, SUI)


class FrameworkError(Exception):
    """The framework cannot be had from the installed ``sui_sandbox``."""


def sandbox_version() -> str:
    """Version of the VM, and so of the framework.

    Raises:
        FrameworkError: it is not installed.
    """
    try:
        return importlib.metadata.version("sui-sandbox")
    except importlib.metadata.PackageNotFoundError as error:
        raise FrameworkError(
            "the Move VM is not installed: install this package with its extra 'local'"
        ) from error


@lru_cache(maxsize=1)
def framework_modules() -> dict[bytes, dict[str, bytes]]:
    """Package address -> module name -> bytecode, for ``std``, ``sui`` and ``sui_system``."""
    cached = build_directory() / "framework" / sandbox_version() / "bytecode.json"
    if not cached.exists():
        carved = _carve(_native_library().read_bytes())
        text = {a.hex(): {n: code.hex() for n, code in modules.items()} for a, modules in carved.items()}
        write_atomically(cached, json.dumps(text).encode())
    stored: dict[str, dict[str, str]] = json.loads(cached.read_bytes())
    return {
        bytes.fromhex(a): {n: bytes.fromhex(code) for n, code in modules.items()}
        for a, modules in stored.items()
    }


@lru_cache(maxsize=1)
def framework_stubs() -> dict[str, dict[str, str]]:
    """Package name (``std``, ``sui``) -> file name -> source of declarations."""
    generator = hashlib.sha256(Path(stubs.__file__).read_bytes()).hexdigest()[:12]
    cached = build_directory() / "framework" / sandbox_version() / f"stubs-{generator}.json"
    if not cached.exists():
        write_atomically(cached, json.dumps(_generate_stubs()).encode())
    stored: dict[str, dict[str, str]] = json.loads(cached.read_bytes())
    return stored


def _generate_stubs() -> dict[str, dict[str, str]]:
    options = stubs.StubOptions(PACKAGE_NAMES)
    return {
        PACKAGE_NAMES[address]: {
            f"{name}.move": stubs.write_stub(read_interface(code), options)
            for name, code in framework_modules()[address].items()
        }
        for address in _COMPILED_AGAINST
    }


def _native_library() -> Path:
    sandbox_version()
    spec = importlib.util.find_spec("sui_sandbox")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for suffix in ("*.so", "*.pyd", "*.dylib"):
            for library in Path(location).glob(suffix):
                return library
    raise FrameworkError("the native library of sui_sandbox was not found: reinstall sui-sandbox")


def _carve(library: bytes) -> dict[bytes, dict[str, bytes]]:
    found: dict[bytes, dict[str, bytes]] = {}
    for code in _embedded_modules(library):
        interface = read_interface(code)
        if interface.address in PACKAGE_NAMES:
            found.setdefault(interface.address, {})[interface.name] = code
    missing = [name for address, name in PACKAGE_NAMES.items() if not found.get(address)]
    if missing:
        raise FrameworkError(
            f"sui-sandbox {sandbox_version()} does not embed the framework's {', '.join(missing)} as expected"
        )
    return found


def _embedded_modules(library: bytes) -> Iterator[bytes]:
    """The modules in a BCS ``vector<vector<u8>>``: each stands behind its ULEB128 length."""
    for match in re.finditer(re.escape(MAGIC), library):
        for digits in (1, 2, 3):
            cursor = Cursor(library, match.start() - digits)
            try:
                length = cursor.uleb()
                if cursor.position != match.start():
                    continue
                code = cursor.take(length)
                read_interface(code)
            except BytecodeError:
                continue
            yield code
            break
