"""``make chaos``: all faults that must be survived, at full size, and a table of what came of the commands.

``python -m tests.chaos [--only 1,3] [--short] [--seed N]``; the same seed kills at the same steps. Exits
with 1 if a command was lost, run twice, or answered with what is not true.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.chaos.scale import MODE, REPORT, SEED
from tests.chaos.tally import Tally, table

FAULTS = {
    1: ("listener killed", "test_killed_listener.py"),
    2: ("leader killed or asleep, another takes over", "test_two_listeners.py"),
    3: ("stream, fullnode, API server, blob store", "test_broken_surroundings.py"),
    4: ("lying fullnode", "test_lying_fullnode.py"),
    5: ("compromised gateway", "test_compromised_gateway.py"),
    6: ("hostile tenant", "test_hostile_tenant.py"),
    7: ("many commands", "test_endurance.py"),
}
_HERE = Path(__file__).parent


def main() -> int:
    """Runs each fault's tests in a process of their own."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", type=_numbers, default=list(FAULTS), help="numbers of faults: 1,3")
    parser.add_argument("--short", action="store_true", help="a few seconds each, as in `make test`")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        done = [_run(number, seed, Path(directory), short=options.short) for number in options.only]
    print("\n".join(table([tally for tallies, _ in done for tally in tallies])))
    failed = [number for number, (_, code) in zip(options.only, done, strict=True) if code]
    if failed:
        print(f"FAILED: {', '.join(map(str, failed))} (--seed {seed})")
    return bool(failed)


def _run(number: int, seed: int, directory: Path, *, short: bool) -> tuple[list[Tally], int]:
    """The fault's lines of the table, and pytest's exit code."""
    title, file = FAULTS[number]
    report, summary = directory / str(number), directory / f"{number}.xml"
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={summary}", str(_HERE / file)],
        env={**os.environ, MODE: "short" if short else "full", SEED: str(seed), REPORT: str(report)},
        check=False,
    ).returncode
    if report.exists():
        return [Tally.decode(line) for line in report.read_text().splitlines()], code
    # The tests of these faults count nothing but themselves.
    [suite] = ElementTree.parse(summary).getroot().iter("testsuite")  # noqa: S314  pytest wrote it
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    notes = [f"{suite.attrib['tests']} tests passed" if not failed else f"{failed} TESTS FAILED"]
    return [Tally(f"{number} {title}", seconds=float(suite.attrib["time"]), notes=notes)], code


def _numbers(text: str) -> list[int]:
    found = [int(number) for number in text.split(",")]
    if not set(found) <= FAULTS.keys():
        raise argparse.ArgumentTypeError(f"faults are numbered from 1 to {len(FAULTS)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
