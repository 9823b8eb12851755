"""The real API server as a person runs it: it says where it is, and leaves no process behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.apiserver.build import ensure
from infra.local.apiserver.errors import UnsupportedPlatformError
from infra.local.demo.commands import Kubectl
from infra.local.kubectl import bundled_kubectl

pytestmark = pytest.mark.timeout(1800)


def test_it_is_ready_when_it_says_so_and_ends_with_all_it_started(tmp_path: Path) -> None:
    try:
        ensure(print)
    except UnsupportedPlatformError as error:
        pytest.skip(str(error))
    state = tmp_path / "state"
    command = [sys.executable, "-m", "infra.local.apiserver", "run", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().strip()
            kubeconfig = Path(ready.removeprefix("ready: export KUBECONFIG="))
            assert kubeconfig.stat().st_mode & 0o077 == 0
            program = bundled_kubectl()
            assert program is not None
            kubectl = Kubectl(program, kubeconfig, tmp_path / "home")
            said = json.loads(kubectl.run("version", "-o", "json").output)
            assert said["serverVersion"]["gitVersion"] == "v1.20.2"
            assert "created" in kubectl.run("run", "first", "--image=nginx").output
        finally:
            process.terminate()
        assert process.wait(20) == 0
    left = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(state).encode() in _command_line(entry)
    ]
    assert left == []


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
