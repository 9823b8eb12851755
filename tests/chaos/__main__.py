"""``make chaos``: all faults that must be survived, at full size, and a table of what came of the commands.

``python -m tests.chaos [--only 1,3] [--short] [--seed N] [--jobs N]``; the same seed kills at the same steps.
Exits with 1 if a command was lost, run twice, or answered with what is not true.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
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
    8: ("sealing keys replaced, listener killed at it", "test_key_rotation.py"),
}
LONGEST_FIRST = (2, 3, 1, 7, 8, 5, 6, 4)
# Most of the time is spent on waiting: for leases, for `start_by`, for who is away.
AT_ONCE = 2
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """What came of one fault; `code` is pytest's."""

    number: int
    tallies: Sequence[Tally]
    code: int


def main() -> int:
    """Runs each fault's tests in a process of their own."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", type=_numbers, default=set(FAULTS), help="numbers of faults: 1,3")
    parser.add_argument("--short", action="store_true", help="a few seconds each, as in `make test`")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--jobs", type=int, default=AT_ONCE, help="so many faults at a time")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(options.jobs) as pool:
        run = partial(_run, seed=seed, directory=Path(directory), short=options.short)
        done = list(pool.map(run, sorted(options.only, key=LONGEST_FIRST.index)))
    return conclude(sorted(done, key=lambda one: one.number), seed)


def _run(number: int, *, seed: int, directory: Path, short: bool) -> Outcome:
    """Says how it went; all that pytest wrote, if not well."""
    title, file = FAULTS[number]
    report, summary, began = directory / str(number), directory / f"{number}.xml", monotonic()
    print(f"{number} {title}: begun", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={summary}", str(_HERE / file)],
        env={**os.environ, MODE: "short" if short else "full", SEED: str(seed), REPORT: str(report)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = monotonic() - began
    written = f"{number} {title}: FAILED\n{done.stdout}" if done.returncode else f"{number} {title}: survived"
    print(f"{written} ({seconds:.0f} s)", flush=True)
    if report.exists():
        tallies = [Tally.decode(line) for line in report.read_text().splitlines()]
    else:
        # The tests of these faults count nothing but themselves.
        tallies = [Tally(f"{number} {title}", seconds=seconds, notes=[_counted(summary)])]
    return Outcome(number, tallies, done.returncode)


def _counted(summary: Path) -> str:
    if not summary.exists():
        return "pytest DID NOT END in order"
    [suite] = ElementTree.parse(summary).getroot().iter("testsuite")  # noqa: S314  pytest wrote it
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return f"{failed} TESTS FAILED" if failed else f"{suite.attrib['tests']} tests passed"


def conclude(done: Sequence[Outcome], seed: int) -> int:
    """Prints the table; the exit code."""
    print("\n".join(["", *table([tally for one in done for tally in one.tallies])]))
    failed = [str(one.number) for one in done if one.code]
    if failed:
        print(f"FAILED: {', '.join(failed)} (--seed {seed})")
    return int(bool(failed))


def _numbers(text: str) -> set[int]:
    found = {int(number) for number in text.split(",")}
    if not found <= FAULTS.keys():
        raise argparse.ArgumentTypeError(f"faults are numbered from 1 to {len(FAULTS)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
