"""The gateway's settings, from environment variables.

Nothing is read while the package is imported (Chalice imports the app to package it): the first request
reads and validates the settings, and a gateway that is not configured refuses every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chalicelib.trust_roots import RootsSource, roots_source
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import from_hex
from k3s_daas.sui.endpoints import SuiEndpoints, endpoints_from_environment

NAMES = frozenset(DeadlineSettings.variables()) | {
    *("DAAS_TRUST_ROOTS_FILE", "DAAS_TRUST_ROOTS", "DAAS_TRUST_ROOTS_PARAMETER"),
    *("DAAS_SUI_ENDPOINTS", "DAAS_QUORUM", "DAAS_SUI_ENDPOINT", "DAAS_SINGLE_ENDPOINT"),
    *("DAAS_REQUEST_TABLE", "DAAS_KMS_KEY_ID", "DAAS_PARKING_KEY_ID", "DAAS_EXECUTOR", "DAAS_GAS_BUDGET"),
    *("DAAS_BLOB_BUCKET", "DAAS_BLOB_IPFS_API", "DAAS_BLOB_IPFS_GATEWAY"),
    *("DAAS_ADMISSION_TTL_MS", "DAAS_DISCOVERY_TTL_MS", "DAAS_DISCOVERY_MAX_BYTES"),
    *("DAAS_WATCHES_PER_MINUTE", "DAAS_OPEN_REQUESTS"),
    *("DAAS_SOURCE_REQUESTS_PER_SECOND", "DAAS_SOURCE_REFUSALS_PER_MINUTE"),
    *("DAAS_SEAL_ABORTS", "DAAS_SEAL_ABORT_WINDOW_S", "DAAS_REFUSAL_LOG_FILE"),
}
"""The variables that the gateway reads. Tests hold it to what the code reads."""


@dataclass(frozen=True)
class GatewaySettings:
    """What the operator decides."""

    trust_roots: RootsSource
    """Where the pinned roots of trust are (chain, package, cluster, gateways, executors)."""

    endpoints: SuiEndpoints
    """The Sui fullnodes' gRPC services, and how many of them must say the same."""

    request_table: str
    """DynamoDB table with one record per command."""

    kms_key_id: str
    """KMS key (ECC_SECG_P256K1) that signs the gateway's transactions; it never leaves KMS."""

    parking_key_id: str
    """KMS key (HMAC_256) that the secrets for parked requests derive from; it never leaves KMS."""

    executor: bytes
    """Address of the executor that commands are assigned to; pinned in the roots."""

    deadlines: DeadlineSettings = field(default_factory=DeadlineSettings)
    """The three times of a command and the HTTP chain around them."""

    gas_budget: int = 100_000_000
    """MIST reserved from the address balance while one submission is in flight; what is not used stays."""

    admission_ttl_ms: int = 1_000
    """How long a seal's and the cluster's state are used without reading the chain again. The contract
    decides on the state of the moment; this only keeps hopeless commands from costing gas."""

    blob_bucket: str | None = None
    """S3 bucket for sealed bodies that are larger than a transaction. Without it, 96 KiB of compressed
    ciphertext are the limit each way."""

    blob_ipfs: tuple[str, str] | None = None
    """In the place of a bucket: URLs of our kubo node's HTTP API and of the gateway that the listener asks.
    Requests only; replies must fit a transaction."""

    discovery_ttl_ms: int = 30_000
    """How long a reply to discovery is kept. A definition that somebody changes on another way than through
    this process is seen by then."""

    discovery_max_bytes: int = 16 * 1024 * 1024
    """What kept replies to discovery may take of this process's memory."""

    watches_per_minute: int = 120
    """Watches and followed logs that one seal may begin in a minute, in all functions together; never more
    than half of what the contract allows it for all commands, so that reads and writes are left."""

    open_requests: int = 32
    """How many of them may be open in this process at a time, where a process serves many requests (Lambda
    gives it one)."""

    source_requests_per_second: int = 100
    """What one address may send to one process; five seconds' worth at once."""

    source_refusals_per_minute: int = 300
    """How many requests of one address may be refused (not those over a rate) before all of them are, until
    the minute ends. Counted over all functions. Everybody behind one address shares it."""

    seal_aborts: int = 20
    """How many transactions of one seal may fail on chain within `seal_abort_window_s` before its commands
    are refused, until the window ends: each costs gas. Counted over all functions."""

    seal_abort_window_s: int = 600
    """See `seal_aborts`; seconds."""

    refusal_log_file: Path | None = None
    """Where refusals are logged, in the place of the log of everything else."""


