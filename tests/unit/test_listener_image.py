"""The container's inputs: pinned like everything else, and enough for the listener."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

from listener_service import __version__

ROOT = Path(__file__).parents[2]
OURS = {"k3s_daas", "listener_service"}


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_containers_versions_are_those_of_the_lock_file() -> None:
    container, whole = pins(ROOT / "listener_service/requirements.lock"), pins(ROOT / "requirements.lock")
    assert len(container) > 10
    assert {name: whole.get(name) for name in container} == container


def test_the_container_has_what_the_listener_imports_and_no_tools() -> None:
    names = set(pins(ROOT / "listener_service/requirements.lock"))
    needed: set[str] = set()
    for path in (ROOT / "listener_service").rglob("*.py"):
        needed |= imported(path)
    # For type checkers only.
    third_party = needed - OURS - set(sys.stdlib_module_names) - {"mypy_boto3_kms"}
    assert third_party == {
        *("boto3", "botocore", "cryptography", "kubernetes", "prometheus_client", "urllib3", "websockets")
    }
    # The one whose package is named otherwise.
    assert {name.replace("_", "-") for name in third_party} | {"grpclib", "pysui"} <= names
    assert not {"chalice", "moto", "pytest"} & names


def test_the_container_runs_as_nobody_in_particular_on_a_pinned_base() -> None:
    dockerfile = (ROOT / "listener_service/Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", dockerfile, re.MULTILINE)


def test_the_version_that_metrics_tell_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
