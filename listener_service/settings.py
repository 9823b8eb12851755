"""Settings, all from the environment, all checked before anything is opened.

Every `ConfigurationError` is one sentence that names the variable.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from k3s_daas.errors import ConfigurationError, SealedDataError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.signers import FileSigner

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_LOG_LEVELS = ("debug", "info", "warning", "error")
_SINGLE_ENDPOINT_MODES = ("development", "own-node")


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What the listener is told. Paths are checked when they are read."""

    trust_roots_file: Path
    """DAAS_TRUST_ROOTS_FILE: chain, package, cluster, gateways' and executors' keys."""

    sui_endpoint: str
    """DAAS_SUI_ENDPOINT: one gRPC endpoint, https://, or http:// (plaintext HTTP/2) in development."""

    single_endpoint: str
    """DAAS_SINGLE_ENDPOINT: why one endpoint may be believed, `development` or `own-node`. Without it the
    listener does not start: one foreign endpoint could lie about the state of seals."""

    executor_key_file: Path
    """DAAS_EXECUTOR_KEY_FILE: the Sui key that signs answers."""

    sealing_key_file: Path
    """DAAS_SEALING_KEY_FILE: the HPKE private key that opens requests, in hex."""

    state_dir: Path
    """DAAS_STATE_DIR: watermark and journal; must survive a restart and be on a local disk."""

    kubeconfig: Path | None
    """KUBECONFIG: how to reach the API server; without it the pod's service account."""

    listener_namespace: str
    """DAAS_LISTENER_NAMESPACE: the namespace that no command may touch."""

    resume_after_checkpoint: int | None = None
    """DAAS_RESUME_AFTER_CHECKPOINT: skips events up to this checkpoint, if the endpoint has pruned them."""

    concurrency: int = 32
    """DAAS_CONCURRENCY: commands in work at a time; when full the stream is not read on."""

    drain_ms: int = 2_000
    """DAAS_DRAIN_MS: how long SIGTERM waits for commands in work."""

    gas_budget: int = 50_000_000
    """DAAS_GAS_BUDGET: MIST that an answer may cost at most; each answer in flight reserves as much."""

    log_level: str = "info"
    """DAAS_LOG_LEVEL: debug, info, warning or error."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ListenerSettings:
        """Raises `ConfigurationError` for the first variable that is missing or wrong."""
        read = _Environment(environment)
        kubeconfig = read.optional("KUBECONFIG")
        single_endpoint = read.choice(
            "DAAS_SINGLE_ENDPOINT", _SINGLE_ENDPOINT_MODES, "with one endpoint say why it may be believed"
        )
        return cls(
            trust_roots_file=Path(
                read.required("DAAS_TRUST_ROOTS_FILE", "the file with the pinned roots of trust")
            ),
            sui_endpoint=read.url("DAAS_SUI_ENDPOINT", plain=single_endpoint == "development"),
            single_endpoint=single_endpoint,
            executor_key_file=Path(
                read.required("DAAS_EXECUTOR_KEY_FILE", "the file with the executor's Sui key")
            ),
            sealing_key_file=Path(
                read.required("DAAS_SEALING_KEY_FILE", "the file with the HPKE private key")
            ),
            state_dir=Path(read.required("DAAS_STATE_DIR", "the directory for watermark and journal")),
            kubeconfig=None if kubeconfig is None else Path(kubeconfig),
            listener_namespace=read.namespace("DAAS_LISTENER_NAMESPACE"),
            resume_after_checkpoint=read.optional_number("DAAS_RESUME_AFTER_CHECKPOINT", 0, 2**63 - 1),
            concurrency=read.number("DAAS_CONCURRENCY", 32, 1, 1024),
            drain_ms=read.number("DAAS_DRAIN_MS", 2_000, 0, 600_000),
            gas_budget=read.number("DAAS_GAS_BUDGET", 50_000_000, 1_000_000, 50_000_000_000),
            log_level=read.choice("DAAS_LOG_LEVEL", _LOG_LEVELS, "how much is logged", default="info"),
        )


class _Environment:
    """Reads one variable at a time. An empty variable counts as unset, as shells and manifests produce
    them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def optional(self, name: str) -> str | None:
        return self._environment.get(name) or None

    def required(self, name: str, meaning: str) -> str:
        value = self.optional(name)
        if value is None:
            raise ConfigurationError(f"{name} is not set: set it to {meaning}")
        return value

    def url(self, name: str, *, plain: bool) -> str:
        value = self.required(
            name, "the URL of a Sui gRPC endpoint, for example https://fullnode.example:443"
        )
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigurationError(f"{name} is {value!r}: give http:// or https://, a host and a port")
        if parts.scheme == "http" and not plain:
            # One's own node is believed; whoever sits in between is not.
            raise ConfigurationError(f"{name} must be https://: plain http is for development only")
        return value

    def choice(self, name: str, choices: tuple[str, ...], meaning: str, default: str | None = None) -> str:
        value = self.optional(name) or default
        if value not in choices:
            raise ConfigurationError(f"{name} must be one of {', '.join(choices)}: {meaning}")
        return value

    def namespace(self, name: str) -> str:
        value = self.required(name, "the namespace that this listener runs in")
        if not _NAMESPACE.fullmatch(value):
            raise ConfigurationError(f"{name} is {value!r}, which is no Kubernetes namespace")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self.optional_number(name, least, most)
        return default if value is None else value

    def optional_number(self, name: str, least: int, most: int) -> int | None:
        text = self.optional(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
            raise ConfigurationError(f"{name} is {text!r}: give a whole number from {least} to {most}")
        return int(text)


@dataclass(frozen=True, slots=True)
class ListenerIdentity:
    """Who this listener is: its keys, and the roots that know them."""

    roots: TrustRoots
    signer: FileSigner
    sealing_key: SealingPrivateKey

    @classmethod
    def load(cls, settings: ListenerSettings) -> ListenerIdentity:
        """Reads roots and keys, and refuses a signing key that is not pinned. Raises `ConfigurationError`.

        Whether the sealing key is the announced one, the chain says at start.
        """
        roots = TrustRoots.load(settings.trust_roots_file)
        signer = FileSigner.load(settings.executor_key_file)
        sealing_key = _load_sealing_key(settings.sealing_key_file)
        if signer.address not in roots.executors:
            raise ConfigurationError(
                f"DAAS_EXECUTOR_KEY_FILE belongs to {to_hex(signer.address)}, which is no executor in "
                "DAAS_TRUST_ROOTS_FILE: add it there, or use the right key"
            )
        return cls(roots, signer, sealing_key)


def _load_sealing_key(path: Path) -> SealingPrivateKey:
    try:
        # Mode and content of one descriptor: the file cannot be exchanged in between.
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"DAAS_SEALING_KEY_FILE {path} cannot be read ({type(error).__name__})"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"DAAS_SEALING_KEY_FILE {path} is open to other users: run chmod 600 on it")
    try:
        return SealingPrivateKey.from_private_bytes(bytes.fromhex(text))
    except (ValueError, SealedDataError):
        # Without the cause, which would quote the file's content.
        raise ConfigurationError(
            f"DAAS_SEALING_KEY_FILE {path} does not hold an HPKE private key in hex"
        ) from None
