"""Run the battery: every step directly and through the gateway, and say where the two differ."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.compat.normalise import comparable, normalised
from tests.compat.steps import Group, Step

LARGE_CHARACTERS = 200_000
LONGEST_S = 60.0
UNTIL_S = 45.0
BETWEEN_TRIES_S = 0.5
AT_ONCE = 3
"""Groups at a time: most of a command's time is spent waiting for the chain."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one command ended: its exit code, what it printed, and the seconds that it took."""

    code: int
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One step in both runs; `problem` is empty if all is well."""

    group: str
    number: int
    title: str
    direct: Outcome
    chain: Outcome
    problem: str


@dataclass(frozen=True, slots=True)
class Sides:
    """Two kubeconfigs for one API server, and what they have in common: `version` is kubectl's."""

    kubectl: Path
    version: str
    server: str
    direct: Path
    chain: Path

    @property
    def tags(self) -> frozenset[str]:
        return frozenset({self.version, self.server})


class Session:
    """kubectl of one side in one group: a namespace, a directory with the group's manifests, a home.

    `side` is of the same length for both sides, since columns are as wide as the names in them.
    """

    def __init__(self, kubectl: Path, kubeconfig: Path, group: Group, side: str, directory: Path) -> None:
        self.namespace = f"battery-{side}-{group.name}"
        self._kubectl = kubectl
        self._run = f"{side}{group.name}"
        self._work = directory / side / group.name
        self._work.mkdir(parents=True)
        fields = yaml.safe_load(kubeconfig.read_text())
        for context in fields["contexts"]:
            context["context"]["namespace"] = self.namespace
        self._server = fields["clusters"][0]["cluster"]["server"]
        config = self._work / ".kubeconfig"
        config.write_text(yaml.safe_dump(fields))
        for name, text in group.manifests.items():
            (self._work / name).write_text(self._filled(text))
        # All groups of one side share kubectl's cache of discovery, as a person's terminals do.
        self._environment = {
            **os.environ,
            "HOME": str(directory / side),
            "KUBECONFIG": str(config),
            "TMPDIR": str(self._work),
        }

    def run(self, step: Step) -> Outcome:
        """One step; with `until`, as often as it takes."""
        deadline = time.monotonic() + UNTIL_S
        while True:
            outcome = self._once(step)
            if not step.until or self.finds(step.until, outcome) or time.monotonic() > deadline:
                return outcome
            time.sleep(BETWEEN_TRIES_S)

    def finds(self, pattern: str, outcome: Outcome) -> bool:
        """Whether a pattern of the battery is in what was printed."""
        return re.search(self._filled(pattern), outcome.output.strip(), re.MULTILINE) is not None

    def plain(self, outcome: Outcome) -> str:
        """What was printed, without what only this run is called."""
        names = {
            self.namespace: "NS",
            self._run: "RUN",
            self._server: "SERVER",
            self._server.removeprefix("https://"): "SERVER",
            str(self._work): "DIRECTORY",
        }
        return normalised(outcome.output, names)

    def _once(self, step: Step) -> Outcome:
        timers = [threading.Timer(each.after, self._start_and_wait, [Step(each.run)]) for each in step.during]
        for timer in timers:
            timer.start()
        outcome = self._start_and_wait(step)
        for timer in timers:
            timer.join()
        return outcome

    def _start_and_wait(self, step: Step) -> Outcome:
        start = time.monotonic()
        with (self._work / step.stdin if step.stdin else Path(os.devnull)).open() as stdin:
            process = subprocess.Popen(
                [self._kubectl, *shlex.split(self._filled(step.run))],
                cwd=self._work,
                env={**self._environment, **step.env},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        killer = threading.Timer(LONGEST_S, process.kill)
        killer.start()
        try:
            seen, ended = self._watched(process, step.ends) if step.ends else ("", False)
            output, errors = process.communicate()
        finally:
            killer.cancel()
        if step.save:
            (self._work / step.save).write_text(output)
        code = 0 if ended else process.returncode
        return Outcome(code, seen + output + errors, time.monotonic() - start)

    def _watched(self, process: subprocess.Popen[str], ends: str) -> tuple[str, bool]:
        """What it printed so far, and whether it was ended; it may end by itself."""
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if re.search(self._filled(ends), line):
                process.send_signal(signal.SIGINT)
                return seen, True
        return seen, False

    def _filled(self, text: str) -> str:
        for name, value in (("NS", self.namespace), ("RUN", self._run), ("LARGE", "x" * LARGE_CHARACTERS)):
            text = text.replace(f"${name}", value)
        return text


@dataclass(frozen=True, slots=True)
class _Run:
    """One step on one side, as it was expected there."""

    session: Session
    step: Step
    outcome: Outcome


def run_battery(groups: tuple[Group, ...], sides: Sides, directory: Path) -> list[Verdict]:
    """All groups, several at a time, each first directly and then through the gateway."""
    together = [group for group in groups if not group.alone]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda group: _run_group(group, sides, directory), together))
    results += [_run_group(group, sides, directory) for group in groups if group.alone]
    return [verdict for verdicts in results for verdict in verdicts]


def _run_group(group: Group, sides: Sides, directory: Path) -> list[Verdict]:
    runs = []
    for side, kubeconfig in (("direct", sides.direct), ("chain", sides.chain)):
        label = side[0] + sides.version.replace(".", "")
        session = Session(sides.kubectl, kubeconfig, group, label, directory)
        runs.append(_run_side(group, session, sides.tags | {side}))
    return [
        _judged(group.name, number, one, other) for number, (one, other) in enumerate(zip(*runs, strict=True))
    ]


def _run_side(group: Group, session: Session, tags: frozenset[str]) -> list[_Run]:
    steps = [step.on(tags) for step in group.steps]
    return [_Run(session, step, session.run(step)) for step in steps]


def _judged(group: str, number: int, direct: _Run, chain: _Run) -> Verdict:
    problems = [problem for run in (direct, chain) if (problem := _unexpected(run))]
    if not problems and chain.step.compare != "none":
        one, other = (
            f"exit code {run.outcome.code}\n" + comparable(run.session.plain(run.outcome), chain.step.compare)
            for run in (direct, chain)
        )
        if one != other:
            problems.append(f"directly:\n{one}\nthrough the gateway:\n{other}")
    return Verdict(group, number, chain.step.title, direct.outcome, chain.outcome, "\n".join(problems))


def _unexpected(run: _Run) -> str:
    step, outcome = run.step, run.outcome
    wanted = step.until or step.out
    side = f"{run.session.namespace}, exit code {outcome.code}"
    if step.code is not None and outcome.code != step.code:
        return f"{side}, not {step.code}: {outcome.output[-600:]}"
    if wanted and not run.session.finds(wanted, outcome):
        return f"{side}, no /{wanted}/ in: {outcome.output[-600:]}"
    return ""
