"""What ``daas up`` is told."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8443


@dataclass(frozen=True)
class StackOptions:
    """Options of the local stack; times in milliseconds."""

    state: Path = Path(".daas")
    port: int = DEFAULT_PORT
    kubeconfig: Path | None = None
    sui_url: str | None = None
    faucet_url: str | None = None
    event_source: str = "grpc"
    sui_websocket_url: str | None = None
    executor_key: str = "file"
    finality_ms: int = 400
    checkpoint_ms: int = 250
    conversion: str = "strict"
    crowd: int = 0

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options on a command line."""
        parser.add_argument("--kubeconfig", type=Path, help="use this cluster instead of the in-memory API")
        parser.add_argument("--sui-url", help="use this Sui endpoint (gRPC) instead of the local ledger")
        parser.add_argument("--faucet-url", help="where --sui-url's network gives coins")
        parser.add_argument(
            "--event-source",
            choices=("grpc", "websocket"),
            default=cls.event_source,
            help="how the listener hears of commands (%(default)s)",
        )
        parser.add_argument(
            "--sui-websocket-url", help="where --sui-url's network serves JSON-RPC over WebSocket"
        )
        parser.add_argument(
            "--executor-key",
            choices=("file", "kms"),
            default=cls.executor_key,
            help="where the listener's signing key is: a file under a passphrase, or the local KMS, which "
            "forgets it (%(default)s)",
        )
        parser.add_argument("--state", type=Path, default=cls.state, help="state directory (%(default)s)")
        parser.add_argument(
            "--port", type=int, default=cls.port, help="port of the gateway (%(default)s; 0 picks a free one)"
        )
        parser.add_argument(
            "--finality-ms",
            type=_milliseconds,
            default=cls.finality_ms,
            help="of the local ledger (%(default)s)",
        )
        parser.add_argument(
            "--checkpoint-ms",
            type=_milliseconds,
            default=cls.checkpoint_ms,
            help="of the local ledger (%(default)s)",
        )
        parser.add_argument(
            "--crowd",
            type=_whole_number,
            default=cls.crowd,
            metavar="HOLDERS",
            help="as many further operators, crowd-1 and so on (%(default)s)",
        )
        parser.add_argument(
            "--conversion",
            choices=("strict", "chalice"),
            default=cls.conversion,
            help="how the gateway gets its events: an AWS-shaped round trip, or Chalice's own (%(default)s)",
        )

    @classmethod
    def parsed(cls, options: argparse.Namespace) -> StackOptions:
        """From the parsed command line."""
        return cls(
            state=options.state,
            port=options.port,
            kubeconfig=options.kubeconfig,
            sui_url=options.sui_url,
            faucet_url=options.faucet_url,
            event_source=options.event_source,
            sui_websocket_url=options.sui_websocket_url,
            executor_key=options.executor_key,
            finality_ms=options.finality_ms,
            checkpoint_ms=options.checkpoint_ms,
            conversion=options.conversion,
            crowd=options.crowd,
        )


def _milliseconds(text: str) -> int:
    return _whole_number(text, " of milliseconds")


def _whole_number(text: str, unit: str = "") -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{unit}")
    return int(text)
