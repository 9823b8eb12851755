"""Many commands, one after the other: the listener's process stays as large as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.chaos.endurance import AT_ONCE
from tests.chaos.scale import scaled, tallied
from tests.instant.api_server import wire_server

pytestmark = pytest.mark.timeout(scaled(120, 900))

COMMANDS = scaled(1_500, 20_000)
# Between the first and the last quarter. The positions of the last 16,384 events are remembered, which fills
# some 4 MB in the full run; in a short one caches, threads and connections are still growing.
GROWTH = scaled(1.15, 1.05)
# Connections of pools: how many of the commands that run at once met each other early on is chance.
MORE_FILES = AT_ONCE


def test_memory_files_and_tasks_do_not_grow() -> None:
    with tallied(f"7 {COMMANDS} commands") as tally:
        measured = endurance()
        tally.commands = COMMANDS
        tally.executed_once = COMMANDS - measured["refused"]
        resident, files, tasks = (measured[name] for name in ("resident_mb", "files", "tasks"))
        tally.notes = [
            f"{COMMANDS / measured['seconds']:.0f} commands/s",
            f"{measured['listener_ms']:.1f} ms CPU each",
            f"{' '.join(f'{quarter:.1f}' for quarter in resident)} MB",
            f"{files[0]} -> {files[1]} files",
            f"{tasks[0]} -> {tasks[1]} tasks",
        ]
        if measured["refused"]:
            tally.violated(f"{measured['refused']} commands were refused")
        if resident[-1] > resident[0] * GROWTH:
            tally.violated(f"memory grew from {resident[0]} to {resident[-1]} MB")
        if files[1] > files[0] + MORE_FILES:
            tally.violated(f"open files grew from {files[0]} to {files[1]}")
        if tasks[1] > tasks[0]:
            tally.violated(f"tasks grew from {tasks[0]} to {tasks[1]}")


def endurance() -> dict[str, Any]:
    """What a listener's process measured."""
    with wire_server() as api:
        module, port = "tests.chaos.endurance", str(api.port)
        command = [sys.executable, "-m", module, "--commands", str(COMMANDS), "--api-port", port]
        done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:].decode()
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
