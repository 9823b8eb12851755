"""What an operator does to a running stack is what its holders meet at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

DAAS = Path(sys.executable).parent / "daas"
ROLES = Path(__file__).parents[2] / "infra" / "local" / "stack" / "roles.yaml"
pytestmark = pytest.mark.timeout(180)


def daas(stack: Any, *arguments: str) -> str:
    """Runs `daas` with the stack's deployment and its administrator's key; returns what it printed."""
    known = ["--endpoint", stack.endpoints["sui"], "--deployment", str(stack.state / "daas.json")]
    if arguments[:2] != ("cluster", "show"):
        known += ["--key", str(stack.state / "keys" / "admin.key"), "--yes"]
    done = subprocess.run(
        [str(DAAS), *arguments, *known], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def works_soon(kubectl: Any, *arguments: str) -> bool:
    """The gateway may remember for a second how the cluster was."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if kubectl.run(*arguments).code == 0:
            return True
        time.sleep(0.2)
    return False


def test_a_paused_cluster_takes_no_command_until_it_is_resumed(shared_stack: Any) -> None:
    kubectl = shared_stack.kubectl()
    assert kubectl.run("get", "ns").code == 0
    daas(shared_stack, "cluster", "pause")
    try:
        refused = kubectl.run("get", "ns")
        assert refused.code == 1
        assert "paused" in refused.errors
    finally:
        daas(shared_stack, "cluster", "resume")
    assert works_soon(kubectl, "get", "ns")


def test_a_role_holds_as_it_was_applied_last(shared_stack: Any, tmp_path: Path) -> None:
    assert "nothing to do" in daas(shared_stack, "role", "apply", "-f", str(ROLES))
    viewer = ("--context", "viewer", "get", "configmaps", "-n", "default")
    kubectl = shared_stack.kubectl()
    assert kubectl.run(*viewer).code == 0
    narrower = tmp_path / "roles.yaml"
    narrower.write_text(ROLES.read_text().replace("          - configmaps\n", ""))
    daas(shared_stack, "role", "apply", "-f", str(narrower))
    try:
        refused = kubectl.run(*viewer)
        assert refused.code == 1
        assert "Forbidden" in refused.errors
    finally:
        daas(shared_stack, "role", "apply", "-f", str(ROLES))
    assert works_soon(kubectl, *viewer)


def test_the_stack_shows_as_any_cluster(shared_stack: Any) -> None:
    shown = daas(shared_stack, "cluster", "show")
    assert "cluster demo" in shown
    assert "generation 1, sealing key" in shown
    assert "verbs create; apiGroups ''; resources serviceaccounts/token" in shown
