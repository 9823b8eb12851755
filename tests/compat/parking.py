"""Parking in real time: kubectl against an API server that takes 40 s, behind a function that starts cold."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.parking_stage import DOCUMENT, SecondGateway, creations, executed, names, slow

SLOW_S = 40.0
COLD_START_S = 5.0


def slow_write(state: Path, directory: Path, kubectl: Path) -> list[str]:
    """One write that meets a cold function and a slow API server; returns what went wrong."""
    return _scene(state, directory, kubectl, "one", 1)


def twins(state: Path, directory: Path, kubectl: Path) -> list[str]:
    """A file of two identical documents that the server names; returns what went wrong."""
    return _scene(state, directory, kubectl, "two", 2)


def _scene(state: Path, directory: Path, kubectl: Path, label: str, documents: int) -> list[str]:
    directory.mkdir(parents=True)
    with _cold_gateway(state, directory, kubectl) as gateway:
        before = len(executed(state))
        text = "---\n".join([DOCUMENT % label] * documents)
        with slow(state, SLOW_S):
            # Without validation, so that the write is the first request that the function sees.
            result = gateway.kubectl.run("create", "--validate=false", "-f", "-", stdin=text)
        ran = len(creations(executed(state, before)))
        made = len(names(gateway.kubectl.run("get", "cm", "-l", f"set={label}", "-o", "name")))
    problems = []
    if (result.code, result.errors) != (0, ""):
        problems.append(f"kubectl said: {result.errors} (exit code {result.code})")
    if result.seconds < SLOW_S:
        problems.append(f"it took {result.seconds:.1f} s: the API server was not slow")
    if ran != documents or made != documents:
        problems.append(f"{documents} documents, {ran} executions, {made} objects")
    return problems


@contextmanager
def _cold_gateway(state: Path, directory: Path, kubectl: Path) -> Generator[SecondGateway, None, None]:
    """A gateway whose function is cold, while kubectl has discovery in its own cache."""
    first = SecondGateway(state, directory, kubectl)
    try:
        warm = first.kubectl.run("create", "--validate=false", "-f", "-", stdin=DOCUMENT % "warm")
    finally:
        first.close()
    if warm.code != 0:
        raise RuntimeError(f"the stack answers no kubectl: {warm.errors}")
    gateway = SecondGateway(state, directory, kubectl, cold_start_s=COLD_START_S, port=first.port)
    try:
        yield gateway
    finally:
        gateway.close()
