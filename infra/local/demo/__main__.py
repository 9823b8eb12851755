"""``python -m infra.local.demo``: start the stack, play the scene, end it; exit 0 only if all went well."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from infra.local.demo.scene import Scene
from infra.local.kubectl import KubectlNotFoundError
from infra.local.stack.options import StackOptions
from infra.local.stack.processes import StackError
from infra.local.stack.up import running
from k3s_daas.errors import DaasError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.demo", description="The K3s-DaaS demo.")
    StackOptions.add_arguments(parser)
    options = StackOptions.parsed(parser.parse_args(arguments))
    start = time.monotonic()
    try:
        with running(options) as (_, stack):
            print(f"The stack is ready after {time.monotonic() - start:.1f} s.")
            failures = Scene(stack, options.state.absolute()).play()
    except KeyboardInterrupt:
        return 130
    except (StackError, DaasError, KubectlNotFoundError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print()
    for failure in failures:
        print(f"FAILED: {failure}")
    if not failures:
        print(f"Every step did what it should, in {time.monotonic() - start:.1f} s.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
