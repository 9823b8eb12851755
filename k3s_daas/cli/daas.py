"""``daas``: what an operator runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from k3s_daas.errors import DaasError


def main(arguments: Sequence[str] | None = None) -> int:
    """Console entry point; returns the exit code."""
    # Imported here: the local stack is not part of what is deployed, and half of it is slow to import.
    from infra.local.stack.options import StackOptions  # noqa: PLC0415
    from infra.local.stack.up import up  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="daas", description="Operate K3s-DaaS.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser(
        "up", help="run everything on this machine", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    StackOptions.add_arguments(start)
    options = parser.parse_args(arguments)
    try:
        return up(StackOptions.parsed(options))
    except DaasError as error:
        print(f"daas: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
