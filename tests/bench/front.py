"""What stands in for API Gateway, alone: TLS, HTTP and Lambda events before a function that does nothing.

The gateway's process does this work, too, which at AWS is none of the function's: its CPU per command less
this one's is what the function itself uses.
"""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.gateway.__main__ import FUNCTIONS, serve
from infra.local.gateway.server import GatewayServer
from infra.local.gateway.strict import StrictGateway

# About as large as what the gateway says of a namespace.
_BODY = base64.b64encode(json.dumps({"kind": "Namespace", "padding": "x" * 400}).encode()).decode()
_HEADERS = {
    "Content-Type": ["application/json"],
    "Server-Timing": ["admission;dur=1.0, submit;dur=400.0, wait;dur=600.0, total;dur=1001.0"],
    "X-Daas-Request-Id": ["0" * 32],
    "X-Daas-Request-Digest": ["1" * 44],
    "X-Daas-Response-Digest": ["2" * 44],
}
_REPLY = {
    "statusCode": 200,
    "headers": {},
    "multiValueHeaders": _HEADERS,
    "body": _BODY,
    "isBase64Encoded": True,
}


class _NoFunction:
    """The gateway's routes, and one reply to everything."""

    def __init__(self) -> None:
        sys.path.insert(0, str(FUNCTIONS))
        app = importlib.import_module("app").app
        self.routes, self.api = app.routes, app.api

    def __call__(self, _event: dict[str, Any], _context: object) -> dict[str, Any]:
        return _REPLY


@contextmanager
def front(tls: Path) -> Iterator[tuple[int, str]]:
    """Process id and URL of one that runs, with the certificate and key in this directory."""
    command = [sys.executable, "-m", "tests.bench.front", str(tls)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def main() -> None:
    """Serve until a signal."""
    tls = Path(sys.argv[1])
    serve(GatewayServer(0, tls / "gateway.crt", tls / "gateway.key", StrictGateway(_NoFunction()).handle))


if __name__ == "__main__":
    main()
