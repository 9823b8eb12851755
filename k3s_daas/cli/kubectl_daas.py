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

from k3s_daas.bearer import mint
from k3s_daas.cli.holder import Holder
from k3s_daas.errors import ConfigurationError

SETTINGS_VARIABLE = "KUBECTL_DAAS_HOLDER"

TOKEN_LIFETIME_MS = 600_000
"""How long the gateway accepts a token."""

EARLY_RENEWAL_MS = 360_000
"""kubectl is told an earlier end, so that a token outlives a request that is still waiting for its answer."""

EXEC_API_VERSION = "client.authentication.k8s.io/v1"


def exec_credential(holder: Holder, now_ms: int) -> str:
    """The ``ExecCredential`` of the credential plugin protocol (Kubernetes: client-go credential plugins).

    Raises:
        ConfigurationError: the session key cannot be used.
    """
    token = mint(
        holder.session_key(),
        cluster=holder.cluster,
        seal=holder.seal,
        gateway=holder.gateway,
        now_ms=now_ms,
        lifetime_ms=TOKEN_LIFETIME_MS,
    )
    renew_at = datetime.fromtimestamp((token.claims.expires_at_ms - EARLY_RENEWAL_MS) / 1000, UTC)
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
