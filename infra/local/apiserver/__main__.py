"""Build the real API server, or run it until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from infra.local.apiserver.build import ensure
from infra.local.apiserver.errors import ApiServerError, UnsupportedPlatformError
from infra.local.apiserver.server import ApiServer
from infra.local.stack.processes import StackError

_LOOK_EVERY_S = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _build(options.if_possible) if options.command == "build" else _run(options.state)
    except (ApiServerError, StackError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.apiserver", description="A real kube-apiserver, on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="compile it from Debian's source package, once per machine")
    build.add_argument(
        "--if-possible", action="store_true", help="succeed, with the reason, where it cannot be built"
    )
    run = commands.add_parser("run", help="run it until Ctrl-C; builds it first if it must")
    run.add_argument("--state", type=Path, default=Path(".apiserver"), help="directory (%(default)s)")
    return parser


def _build(if_possible: bool) -> int:
    try:
        print(ensure(_say).directory)
    except UnsupportedPlatformError as error:
        if not if_possible:
            raise
        _say(f"{error}; tests against it will be skipped")
    return 0


def _run(state: Path) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    with ApiServer(ensure(_say), state) as server:
        print(f"ready: export KUBECONFIG={server.kubeconfig}", flush=True)
        while not (ended := server.ended()):
            time.sleep(_LOOK_EVERY_S)
        _say(f"the {ended[0].name} ended: {ended[0].last_words()}")
    return 1


def _say(sentence: str) -> None:
    print(f"apiserver: {sentence}", file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
