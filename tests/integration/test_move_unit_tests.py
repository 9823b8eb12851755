"""``make move-test``: what it runs, what it needs, what it says without; and that tests cover every abort."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from infra.local.sui import move_tests
from infra.local.sui.compiler import (
    CompiledPackage,
    compile_sources,
    read_sources,
)
from infra.local.sui.move_tests import FRAMEWORK_VARIABLE, main, read_framework, with_test_modules
from k3s_daas.aborts import ABORTS

MOVE = Path(__file__).parents[2] / "move"
_TEST_ONLY = re.compile(r"#\[test_only\]\n[^{}]*(?:\{[^{}]*\}|;)\n")


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which there is nothing yet, and no framework sources."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv(FRAMEWORK_VARIABLE, raising=False)
    return directory


def command_line(directory: Path, text: str) -> None:
    program = directory / "sui"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def framework(directory: Path, **modules: str) -> Path:
    """A directory as the variable names it, with a module more for each argument: name and where."""
    for subdirectory in ("MoveStdlib", "Sui"):
        (directory / subdirectory).mkdir(parents=True)
        (directory / subdirectory / "some.move").write_text("module some::some;\n")
    for name, subdirectory in modules.items():
        (directory / subdirectory / f"{name}.move").write_text(f"module their::{name};\n")
    return directory


# === The tests of the contract ===


def test_every_abort_is_expected_by_name_in_a_move_test() -> None:
    text = "".join(file.read_text() for file in (MOVE / "tests").glob("*.move"))
    expected = set(re.findall(r"expected_failure\(abort_code = k3s_daas::(\w+::\w+)\)", text))
    assert expected == {f"{module}::{name}" for module, codes in ABORTS.items() for name in codes.values()}


def test_every_expected_failure_names_its_abort() -> None:
    for file in (MOVE / "tests").glob("*.move"):
        text = file.read_text()
        assert text.count("expected_failure") == len(re.findall(r"abort_code = k3s_daas::\w+::E\w+\)", text))


def test_code_for_tests_is_not_published() -> None:
    """Neither the tests nor the few functions that they need in the sources change a byte."""
    files = read_sources(MOVE)
    assert any(name.startswith("tests/") for name in files)
    assert any(_TEST_ONLY.search(text) for name, text in files.items() if name.startswith("sources/"))
    bare = {name: _TEST_ONLY.sub("", text) for name, text in files.items() if not name.startswith("tests/")}
    assert not any("test_only" in text for text in bare.values())
    assert compile_sources(bare) == compile_sources(files)


@pytest.mark.skipif(FRAMEWORK_VARIABLE not in os.environ, reason=f"{FRAMEWORK_VARIABLE} is not set")
def test_all_tests_pass_against_the_framework_and_the_bytecode_is_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(MOVE)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"passed: [1-9]\d*; failed: 0$", said, re.MULTILINE)
    assert "Bytecode from stubs and from framework sources is the same" in said


# === Without a framework ===


def test_without_anything_to_run_them_with_it_says_so(
    empty_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(MOVE)]) == 3
    assert capsys.readouterr().err == (
        "Move unit tests need the sui command line on PATH, or the framework's sources: set"
        " SUI_FRAMEWORK_SOURCES to a directory that holds MoveStdlib/ and Sui/ (`sui move build` makes"
        " build/<package>/sources/dependencies)\n"
    )


def test_a_directory_without_the_framework_is_named(
    tmp_path: Path, empty_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FRAMEWORK_VARIABLE, str(tmp_path))
    assert main([str(MOVE)]) == 3
    assert f"there is no Move source in {tmp_path}/MoveStdlib" in capsys.readouterr().err


def test_the_frameworks_own_test_modules_are_kept(tmp_path: Path) -> None:
    read = with_test_modules(read_framework(framework(tmp_path, unit_test="MoveStdlib")))
    assert set(read["std"]) == {"some.move", "unit_test.move"}
    assert set(read["sui"]) == {"some.move", "testing/test_scenario.move"}


# === With the command line ===


def test_the_command_line_runs_them_in_a_copy(empty_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command_line(
        empty_path,
        'echo "$1 $2 $3"; : > "$4/Move.lock"; echo "Test result: OK. Total tests: 2; passed: 2; failed: 0"',
    )
    assert main([str(MOVE)]) == 0
    assert capsys.readouterr().out.startswith("move test --path\n")
    assert not (MOVE / "Move.lock").exists()


@pytest.mark.parametrize(
    "summary",
    [
        "Test result: FAILED. Total tests: 2; passed: 1; failed: 1",
        "Test result: OK. Total tests: 0; passed: 0; failed: 0",
    ],
)
def test_a_failed_test_and_no_test_at_all_are_failures(empty_path: Path, summary: str) -> None:
    command_line(empty_path, f'echo "{summary}"')
    assert main([str(MOVE)]) == 1


def test_a_command_line_that_fails_after_its_tests_is_a_failure(empty_path: Path) -> None:
    command_line(empty_path, 'echo "Test result: OK. Total tests: 1; passed: 1; failed: 0"; exit 1')
    assert main([str(MOVE)]) == 1


def test_tests_that_do_not_compile_are_a_failure_with_the_compilers_words(
    empty_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line(empty_path, 'echo "error[E01002]: unexpected token"; exit 1')
    assert main([str(MOVE)]) == 1
    assert "unexpected token" in capsys.readouterr().err


def test_colours_are_left_out(empty_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command_line(empty_path, r"printf 'Test result: \033[1;92mOK\033[0m. passed: 1; failed: 0\n'")
    assert main([str(MOVE)]) == 0
    assert capsys.readouterr().out == "Test result: OK. passed: 1; failed: 0\n"


# === The comparison ===


def test_two_compilations_are_compared_in_all_that_is_published() -> None:
    one = CompiledPackage((b"a", b"b"), (bytes(32),), bytes(32))
    assert (
        move_tests.differences(one, CompiledPackage((b"a", b"b"), (bytes(32),), bytes(32), "a warning")) == []
    )
    other = CompiledPackage((b"a", b"c"), (bytes(31) + b"\1",), bytes(31) + b"\1")
    assert move_tests.differences(one, other) == ["modules", "dependencies", "digest"]


def test_different_bytecode_is_a_failure(
    tmp_path: Path, empty_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FRAMEWORK_VARIABLE, str(framework(tmp_path / "framework")))
    command_line(empty_path, 'echo "Test result: OK. Total tests: 1; passed: 1; failed: 0"')
    compiled = iter([CompiledPackage((b"a",), (), bytes(32)), CompiledPackage((b"b",), (), bytes(32))])
    monkeypatch.setattr(move_tests, "compile_sources", lambda *_: next(compiled))
    assert main([str(MOVE)]) == 1
    assert "give different bytecode: modules." in capsys.readouterr().err


def test_wrong_arguments_explain_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "usage: python -m infra.local.sui.move_tests PACKAGE_DIR" in capsys.readouterr().err
