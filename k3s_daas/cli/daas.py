"""``daas``: what an operator runs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from k3s_daas.cli.console import sentence
from k3s_daas.cli.operator_parser import Command, add_operator_commands
from k3s_daas.cli.session import OpenLedger, grpc_ledger, session
from k3s_daas.errors import DaasError


def main(arguments: Sequence[str] | None = None, *, open_ledger: OpenLedger = grpc_ledger) -> int:
    """Console entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="daas", description="Operate K3s-DaaS.")
    commands = parser.add_subparsers(dest="command", required=True)
    # The listener's container has the operator's commands, and not the local stack.
    if find_spec("infra") is not None:
        _add_up(commands)
    add_operator_commands(commands)
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            return _up(options)
        if "local" in options:
            options.local(options)
        elif "alone" in options:
            asyncio.run(options.alone(options, open_ledger))
        else:
            asyncio.run(_run(options.run, options, open_ledger))
    except DaasError as error:
        print(f"daas: {sentence(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"daas: {error.filename or 'a file or connection'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("daas: interrupted; daas cluster show tells what was done", file=sys.stderr)
        return 1
    return 0


def _add_up(commands: Any) -> None:
    # Only what tells the options: the rest of the local stack is slow to import.
    from infra.local.stack.options import StackOptions  # noqa: PLC0415

    start = commands.add_parser(
        "up", help="run everything on this machine", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    StackOptions.add_arguments(start)


def _up(options: argparse.Namespace) -> int:
    from infra.local.stack.options import StackOptions  # noqa: PLC0415
    from infra.local.stack.up import up  # noqa: PLC0415

    return up(StackOptions.parsed(options))


async def _run(command: Command, options: argparse.Namespace, open_ledger: OpenLedger) -> None:
    async with session(options, open_ledger) as opened:
        await command(opened)


if __name__ == "__main__":
    sys.exit(main())
