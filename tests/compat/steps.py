"""The battery as data: groups of kubectl commands, each with what a person should see.

A group is a file `battery/*.yaml`. It runs in a namespace of its own, its steps one after the other, once
directly against the API server and once through the gateway; several groups at a time, those with `alone:
true` after the others. In everything, `$NS` is the namespace, `$RUN` a
word that tells the two runs apart where names are cluster-wide, and `$LARGE` a text of 200,000 characters.

    run      the command line after `kubectl`
    name     what the step is about, if the command line does not say it
    code     exit code (default 0; null: any)
    out      regular expression found in what it prints, standard output first
    until    the same, but the command is repeated until it is found
    stdin    name of the manifest that is its standard input
    save     file that its standard output is kept in
    env      additional environment
    during   commands to run while this one runs: `after` seconds, `run`
    ends     regular expression in its output that ends the command, as Ctrl-C would
    compare  what must be alike in both runs besides the exit code:
             text   everything, after normalising (the default)
             lines  the same, in whatever order
             last   the last line
             shape  the first word of each line
             none   nothing: the answer differs by its nature, exit code included
    where    overrides by the tags of a run: direct or chain, memory or real, 1.32 or 1.37 (several: all)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

BATTERY = Path(__file__).parent / "battery"
COMPARISONS = ("text", "lines", "last", "shape", "none")


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """A command that runs `after` so many seconds, while another one runs."""

    after: float
    run: str


@dataclass(frozen=True, slots=True)
class Step:
    """One command; the fields are those of the module's text."""

    run: str
    name: str = ""
    code: int | None = 0
    out: str = ""
    until: str = ""
    stdin: str = ""
    save: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    during: tuple[Meanwhile, ...] = ()
    ends: str = ""
    compare: str = "text"
    where: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, fields_: Mapping[str, Any]) -> Step:
        """Raises ValueError for what the module's text does not name."""
        unknown = set(fields_) - {known.name for known in fields(cls)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        during = tuple(Meanwhile(**each) for each in fields_.get("during", ()))
        step = cls(**{**fields_, "during": during})
        for overrides in ({}, *step.where.values()):
            if replace(step, **overrides).compare not in COMPARISONS:
                raise ValueError(f"compare is one of {', '.join(COMPARISONS)}")
        return step

    @property
    def title(self) -> str:
        return self.name or self.run

    def on(self, tags: frozenset[str]) -> Step:
        """The step as it is expected in a run with these tags."""
        step = self
        for wanted, overrides in self.where.items():
            if set(wanted.split()) <= tags:
                step = replace(step, **overrides)
        return step


_SETUP = (
    Step("create namespace $NS", name="a namespace of its own"),
    # Without the account, admission refuses pods.
    Step("get serviceaccount default", until="default", compare="none"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that share a namespace and build on one another, and the files that they use."""

    name: str
    steps: tuple[Step, ...]
    manifests: Mapping[str, str]
    alone: bool = False


def load(directory: Path = BATTERY) -> tuple[Group, ...]:
    """All groups. Raises ValueError that names file and step for a mistake in one."""
    return tuple(_group(path) for path in sorted(directory.glob("*.yaml")))


def _group(path: Path) -> Group:
    document = yaml.safe_load(path.read_text())
    steps = (*_SETUP, *_steps(path, document["steps"]))
    return Group(document["group"], steps, document.get("manifests", {}), alone=document.get("alone", False))


def _steps(path: Path, entries: list[Mapping[str, Any]]) -> Iterator[Step]:
    for entry in entries:
        try:
            yield Step.parse(entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: {entry.get('run', entry)}: {error}") from None
