"""``make demo`` plays its scene and judges itself; this holds it to what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
def test_the_demo_does_all_that_it_should(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "infra.local.demo", "--port", "0", "--state", str(tmp_path / "s")),
            *("--finality-ms", "50", "--checkpoint-ms", "25"),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    # Each mutation of the scene shows both of its transactions.
    assert len(re.findall(r"request  [1-9A-HJ-NP-Za-km-z]{43,44}\n", done.stdout)) >= 9
    assert len(re.findall(r"response [1-9A-HJ-NP-Za-km-z]{43,44}\n", done.stdout)) >= 9
    assert "Unauthorized" in done.stdout
    for abort in ("EForbiddenByRole", "EStakeTooLow"):
        assert re.search(rf"aborts with {abort}\n +transaction [1-9A-HJ-NP-Za-km-z]{{43,44}}", done.stdout)
