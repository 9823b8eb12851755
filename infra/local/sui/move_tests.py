"""``make move-test``: run the unit tests of a Move package against the real framework.

``python -m infra.local.sui.move_tests PACKAGE_DIR``

Where a ``sui`` command line is on PATH, ``sui move test`` does it. Else the same test runner runs as
WebAssembly in Node, against the framework sources in the directory that ``SUI_FRAMEWORK_SOURCES`` names: it
holds ``MoveStdlib/`` and ``Sui/``, as ``build/<package>/sources/dependencies`` does after a build with the
command line. Those come without the framework's test modules; ``toolchain/testing`` has the part of them that
our tests use.

With framework sources at hand it is also checked that they and our stubs give the same bytecode.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .compiler import (
    TOOLCHAIN,
    CompiledPackage,
    CompileError,
    ToolchainError,
    compile_sources,
    output_of,
    package_copy,
    read_sources,
    run_in_node,
    run_tool,
)

FRAMEWORK_VARIABLE = "SUI_FRAMEWORK_SOURCES"
TESTS_FAILED, CANNOT_RUN = 1, 3
_DIRECTORIES = {"std": "MoveStdlib", "sui": "Sui"}
_TEST_MODULES = TOOLCHAIN / "testing"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SUMMARY = re.compile(r"^Test result: .*passed: (\d+); failed: (\d+)", re.MULTILINE)

Framework = Mapping[str, Mapping[str, str]]
"""Package name (``std``, ``sui``) -> file name -> source."""


@dataclass(frozen=True, slots=True)
class MoveTestRun:
    """What the test runner said. A run without a single test has not passed."""

    passed: int
    failed: int
    output: str

    @property
    def ok(self) -> bool:
        return self.passed > 0 and self.failed == 0


def read_framework(directory: Path) -> dict[str, dict[str, str]]:
    """The framework's sources as they are, for compiling.

    Raises:
        ToolchainError: the directory does not hold them.
    """
    framework = {}
    for name, subdirectory in _DIRECTORIES.items():
        root = directory / subdirectory
        sources = {f.relative_to(root).as_posix(): f.read_text("utf-8") for f in root.rglob("*.move")}
        if not sources:
            raise ToolchainError(
                f"{FRAMEWORK_VARIABLE} must name a directory that holds MoveStdlib/ and Sui/ with the"
                f" framework's sources: there is no Move source in {root}"
            )
        framework[name] = sources
    return framework


def with_test_modules(framework: Framework) -> dict[str, dict[str, str]]:
    """The framework with ``std::unit_test`` and ``sui::test_scenario``: its own if it has them, else ours."""
    completed = {}
    for name, sources in framework.items():
        ours = {f"testing/{f.name}": f.read_text("utf-8") for f in (_TEST_MODULES / name).glob("*.move")}
        present = {Path(file).name for file in sources}
        completed[name] = {**sources, **{f: text for f, text in ours.items() if Path(f).name not in present}}
    return completed


def run_tests(source_dir: Path, framework: Framework | None) -> MoveTestRun:
    """Run the package's unit tests, with the command line if there is one, else against ``framework``.

    Raises:
        CompileError: sources or tests do not compile.
        ToolchainError: there is nothing to run them with; the text says what to install or set.
    """
    sui = shutil.which("sui")
    if sui is not None:
        with package_copy(source_dir) as package:
            ran = run_tool([sui, "move", "test", "--path", str(package)])
        return _read_run(output_of(ran), ended_well=ran.returncode == 0)
    if framework is None:
        raise ToolchainError(
            "Move unit tests need the sui command line on PATH, or the framework's sources: set"
            f" {FRAMEWORK_VARIABLE} to a directory that holds MoveStdlib/ and Sui/ (`sui move build` makes"
            " build/<package>/sources/dependencies)"
        )
    request = {"files": read_sources(source_dir), "framework": with_test_modules(framework)}
    reply = run_in_node("test.mjs", request)
    return _read_run(reply["output"], ended_well=reply["passed"])


def _read_run(output: str, *, ended_well: bool) -> MoveTestRun:
    output = _COLOUR.sub("", output)
    summary = _SUMMARY.search(output)
    if summary is None:
        raise CompileError(output.strip() or "the test runner printed nothing")
    passed, failed = map(int, summary.groups())
    return MoveTestRun(passed, failed if failed or ended_well else 1, output)


def differences(stubs: CompiledPackage, sources: CompiledPackage) -> list[str]:
    """In what two compilations of one package differ; empty if they are byte for byte the same."""
    fields: dict[str, Callable[[CompiledPackage], object]] = {
        "number of modules": lambda one: len(one.modules),
        "modules": lambda one: one.modules,
        "dependencies": lambda one: one.dependencies,
        "digest": lambda one: one.digest,
    }
    return [name for name, read in fields.items() if read(stubs) != read(sources)]


def compare_bytecode(source_dir: Path, framework: Framework) -> tuple[CompiledPackage, list[str]]:
    """Compile a package from our stubs and from the framework's sources: the former, and what differs.

    Raises: as :func:`compile_sources`.
    """
    files = read_sources(source_dir)
    stubs = compile_sources(files)
    return stubs, differences(stubs, compile_sources(files, framework))


def main(arguments: list[str]) -> int:
    """Exit code 0; 1 if a test failed or the bytecode differs; 3 if nothing is there to run the tests."""
    if len(arguments) != 1:
        print("usage: python -m infra.local.sui.move_tests PACKAGE_DIR", file=sys.stderr)
        return TESTS_FAILED
    source_dir = Path(arguments[0])
    configured = os.environ.get(FRAMEWORK_VARIABLE)
    try:
        framework = read_framework(Path(configured)) if configured else None
        run = run_tests(source_dir, framework)
        print(run.output.strip())
        same = framework is None or _report_comparison(*compare_bytecode(source_dir, framework))
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return CANNOT_RUN
    except CompileError as error:
        print(error, file=sys.stderr)
        return TESTS_FAILED
    return 0 if run.ok and same else TESTS_FAILED


def _report_comparison(compiled: CompiledPackage, different: list[str]) -> bool:
    if different:
        print(
            f"Stubs and framework sources give different bytecode: {', '.join(different)}. What the local"
            " stack publishes is not what the sui command line would publish.",
            file=sys.stderr,
        )
        return False
    size = sum(map(len, compiled.modules))
    print(
        f"Bytecode from stubs and from framework sources is the same: {len(compiled.modules)} modules,"
        f" {size} bytes, digest {compiled.digest.hex()}"
    )
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
