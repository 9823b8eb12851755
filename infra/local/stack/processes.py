"""Start, watch and end the processes of the local stack.

A part says that it is ready by printing one line of JSON with ``"ready": true``. Every part runs in a
process group of its own, so that Ctrl-C reaches only the stack, which then ends the groups in reverse
order; should the stack itself be killed, the kernel ends its parts.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

GRACE_S = 2.5
"""How long a part may take to end after SIGTERM before its group is killed."""


class StackError(Exception):
    """The stack cannot start or go on; the message is one sentence for the person at the terminal."""


@dataclass
class Part:
    """One running process: its ready line, its log file and its process group."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    _announced: threading.Event = field(default_factory=threading.Event)
    _follower: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def watch(self) -> None:
        """Read the part's standard output from now on, in a thread of its own."""
        self._follower = threading.Thread(target=self._follow, name=f"log-{self.name}", daemon=True)
        self._follower.start()

    def end(self) -> None:
        """Wait for a part that was told to end, and for the last of its output."""
        self.process.wait()
        if self._follower is not None:
            self._follower.join()

    def _follow(self) -> None:
        """Copy the part's standard output to its log, and catch the line that says it is ready."""
        assert self.process.stdout is not None
        with self.process.stdout as output, self.log.open("a") as log:
            for line in output:
                log.write(line)
                log.flush()
                if not self._announced.is_set() and (ready := _ready_line(line)) is not None:
                    self.ready = ready
                    self._announced.set()

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the ready line.

        Raises:
            StackError: the part ended, or said nothing within ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while not self._announced.wait(0.05):
            if self.process.poll() is not None:
                raise StackError(
                    f"the {self.name} ended with code {self.process.returncode}: {self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise StackError(f"the {self.name} was not ready after {timeout_s:.0f} s; see {self.log}")
        return self.ready

    def last_words(self) -> str:
        """The last line of the part's log, for the person who wonders why it ended; not its ready line."""
        written = self.log.read_text(errors="replace").splitlines()
        lines = [line for line in written if line.strip() and _ready_line(line) is None]
        return f"{lines[-1].strip()} (all of it: {self.log})" if lines else f"see {self.log}"


class Supervisor:
    """Owns the parts of one stack. Start parts from the main thread: the kernel ties them to it."""

    def __init__(self, log_directory: Path) -> None:
        self._logs = log_directory
        self._parts: list[Part] = []

    @property
    def pids(self) -> dict[str, int]:
        """Name to process id, in the order of their start."""
        return {part.name: part.pid for part in self._parts}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Part:
        """Start a part; use :meth:`Part.wait_ready` to wait for it."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                preexec_fn=_die_with_parent if _LIBC is not None else None,  # noqa: PLW1509 - only prctl, loaded before
            )
        part = Part(name, process, log)
        self._parts.append(part)
        part.watch()
        return part

    def ended(self) -> list[Part]:
        """Parts that have ended by themselves."""
        return [part for part in self._parts if part.process.poll() is not None]

    def stop(self) -> None:
        """End all parts, the last started first; kills a group that does not end within the grace period."""
        for part in reversed(self._parts):
            _signal_group(part, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for part in reversed(self._parts):
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.process.wait(max(0.0, deadline - time.monotonic()))
            # The leader may be gone while a worker of its group is not.
            _signal_group(part, signal.SIGKILL)
            part.end()


def _ready_line(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and fields.get("ready") is True else None


def _die_with_parent() -> None:
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(part: Part, number: signal.Signals) -> None:
    # The group's id is the leader's pid (start_new_session); it is gone once all its members are.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(part.pid, number)
