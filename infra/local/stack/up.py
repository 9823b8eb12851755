"""Run a stack in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from infra.local.stack.options import StackOptions
from infra.local.stack.processes import StackError
from infra.local.stack.stack import RunningStack, Stack
from k3s_daas.errors import DaasError

_LOOK_EVERY_S = 0.5


def up(options: StackOptions) -> int:
    """Start everything, say where, and wait to be ended; returns the exit code."""
    try:
        with running(options) as (stack, running_stack):
            _say(f"metrics of the listener: {running_stack.endpoints.listener}/metrics")
            print(f"ready: export KUBECONFIG={running_stack.kubeconfig}", flush=True)
            _watch(stack)
    except KeyboardInterrupt:
        return 0
    except (StackError, DaasError) as error:
        print(f"daas up: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def running(options: StackOptions) -> Generator[tuple[Stack, RunningStack], None, None]:
    """A stack that is ended again whatever happens; SIGTERM counts as Ctrl-C.

    Raises:
        StackError, DaasError: it could not be started; the message is for the person at the terminal.
        KeyboardInterrupt: it was told to end.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    # Python leaves SIGINT ignored where its parent did, as a shell script does with what it backgrounds.
    signal.signal(signal.SIGINT, _interrupt)
    stack = Stack(options, _say)
    try:
        yield stack, stack.start()
    finally:
        # A second Ctrl-C must not leave processes behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.stop()


def _watch(stack: Stack) -> None:
    """Say so when a part ends by itself; the others go on, so that one can see what its absence does."""
    known: set[int] = set()
    while True:
        for part in stack.ended():
            if part.pid not in known:
                known.add(part.pid)
                _say(f"the {part.name} ended (code {part.process.returncode}): {part.last_words()}")
        time.sleep(_LOOK_EVERY_S)


def _say(sentence: str) -> None:
    print(f"daas up: {sentence}", file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