def settings_from_environment(environment: Mapping[str, str]) -> GatewaySettings:
    """Read and validate the settings.

    Raises ConfigurationError with one sentence that names the variable.
    """
    endpoints = endpoints_from_environment(environment)
    return GatewaySettings(
        trust_roots=roots_source(environment),
        endpoints=endpoints,
        request_table=_required(environment, "DAAS_REQUEST_TABLE"),
        kms_key_id=_required(environment, "DAAS_KMS_KEY_ID"),
        parking_key_id=_required(environment, "DAAS_PARKING_KEY_ID"),
        executor=_address(environment, "DAAS_EXECUTOR"),
        deadlines=DeadlineSettings.from_environment(environment),
        gas_budget=_positive(environment, "DAAS_GAS_BUDGET", GatewaySettings.gas_budget),
        blob_ipfs=_ipfs(environment),
        blob_bucket=environment.get("DAAS_BLOB_BUCKET", "").strip() or None,
        admission_ttl_ms=_positive(environment, "DAAS_ADMISSION_TTL_MS", GatewaySettings.admission_ttl_ms),
        discovery_ttl_ms=_positive(environment, "DAAS_DISCOVERY_TTL_MS", GatewaySettings.discovery_ttl_ms),
        watches_per_minute=_positive(
            environment, "DAAS_WATCHES_PER_MINUTE", GatewaySettings.watches_per_minute
        ),
        open_requests=_positive(environment, "DAAS_OPEN_REQUESTS", GatewaySettings.open_requests),
        discovery_max_bytes=_positive(
            environment, "DAAS_DISCOVERY_MAX_BYTES", GatewaySettings.discovery_max_bytes
        ),
        source_requests_per_second=_positive(
            environment, "DAAS_SOURCE_REQUESTS_PER_SECOND", GatewaySettings.source_requests_per_second
        ),
        source_refusals_per_minute=_positive(
            environment, "DAAS_SOURCE_REFUSALS_PER_MINUTE", GatewaySettings.source_refusals_per_minute
        ),
        seal_aborts=_positive(environment, "DAAS_SEAL_ABORTS", GatewaySettings.seal_aborts),
        seal_abort_window_s=_positive(
            environment, "DAAS_SEAL_ABORT_WINDOW_S", GatewaySettings.seal_abort_window_s
        ),
        refusal_log_file=_path(environment, "DAAS_REFUSAL_LOG_FILE"),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise ConfigurationError(f"{name} is not set: the gateway needs it to serve any request.")
    return value


def _ipfs(environment: Mapping[str, str]) -> tuple[str, str] | None:
    names = ("DAAS_BLOB_IPFS_API", "DAAS_BLOB_IPFS_GATEWAY")
    api, gateway = (environment.get(name, "").strip() for name in names)
    if not api and not gateway:
        return None
    if not api or not gateway or environment.get("DAAS_BLOB_BUCKET", "").strip():
        raise ConfigurationError(f"{' and '.join(names)} go together, and without DAAS_BLOB_BUCKET.")
    return api, gateway


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(name, "").strip()
    return Path(text) if text else None


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigurationError(f"{name} must be a positive whole number.")
    return int(text)


def _address(environment: Mapping[str, str], name: str) -> bytes:
    try:
        return from_hex(_required(environment, name))
    except ValueError:
        raise ConfigurationError(f"{name} must be a Sui address: 0x and 64 hexadecimal digits.") from None
