"""Run the local Sui as a process: ``python -m infra.local.sui --grpc-port 9000``.

Prints one line of JSON with the ports and the chain id when it is ready; SIGTERM or SIGINT ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .ledger.clock import ManualClock
from .server import LocalSui, tls_context


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.sui", description=__doc__)
    parser.add_argument(
        "--grpc-port", type=int, action="append", help="may be given several times; 0: a free one"
    )
    parser.add_argument(
        "--jsonrpc-port",
        type=int,
        action="append",
        help="JSON-RPC over WebSocket, events only; may be given several times",
    )
    parser.add_argument("--faucet-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument(
        "--tls-cert", type=Path, help="certificate chain in PEM; without it gRPC is in the clear"
    )
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--finality-ms", type=int, default=400)
    parser.add_argument("--checkpoint-ms", type=int, default=250)
    parser.add_argument("--clock-ms", type=int, help="a clock that stands at this time until it is set")
    parsed = parser.parse_args(arguments)
    if bool(parsed.tls_cert) != bool(parsed.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    return parsed


async def run(options: argparse.Namespace) -> None:
    sui = LocalSui(
        clock=None if options.clock_ms is None else ManualClock(options.clock_ms),
        finality_ms=options.finality_ms,
        checkpoint_ms=options.checkpoint_ms,
        ports=options.grpc_port or [0],
        jsonrpc_ports=options.jsonrpc_port or [],
        faucet_port=options.faucet_port,
        control_port=options.control_port,
        tls=tls_context(options.tls_cert, options.tls_key) if options.tls_cert else None,
    )
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with sui:
        ready = {
            "ready": True,
            "grpc_ports": sui.grpc_ports,
            "jsonrpc_ports": sui.jsonrpc_ports,
            "faucet_port": sui.faucet_port,
            "control_port": sui.control_port,
            "chain_id": sui.chain_id,
        }
        print(json.dumps(ready), flush=True)
        await stop.wait()


def main() -> int:
    options = parse_arguments()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(run(options))
    except OSError as error:
        print(f"the local Sui cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
