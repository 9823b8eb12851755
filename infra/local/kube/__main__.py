"""`python -m infra.local.kube`: the in-memory Kubernetes API as a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.local.kube.authentication import load_tokens
from infra.local.kube.cluster import Cluster
from infra.local.kube.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after SIGTERM, 1 with one sentence on stderr if it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.kube", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--tls-cert", type=Path, required=True, help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, required=True, help="its private key, PEM")
    parser.add_argument(
        "--token-file",
        type=Path,
        required=True,
        help='who may connect: lines of token,user,"group,group" (there is no anonymous access)',
    )
    parser.add_argument("--audit-log", type=Path, help="append one JSON line per request to this file")
    given = parser.parse_args(arguments)
    try:
        tokens = load_tokens(given.token_file)
        if not tokens:
            raise ValueError(f"{given.token_file} names nobody, so that every request would be refused")
        cluster = Cluster(tokens, audit_path=given.audit_log)
        serve(cluster, given.port, given.tls_cert, given.tls_key)
    except (OSError, ValueError) as error:
        print(f"the in-memory Kubernetes API cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
