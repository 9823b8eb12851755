"""Compiling a Move package: the two compilers, and what a person reads when there is none."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.sui import compiler
from infra.local.sui.bytecode.interface import read_interface
from infra.local.sui.compiler import CompiledPackage, CompileError, ToolchainError, compile_package, main

MANIFEST = '[package]\nname = "tiny"\nedition = "2024"\n[addresses]\ntiny = "0x0"\n'
SOURCE = "module tiny::tiny;\npublic fun one(): u64 { 1 }\n"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny"
    (directory / "sources").mkdir(parents=True)
    (directory / "Move.toml").write_text(MANIFEST)
    (directory / "sources" / "tiny.move").write_text(SOURCE)
    return directory


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which there is nothing yet."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def test_a_package_compiles_to_modules_dependencies_and_digest(package: Path) -> None:
    compiled = compile_package(package)
    (module,) = compiled.modules
    assert read_interface(module).id == (bytes(32), "tiny")
    assert compiled.dependencies == (bytes(31) + b"\x01", bytes(31) + b"\x02")
    assert len(compiled.digest) == 32
    assert compile_package(package) == compiled


def test_the_digest_is_the_one_that_sui_computes(package: Path) -> None:
    compiled = compile_package(package)
    parts = [hashlib.blake2b(module, digest_size=32).digest() for module in compiled.modules]
    parts += compiled.dependencies
    assert compiled.digest == hashlib.blake2b(b"".join(sorted(parts)), digest_size=32).digest()


def test_test_only_code_is_not_published(package: Path) -> None:
    before = compile_package(package)
    with (package / "sources" / "tiny.move").open("a") as source:
        source.write("#[test_only]\npublic fun two(): u64 { 2 }\n")
    assert compile_package(package).modules == before.modules


def test_the_json_is_that_of_the_command_line(package: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "bytecode.json"
    assert main([str(package), str(output)]) == 0
    written = json.loads(output.read_text())
    assert set(written) == {"modules", "dependencies", "digest"}
    assert base64.b64decode(written["modules"][0]).startswith(b"\xa1\x1c\xeb\x0b")
    assert written["dependencies"][0] == "0x" + "0" * 63 + "1"
    assert CompiledPackage.from_json(output.read_text()) == compile_package(package)


def test_an_error_in_the_sources_reaches_the_person_who_made_it(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "sources" / "tiny.move").write_text("module tiny::tiny;\npublic fun one(): u64 { true }\n")
    output = tmp_path / "bytecode.json"
    assert main([str(package), str(output)]) == 1
    said = capsys.readouterr().err
    assert "incompatible types" in said
    assert "sources/tiny.move:2" in said
    assert "\x1b[" not in said
    assert not output.exists()


def test_a_directory_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"no Move\.toml"):
        compile_package(tmp_path)


def test_without_node_one_sentence_says_what_to_install(
    package: Path, empty_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(package), str(package / "out.json")]) == 1
    assert capsys.readouterr().err == (
        "compiling Move needs Node, which is not on PATH: install Node 18 or newer, or the sui command line\n"
    )


@pytest.mark.parametrize("version", ["v16.20.2", "v9.0.0", "nonsense", ""])
def test_an_old_node_is_refused(package: Path, empty_path: Path, version: str) -> None:
    script(empty_path / "node", f'echo "{version}"')
    with pytest.raises(ToolchainError, match="compiling Move needs Node 18"):
        compile_package(package)


def test_npm_that_fails_is_quoted(
    package: Path, empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVE_BUILD_DIR", str(tmp_path / "build"))
    script(empty_path / "node", 'echo "v20.0.0"')
    with pytest.raises(ToolchainError, match="needs npm"):
        compile_package(package)
    script(empty_path / "npm", 'echo "the registry is out to lunch" >&2; exit 1')
    with pytest.raises(ToolchainError, match="the registry is out to lunch"):
        compile_package(package)


def test_a_compiler_that_dies_is_no_success(
    package: Path, empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVE_BUILD_DIR", str(tmp_path / "build"))
    script(
        empty_path / "node",
        'if [ "$1" = --version ]; then echo v20.0.0; else echo "out of memory" >&2; exit 134; fi',
    )
    script(empty_path / "npm", "exit 0")
    with pytest.raises(CompileError, match="ended without a result:\nout of memory"):
        compile_package(package)


# === The sui command line ===


def test_the_command_line_is_used_where_there_is_one(package: Path, empty_path: Path) -> None:
    expected = {
        "modules": [base64.b64encode(b"bytecode").decode()],
        "dependencies": ["0x2"],
        "digest": [7] * 32,
    }
    listed = package.parent / "arguments"
    script(
        empty_path / "sui",
        f'echo "$@" > {listed}\necho "BUILDING tiny" >&2\necho note\necho \'{json.dumps(expected)}\'',
    )
    compiled = compile_package(package)
    assert compiled.modules == (b"bytecode",)
    assert compiled.dependencies == (bytes(31) + b"\x02",)
    assert compiled.digest == bytes([7] * 32)
    assert listed.read_text().startswith("move build --dump-bytecode-as-base64 --path ")


def test_the_command_line_leaves_the_sources_alone(package: Path, empty_path: Path) -> None:
    script(
        empty_path / "sui",
        "shift 3\nwhile [ $# -gt 1 ]; do shift; done\n: > $1/Move.lock\n"
        'echo \'{"modules": [], "dependencies": [], "digest": []}\'',
    )
    compile_package(package)
    assert sorted(one.name for one in package.iterdir()) == ["Move.toml", "sources"]


def test_a_failure_of_the_command_line_is_passed_on(package: Path, empty_path: Path) -> None:
    script(empty_path / "sui", 'echo "error[E01002]: unexpected token"; exit 1')
    with pytest.raises(CompileError, match="unexpected token"):
        compile_package(package)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"modules": ["?"], "dependencies": [], "digest": []}', '{"modules": 1}']
)
def test_what_is_no_compiler_output_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match="not the output"):
        CompiledPackage.from_json(text)


# === As a command ===


def test_wrong_arguments_explain_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "usage: python -m infra.local.sui.compiler PACKAGE_DIR OUT.json" in capsys.readouterr().err


def test_make_move_does_nothing_when_nothing_changed() -> None:
    root = Path(compiler.__file__).parents[3]
    make = ["make", "-s", f"PYTHON={sys.executable}"]
    subprocess.run([*make, "move"], cwd=root, check=True, capture_output=True)
    again = subprocess.run([*make, "-q", "move"], cwd=root, check=False)
    assert again.returncode == 0
    assert CompiledPackage.from_json((root / "build" / "move" / "bytecode.json").read_text()).modules
