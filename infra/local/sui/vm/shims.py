"""Framework modules that take the place of the VM's own, compiled from ``shims/*.move``.

They record what a call does (objects, dynamic fields, events), since this VM returns nothing of it, and
they mend or refuse the natives of this VM that do not work. The VM loads modules by their own id, so each
one replaces exactly one framework module; everything else of the framework is the VM's own bytecode.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path

from ..bytecode.interface import read_interface
from ..compiler import compile_sources
from ..framework import SUI, framework_modules, framework_stubs, sandbox_version
from ..paths import build_directory, write_atomically
from .linking import ModuleId, rename_modules

SOURCES = Path(__file__).parent / "shims"
COMPILED_AS = {"event_log": "event"}
"""The compiler lets a type's own module call ``sui::event``, nobody else: that shim is renamed later."""
REDIRECTS: dict[ModuleId, str] = {
    (SUI, name): f"{name}_by_reference" for name in ("ecdsa_k1", "ecdsa_r1", "ed25519", "hash")
}
"""Modules whose natives take vectors by value here: their users are linked to a wrapper."""
UNSUPPORTED_ABORT = 2**64 - 1
"""What a shim aborts with where the VM cannot do what Sui does."""

_MANIFEST = """[package]
name = "shims"
edition = "2024"
[dependencies]
MoveStdlib = { local = "../move-stdlib" }
[addresses]
sui = "0x2"
"""


def shim_sources() -> dict[str, str]:
    """File name -> source."""
    return {file.name: file.read_text("utf-8") for file in sorted(SOURCES.glob("*.move"))}


def stubs_with_shims() -> dict[str, dict[str, str]]:
    """The framework's stubs as a driver sees them: shims in the places of what they replace."""
    stubs = framework_stubs()
    return {**stubs, "sui": {**stubs["sui"], **shim_sources()}}


@lru_cache(maxsize=1)
def runtime_framework() -> dict[ModuleId, bytes]:
    """Every framework module as it runs: the VM's own, with shims instead of some of them."""
    own = {
        (address, name): code for address, pkg in framework_modules().items() for name, code in pkg.items()
    }
    redirected = {module_id: rename_modules(code, REDIRECTS) for module_id, code in own.items()}
    return {**redirected, **_compiled_shims()}


def _compiled_shims() -> dict[ModuleId, bytes]:
    key = hashlib.sha256(json.dumps([_MANIFEST, stubs_with_shims()]).encode()).hexdigest()[:16]
    cached = build_directory() / "framework" / sandbox_version() / f"shims-{key}.json"
    if not cached.exists():
        compiled = {name: base64.b64encode(code).decode() for name, code in _compile_shims().items()}
        write_atomically(cached, json.dumps(compiled).encode())
    stored: dict[str, str] = json.loads(cached.read_bytes())
    return {(SUI, name): base64.b64decode(code) for name, code in stored.items()}


def _compile_shims() -> dict[str, bytes]:
    # All of sui is compiled, stubs and shims, since shims belong to its package; only the shims are kept.
    files = {f"sources/{name}": text for name, text in stubs_with_shims()["sui"].items()}
    compiled = compile_sources({"Move.toml": _MANIFEST, **files})
    names = {Path(name).stem for name in shim_sources()}
    renames = {(SUI, before): after for before, after in COMPILED_AS.items()}
    shims = [code for code in compiled.modules if read_interface(code).name in names]
    assert len(shims) == len(names)
    renamed = [rename_modules(code, renames) for code in shims]
    return {read_interface(code).name: code for code in renamed}
