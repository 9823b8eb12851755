"""A whole stack as a person starts it: ``daas up`` in a process of its own, and a real kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo.commands import Kubectl
from infra.local.kubectl import find_kubectl
from tests.e2e.crowd import CROWD

START_TIMEOUT_S = 90
DAAS = Path(sys.executable).parent / "daas"


@dataclass
class DaasUp:
    """A running ``daas up``."""

    process: subprocess.Popen[str]
    state: Path
    ready: str

    @property
    def pids(self) -> dict[str, int]:
        return dict(json.loads((self.state / "pids.json").read_text()))

    @property
    def endpoints(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "endpoints.json").read_text()))

    def kubectl(self) -> Kubectl:
        return Kubectl(find_kubectl(), self.state / "kubeconfig", self.state / "home")


def start(state: Path, *arguments: str, finality_ms: int = 50, checkpoint_ms: int = 25) -> DaasUp:
    """Start a stack that is faster than mainnet, and wait for its ``ready:`` line."""
    command = [
        *(str(DAAS), "up", "--port", "0", "--state", str(state)),
        *("--finality-ms", str(finality_ms), "--checkpoint-ms", str(checkpoint_ms)),
        *arguments,
    ]
    errors = (state.parent / f"{state.name}.err").open("w+")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    killer = threading.Timer(START_TIMEOUT_S, process.kill)
    killer.start()
    assert process.stdout is not None
    ready = process.stdout.readline()
    killer.cancel()
    if not ready.startswith("ready: "):
        process.wait()
        errors.seek(0)
        said = errors.read()
        process.stdout.close()
        errors.close()
        pytest.fail(f"daas up did not become ready: {said}")
    errors.close()
    return DaasUp(process, state, ready.strip())


def end(stack: DaasUp) -> None:
    """End a stack that may have ended already."""
    stack.process.terminate()
    stack.process.wait(20)
    assert stack.process.stdout is not None
    stack.process.stdout.close()


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[DaasUp, None, None]:
    """One stack for all tests that leave it running."""
    stack = start(tmp_path_factory.mktemp("stack") / "state", "--crowd", str(CROWD))
    yield stack
    end(stack)


@pytest.fixture(scope="module")
def other_stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[DaasUp, None, None]:
    """One that has what the default does without: events over JSON-RPC, the executor's key in KMS."""
    state = tmp_path_factory.mktemp("other") / "state"
    stack = start(state, "--event-source", "websocket", "--executor-key", "kms")
    yield stack
    end(stack)


@pytest.fixture
def own_stack(tmp_path: Path) -> Generator[Callable[..., DaasUp], None, None]:
    """Starts stacks that the test may break."""
    started: list[DaasUp] = []

    def starter(*arguments: str, **times: int) -> DaasUp:
        stack = start(tmp_path / f"state{len(started)}", *arguments, **times)
        started.append(stack)
        return stack

    yield starter
    for stack in started:
        end(stack)
