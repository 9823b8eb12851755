"""Run kubectl as a person would, and see how long it took."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 90


@dataclass(frozen=True, slots=True)
class Result:
    """What kubectl printed, its exit code, and the seconds that it took."""

    arguments: tuple[str, ...]
    code: int
    output: str
    errors: str
    seconds: float


class Kubectl:
    """One kubectl with one kubeconfig; its cache lives in ``home``, not in the person's."""

    def __init__(self, program: Path, kubeconfig: Path, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._program = program
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(home)}

    def run(self, *arguments: str, stdin: str = "") -> Result:
        """Run ``kubectl ARGUMENTS``; a command that hangs counts as failed with code 124."""
        start = time.monotonic()
        try:
            done = subprocess.run(
                [str(self._program), *arguments],
                env=self._environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            code, output, errors = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            code, output, errors = 124, "", f"no end after {_TIMEOUT_S} s"
        return Result(arguments, code, output, errors, time.monotonic() - start)
