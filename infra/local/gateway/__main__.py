"""Serve the gateway's Chalice app over TLS on the loopback interface.

    python -m infra.local.gateway --port 0 --tls-cert FILE --tls-key FILE

prints one JSON line ``{"ready": true, "port": …, "url": …}`` on stdout and serves until SIGTERM or SIGINT.
The app's own log lines go to stderr. Its settings are the environment variables that the deployed function
has.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from infra.local.gateway.chalice_local import ChaliceLocalGateway
from infra.local.gateway.places import at_most
from infra.local.gateway.schedule import run_every
from infra.local.gateway.server import GatewayServer
from infra.local.gateway.strict import StrictGateway

# As the deployed function does.
REFRESH_EVERY_S = 300.0
FUNCTIONS = Path(__file__).resolve().parents[3] / "functions"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.gateway", description="The gateway, locally."
    )
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--tls-cert", type=Path, required=True, help="certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, required=True, help="private key of the certificate (PEM)")
    parser.add_argument(
        "--sweep-every",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how often the scheduled function `sweep` runs; 0 for never (default: %(default)s)",
    )
    parser.add_argument(
        "--conversion",
        choices=("strict", "chalice"),
        default="strict",
        help="what makes events out of requests: an AWS-shaped JSON round trip, or Chalice's local gateway",
    )
    parser.add_argument(
        "--cold-start",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long the function takes to start, with the strict conversion (default: %(default)s)",
    )
    parser.add_argument(
        "--functions",
        type=int,
        default=64,
        metavar="NUMBER",
        help="how many functions run at once; further requests wait (default: %(default)s)",
    )
    parser.add_argument(
        "--reclaim-every",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how often the scheduled function `reclaim` runs; 0 for never (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    # In the function's archive app.py and chalicelib/ are at the top; here they are a directory further down.
    sys.path.insert(0, str(FUNCTIONS))
    functions = importlib.import_module("app")
    gateway = (
        ChaliceLocalGateway(functions.app)
        if options.conversion == "chalice"
        else StrictGateway(functions.app, cold_start_s=options.cold_start)
    )
    try:
        answer = at_most(options.functions, gateway.handle)
        server = GatewayServer(options.port, options.tls_cert, options.tls_key, answer)
    except OSError as error:
        # ssl.SSLError is an OSError too: a wrong certificate file ends here as well.
        print(f"cannot serve the gateway on port {options.port}: {error}", file=sys.stderr)
        return 1
    for seconds, function in (
        (options.sweep_every, functions.sweep),
        (options.reclaim_every, functions.reclaim),
        (REFRESH_EVERY_S, functions.app),
    ):
        if seconds > 0:
            run_every(seconds, function)
    serve(server)
    # Daemon threads may still wait for an answer from the chain; whoever ends this process does not want to.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def serve(server: GatewayServer) -> None:
    """Announce the server and serve until a signal."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # shutdown() waits for the serving loop, which runs in this very thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    port = server.server_port
    print(json.dumps({"ready": True, "port": port, "url": f"https://127.0.0.1:{port}"}), flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    sys.exit(main())
