"""Settings, all from the environment, all checked before anything is opened.

Every `ConfigurationError` is one sentence that names the variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.endpoints import SuiEndpoints, endpoints_from_environment
from k3s_daas.sui.signers import TransactionSigner
from listener_service.blobs import LOOPBACK, BlobPlaces
from listener_service.event_source import WebSocketEndpoints, websockets_from_environment
from listener_service.health.address import HealthAddress, health_address_from_environment
from listener_service.keys.opening import open_keys
from listener_service.keys.settings import KeySettings, key_settings_from_environment
from listener_service.keys.wrapping import KeyWrapping
from listener_service.reply_node import NodePlace

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_BLOB_HOST = re.compile(
    r"(?P<host>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)
_NODE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:(?P<port>[1-9][0-9]{0,4}))?/?",
    re.ASCII,
)
# What a resolver would read as an address: the last label is a number, in whatever base.
_ENDS_IN_A_NUMBER = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)$", re.ASCII)
_MOST_DIGITS = 20
_LEAST_LAG_S = 5
# Over WebSocket what is covered is up to 20 s behind by design.
_LEAST_SETTLED_LAG_S = 25
_LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What the listener is told. Paths are checked when they are read."""

    trust_roots_file: Path
    """DAAS_TRUST_ROOTS_FILE: chain, package, cluster, gateways' and executors' keys."""

    endpoints: SuiEndpoints
    """DAAS_SUI_ENDPOINTS and DAAS_QUORUM, or DAAS_SUI_ENDPOINT and DAAS_SINGLE_ENDPOINT: who is asked about
    the chain, and how many must agree. One foreign endpoint could lie about the state of seals."""

    keys: KeySettings
    """DAAS_SIGNING_KMS_KEY_ID or DAAS_EXECUTOR_KEY_FILE, DAAS_WRAPPING_KMS_KEY_ID or
    DAAS_KEY_PASSPHRASE_FILE, DAAS_KEY_ROTATION_SECONDS: the key that signs answers, and the care for those
    that open requests."""

    kubeconfig: Path | None
    """KUBECONFIG: how to reach the API server; without it the pod's service account."""

    listener_namespace: str
    """DAAS_LISTENER_NAMESPACE: the namespace that no command may touch."""

    websockets: WebSocketEndpoints | None = None
    """DAAS_EVENT_SOURCE=websocket with DAAS_SUI_WEBSOCKET_URL and DAAS_SUI_WEBSOCKET_TOKEN_FILE: events over
    JSON-RPC from these endpoints. Without it they come over gRPC from `endpoints`."""

    resume_after_checkpoint: int | None = None
    """DAAS_RESUME_AFTER_CHECKPOINT: skips events up to this checkpoint, if the endpoint has pruned them."""

    concurrency: int = 32
    """DAAS_CONCURRENCY: reads that run at a time, and as many mutations; one holder has half of the places at
    most."""

    queue_bytes: int | None = None
    """DAAS_QUEUE_BYTES: what waits and what is in work takes no more memory; when full the stream is not read
    on. Without it a quarter of the cgroup's memory limit, or 64 MiB if there is none."""

    open_calls: int = 64
    """DAAS_OPEN_CALLS: watches and followed logs that are open at a time, besides those commands; one holder
    has a quarter of the places at most. Whoever finds none is told to come again (429)."""

    lease_s: int = 15
    """DAAS_LEASE_SECONDS: after this time a replica that died is replaced; the same at all replicas."""

    drain_ms: int = 1_000
    """DAAS_DRAIN_MS: how long SIGTERM waits for commands in work before the lead is given back."""

    finish_ms: int = 20_000
    """DAAS_FINISH_MS: how long after that it waits for mutations that it has claimed."""

    blob_places: BlobPlaces | None = None
    """DAAS_BLOB_HOSTS: hosts (`host` or `host:port`, separated by commas) that bodies larger than a
    transaction may be read from and written to, over https. Without it such commands are refused.
    DAAS_BLOB_PLAIN_HTTP=loopback lets 127.0.0.1 do without TLS, in development only.
    DAAS_BLOB_PRIVATE_ADDRESSES=allow: the hosts may have addresses inside this network."""

    reply_node: NodePlace | None = None
    """DAAS_BLOB_IPFS_API: a kubo node of ours that takes replies larger than a transaction, for a gateway
    that reads them from IPFS. Without it they are refused."""

    gas_budget: int = 50_000_000
    """DAAS_GAS_BUDGET: MIST that a transaction with answers may cost at most. Up to four are in flight, and
    each reserves as much."""

    health_address: HealthAddress | None = None
    """DAAS_HEALTH_ADDRESS: `address:port` that /livez, /readyz and /metrics are served at, over plain HTTP.
    Without it they are not served; the container says 0.0.0.0:8080."""

    ready_lag_s: int = 30
    """DAAS_READY_LAG_SECONDS: a leader whose events are further behind the chain is not ready, nor is whoever
    has not heard of the chain for so long."""

    log_level: str = "info"
    """DAAS_LOG_LEVEL: debug, info, warning or error."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ListenerSettings:
        """Raises `ConfigurationError` for the first variable that is missing or wrong."""
        read = _Environment(environment)
        kubeconfig = read.optional("KUBECONFIG")
        endpoints = endpoints_from_environment(environment)
        websockets = websockets_from_environment(environment, endpoints)
        return cls(
            trust_roots_file=Path(
                read.required("DAAS_TRUST_ROOTS_FILE", "the file with the pinned roots of trust")
            ),
            endpoints=endpoints,
            websockets=websockets,
            keys=key_settings_from_environment(environment),
            kubeconfig=None if kubeconfig is None else Path(kubeconfig),
            listener_namespace=read.namespace("DAAS_LISTENER_NAMESPACE"),
            resume_after_checkpoint=read.optional_number("DAAS_RESUME_AFTER_CHECKPOINT", 0, 2**63 - 1),
            concurrency=read.number("DAAS_CONCURRENCY", 32, 1, 1024),
            queue_bytes=read.optional_number("DAAS_QUEUE_BYTES", 8 * 1024 * 1024, 2**40),
            open_calls=read.number("DAAS_OPEN_CALLS", 64, 1, 1024),
            lease_s=read.number("DAAS_LEASE_SECONDS", 15, 2, 300),
            drain_ms=read.number("DAAS_DRAIN_MS", 1_000, 0, 600_000),
            finish_ms=read.number("DAAS_FINISH_MS", 20_000, 0, 600_000),
            blob_places=read.blob_places(development=endpoints.development),
            reply_node=read.reply_node(),
            gas_budget=read.number("DAAS_GAS_BUDGET", 50_000_000, 1_000_000, 50_000_000_000),
            health_address=health_address_from_environment(environment),
            ready_lag_s=read.number(
                "DAAS_READY_LAG_SECONDS",
                30,
                _LEAST_LAG_S if websockets is None else _LEAST_SETTLED_LAG_S,
                3600,
            ),
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

    def blob_places(self, *, development: bool) -> BlobPlaces | None:
        plain = self.optional("DAAS_BLOB_PLAIN_HTTP")
        if plain not in (None, "loopback"):
            raise ConfigurationError(f"DAAS_BLOB_PLAIN_HTTP is {plain!r}: only 'loopback' can do without TLS")
        if plain is not None and not development:
            raise ConfigurationError(
                "DAAS_BLOB_PLAIN_HTTP is for DAAS_SINGLE_ENDPOINT=development only: unset it"
            )
        private = self._private_addresses()
        text = self.optional("DAAS_BLOB_HOSTS")
        if text is None:
            return None
        hosts = frozenset(_blob_host(entry.strip(), plain=plain is not None) for entry in text.split(","))
        return BlobPlaces(hosts, plain_loopback=plain is not None, private_addresses=private)

    def reply_node(self) -> NodePlace | None:
        """Plain HTTP on this machine only (a container in the same pod): the API asks for no credentials."""
        url = self.optional("DAAS_BLOB_IPFS_API")
        if url is None:
            return None
        match = _NODE_URL.fullmatch(url)
        if match is None or int(match["port"] or 443) > 65_535:
            raise ConfigurationError("DAAS_BLOB_IPFS_API must be https://host:port, without a path")
        tls = match["scheme"] == "https"
        if not tls and match["host"] != LOOPBACK:
            raise ConfigurationError(
                f"DAAS_BLOB_IPFS_API must be an https:// URL: http:// is for {LOOPBACK} only"
            )
        port = int(match["port"] or (443 if tls else 80))
        return NodePlace(match["host"], port, tls, self._private_addresses())

    def _private_addresses(self) -> bool:
        private = self.optional("DAAS_BLOB_PRIVATE_ADDRESSES")
        if private not in (None, "allow"):
            raise ConfigurationError(
                f"DAAS_BLOB_PRIVATE_ADDRESSES is {private!r}: set it to 'allow', or not at all"
            )
        return private is not None

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self.optional_number(name, least, most)
        return default if value is None else value

    def optional_number(self, name: str, least: int, most: int) -> int | None:
        text = self.optional(name)
        if text is None:
            return None
        # Python makes no number of some thousand digits.
        is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
        if not is_number or not least <= int(text) <= most:
            shown = text[:_MOST_DIGITS]
            raise ConfigurationError(f"{name} is {shown!r}: give a whole number from {least} to {most}")
        return int(text)


def _blob_host(entry: str, *, plain: bool) -> str:
    """`host:port`. Addresses are refused: no certificate is for the ones that an attacker would like, such as
    the metadata service's.
    """
    match = _BLOB_HOST.fullmatch(entry.lower())
    if match is None or int(match["port"] or 443) > 65_535:
        raise ConfigurationError(
            f"DAAS_BLOB_HOSTS names {entry!r}: give host names, each with :port if it is not 443"
        )
    if _ENDS_IN_A_NUMBER.search(match["host"]) and not (plain and match["host"] == LOOPBACK):
        raise ConfigurationError(f"DAAS_BLOB_HOSTS names the address {entry!r}: give the name of a host")
    return f"{match['host']}:{match['port'] or 443}"


@dataclass(frozen=True, slots=True)
class ListenerIdentity:
    """Who this listener is: what signs, what wraps its sealing keys, and the roots that know it."""

    roots: TrustRoots
    signer: TransactionSigner
    wrapping: KeyWrapping

    @classmethod
    def load(cls, settings: ListenerSettings) -> ListenerIdentity:
        """Reads roots and keys, and refuses a signing key that is not pinned. Raises `ConfigurationError`;
        waits for a KMS that is away.
        """
        try:
            roots = TrustRoots.load(settings.trust_roots_file)
        except ConfigurationError as error:
            raise ConfigurationError(f"DAAS_TRUST_ROOTS_FILE: {error}") from error
        opened = open_keys(settings.keys)
        if opened.signer.address not in roots.executors:
            raise ConfigurationError(
                f"the signing key (DAAS_EXECUTOR_KEY_FILE or DAAS_SIGNING_KMS_KEY_ID) is that of "
                f"{to_hex(opened.signer.address)}, which is no executor in DAAS_TRUST_ROOTS_FILE: add it "
                "there, or use the right key"
            )
        return cls(roots, opened.signer, opened.wrapping)
