"""``kubectl-daas``: what a holder runs. kubectl itself runs ``kubectl-daas token`` once per process."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from k3s_daas.cli.holder import Holder
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.errors import ConfigurationError

SETTINGS_VARIABLE = "KUBECTL_DAAS_HOLDER"

EXEC_API_VERSION = "client.authentication.k8s.io/v1"


def exec_credential(holder: Holder, now_ms: int) -> str:
    """The ``ExecCredential`` of the credential plugin protocol (Kubernetes: client-go credential plugins).

    Raises:
        ConfigurationError: the session key cannot be used.
    """
    times = DeadlineSettings()
    token = holder.token(now_ms, times.token_lifetime_ms)
    # An earlier end than the real one, so that a token outlives a request that still waits for its answer.
    told_end_ms = token.claims.expires_at_ms - times.token_renewal_margin_ms
    renew_at = datetime.fromtimestamp(told_end_ms / 1000, UTC)
    return json.dumps(
        {
            "apiVersion": EXEC_API_VERSION,
            "kind": "ExecCredential",
            "status": {
                "token": token.encode(),
                "expirationTimestamp": renew_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Console entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="kubectl-daas", description="Speak to a K3s-DaaS gateway as the holder of a Seal token."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    token = commands.add_parser("token", help="print a short-lived token for kubectl (ExecCredential)")
    token.add_argument(
        "--holder",
        type=Path,
        default=os.environ.get(SETTINGS_VARIABLE),
        help=f"the holder's settings file (default: ${SETTINGS_VARIABLE})",
    )
    options = parser.parse_args(arguments)
    if options.holder is None:
        parser.error(f"say --holder FILE or set {SETTINGS_VARIABLE}")
    try:
        print(exec_credential(Holder.load(Path(options.holder)), time.time_ns() // 1_000_000))
    except ConfigurationError as error:
        print(f"kubectl-daas: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
