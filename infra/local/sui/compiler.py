"""Compile a Move package to what ``sui move build --dump-bytecode-as-base64`` prints.

``python -m infra.local.sui.compiler PACKAGE_DIR OUT.json``

Where a ``sui`` command line is on PATH it does the work. Else the same compiler runs as WebAssembly in Node,
against stub sources of the framework (:mod:`infra.local.sui.framework`). Both give the same bytes.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .framework import FrameworkError, framework_stubs
from .paths import build_directory, write_atomically

MINIMUM_NODE = 18
TOOLCHAIN = Path(__file__).parent / "toolchain"
_TOOLCHAIN_FILES = ("package.json", "package-lock.json", ".npmrc", "framework.mjs", "compile.mjs", "test.mjs")
_COMPILE_SECONDS = 300


class CompileError(Exception):
    """The package was not compiled; the text is for the person who wrote it."""


class ToolchainError(CompileError):
    """No compiler could be run; the text says what to install."""


@dataclass(frozen=True, slots=True)
class CompiledPackage:
    """A package as a publish transaction takes it, addresses of its own modules still zero."""

    modules: tuple[bytes, ...]
    """Bytecode, dependencies before their users."""
    dependencies: tuple[bytes, ...]
    """32-byte ids of the packages that it is linked against."""
    digest: bytes
    warnings: str = ""

    def to_json(self) -> str:
        return json.dumps(
            {
                "modules": [base64.b64encode(module).decode() for module in self.modules],
                "dependencies": [f"0x{dependency.hex()}" for dependency in self.dependencies],
                "digest": list(self.digest),
            }
        )

    @classmethod
    def from_json(cls, text: str, warnings: str = "") -> CompiledPackage:
        """Raises CompileError if it is not what the compiler writes."""
        try:
            data = json.loads(text)
            return cls(
                tuple(base64.b64decode(module, validate=True) for module in data["modules"]),
                tuple(bytes.fromhex(d.removeprefix("0x").rjust(64, "0")) for d in data["dependencies"]),
                bytes(data["digest"]),
                warnings,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CompileError(
                "this is not the output of sui move build --dump-bytecode-as-base64"
            ) from error


def compile_package(source_dir: Path) -> CompiledPackage:
    """Compile the package in ``source_dir`` (with ``Move.toml`` and ``sources/``).

    Raises:
        CompileError: the sources are wrong, with the compiler's own message.
        ToolchainError: neither a ``sui`` command line nor a usable Node was found.
    """
    if not (source_dir / "Move.toml").is_file():
        raise CompileError(f"{source_dir} has no Move.toml: it is not a Move package")
    sui = shutil.which("sui")
    if sui is not None:
        return _compile_with_command_line(sui, source_dir)
    return compile_sources(read_sources(source_dir))


def read_sources(source_dir: Path) -> dict[str, str]:
    """What the compiler needs of a package directory: manifest and sources, by relative path."""
    files = [
        source_dir / "Move.toml",
        *sorted(source_dir.glob("sources/**/*.move")),
        *sorted(source_dir.glob("tests/**/*.move")),
    ]
    return {file.relative_to(source_dir).as_posix(): file.read_text("utf-8") for file in files}


def compile_sources(
    files: Mapping[str, str], framework: Mapping[str, Mapping[str, str]] | None = None
) -> CompiledPackage:
    """Compile sources (relative path -> text) in Node; ``framework`` replaces the framework's stubs.

    Raises: as :func:`compile_package`.
    """
    try:
        framework = framework or framework_stubs()
    except FrameworkError as error:
        raise ToolchainError(str(error)) from error
    reply = run_in_node("compile.mjs", {"files": dict(files), "framework": framework})
    return CompiledPackage.from_json(json.dumps(reply), reply["warnings"])


def run_in_node(script: str, request: Mapping[str, object]) -> dict[str, Any]:
    """Let a script of the toolchain answer a request; both are described in the script.

    Raises: as :func:`compile_package`.
    """
    node = _find_node()
    toolchain = _installed_toolchain()
    with tempfile.TemporaryDirectory(prefix="move-compile-") as scratch:
        request_path, reply_path = Path(scratch, "request.json"), Path(scratch, "reply.json")
        request_path.write_text(json.dumps(request))
        ran = run_tool([node, str(toolchain / script), str(request_path), str(reply_path)])
        if not reply_path.exists():
            raise CompileError(f"the Move compiler ended without a result:\n{output_of(ran)}")
        reply: dict[str, Any] = json.loads(reply_path.read_text())
    if "error" in reply:
        raise CompileError(reply["error"].strip())
    return reply


def _compile_with_command_line(sui: str, source_dir: Path) -> CompiledPackage:
    with package_copy(source_dir) as package:
        ran = run_tool([sui, "move", "build", "--dump-bytecode-as-base64", "--path", str(package)])
    if ran.returncode:
        raise CompileError(output_of(ran))
    return CompiledPackage.from_json(ran.stdout[ran.stdout.find("{") :], ran.stderr)


@contextmanager
def package_copy(source_dir: Path) -> Iterator[Path]:
    """A package for the command line, which writes ``Move.lock`` and ``build/`` beside the sources."""
    with tempfile.TemporaryDirectory(prefix="move-compile-") as scratch:
        package = Path(scratch, source_dir.resolve().name)
        shutil.copytree(source_dir, package, ignore=shutil.ignore_patterns("build", ".git"))
        yield package


def _find_node() -> str:
    hint = f"install Node {MINIMUM_NODE} or newer, or the sui command line"
    node = shutil.which("node")
    if node is None:
        raise ToolchainError(f"compiling Move needs Node, which is not on PATH: {hint}")
    version = run_tool([node, "--version"]).stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < MINIMUM_NODE:
        raise ToolchainError(
            f"compiling Move needs Node {MINIMUM_NODE}, this is {version or 'unknown'}: {hint}"
        )
    return node


def _installed_toolchain() -> Path:
    """The toolchain with its one dependency, installed on first use under the build directory."""
    contents = {name: (TOOLCHAIN / name).read_bytes() for name in _TOOLCHAIN_FILES}
    key = hashlib.sha256(b"".join(contents.values())).hexdigest()[:12]
    installed = build_directory() / "toolchain" / key
    complete = installed / ".complete"
    if complete.exists():
        return installed
    with _exclusive(build_directory() / "toolchain" / ".lock"):
        if complete.exists():
            return installed
        npm = shutil.which("npm")
        if npm is None:
            raise ToolchainError("installing the Move compiler needs npm, which comes with Node")
        for name, data in contents.items():
            write_atomically(installed / name, data)
        ran = run_tool([npm, "ci", "--ignore-scripts", "--loglevel=error"], installed)
        if ran.returncode:
            raise ToolchainError(f"npm could not install the Move compiler:\n{output_of(ran)}")
        complete.touch()
    return installed


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """One process at a time: parallel tests all want the toolchain at their start."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_tool(command: list[str], directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a compiler to its end, whatever its exit code.

    Raises: CompileError if it does not end, ToolchainError if it does not start.
    """
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0"}
    try:
        return subprocess.run(
            command,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMPILE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"{command[0]} took more than {_COMPILE_SECONDS} s") from error
    except OSError as error:
        raise ToolchainError(f"{command[0]} could not be started: {error.strerror}") from error


def output_of(ran: subprocess.CompletedProcess[str]) -> str:
    """What it printed, on either stream."""
    return "\n".join(part.strip() for part in (ran.stdout, ran.stderr) if part.strip())


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 with the compiler's message on standard error."""
    if len(arguments) != 2:
        print("usage: python -m infra.local.sui.compiler PACKAGE_DIR OUT.json", file=sys.stderr)
        return 1
    source_dir, output = map(Path, arguments)
    try:
        compiled = compile_package(source_dir)
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1
    if compiled.warnings.strip():
        print(compiled.warnings.strip(), file=sys.stderr)
    write_atomically(output, compiled.to_json().encode())
    print(f"{output}: {len(compiled.modules)} modules, {sum(map(len, compiled.modules))} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
