"""Every setting with its meaning and its default: what `--help` prints, and docs/operations.md shows.

Tests hold it to what the code reads: no name is missing or left over, and no default is another one.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_WIDTH = 100
_REQUIRED = "required"
_NONE = "none"


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. `default` is as one would write it, or `required`, or `none`."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    """Settings about one thing."""

    title: str
    settings: tuple[Setting, ...]


GROUPS = (
    Group(
        "Whom it believes, and who it is",
        (
            Setting(
                "DAAS_TRUST_ROOTS_FILE",
                _REQUIRED,
                "file that `daas roots` wrote: the pinned chain, package, cluster, gateways and executors",
            ),
            Setting(
                "DAAS_LISTENER_NAMESPACE",
                _REQUIRED,
                "namespace that it runs in: the one that the contract protects",
            ),
            Setting(
                "DAAS_SIGNING_KMS_KEY_ID",
                _NONE,
                "id, ARN or alias of the KMS key (ECC_SECG_P256K1) that signs answers; this or "
                "DAAS_EXECUTOR_KEY_FILE",
            ),
            Setting(
                "DAAS_EXECUTOR_KEY_FILE",
                _NONE,
                "file with that key, encrypted under the passphrase of DAAS_KEY_PASSPHRASE_FILE",
            ),
            Setting(
                "DAAS_PLAIN_EXECUTOR_KEY",
                _NONE,
                "`development`: DAAS_EXECUTOR_KEY_FILE holds the key in plain hex",
            ),
            Setting(
                "DAAS_WRAPPING_KMS_KEY_ID",
                _NONE,
                "symmetric KMS key that wraps the sealing keys in their Secret; this or "
                "DAAS_KEY_PASSPHRASE_FILE",
            ),
            Setting(
                "DAAS_KEY_PASSPHRASE_FILE",
                _NONE,
                "file with the passphrase that they, and the executor's key file, are encrypted under",
            ),
            Setting(
                "DAAS_KEY_ROTATION_SECONDS",
                "86400",
                "age at which the sealing key is replaced",
            ),
        ),
    ),
    Group(
        "The chain",
        (
            Setting(
                "DAAS_SUI_ENDPOINTS",
                _NONE,
                "Sui gRPC endpoints of different providers, separated by commas",
            ),
            Setting("DAAS_QUORUM", _NONE, "how many of them must say the same: more than half"),
            Setting("DAAS_SUI_ENDPOINT", _NONE, "instead: one endpoint"),
            Setting(
                "DAAS_SINGLE_ENDPOINT",
                _NONE,
                "why that one may be believed: `own-node` or `development`",
            ),
            Setting("DAAS_EVENT_SOURCE", "grpc", "`grpc`, or `websocket` for events over JSON-RPC"),
            Setting(
                "DAAS_SUI_WEBSOCKET_URL",
                _NONE,
                "with `websocket`: JSON-RPC endpoints, `wss://…`, separated by commas, at least "
                "DAAS_QUORUM of them",
            ),
            Setting(
                "DAAS_SUI_WEBSOCKET_TOKEN_FILE",
                _NONE,
                "files (mode 600) with a bearer token for each of them, separated by commas; empty for none",
            ),
            Setting(
                "DAAS_RESUME_AFTER_CHECKPOINT",
                _NONE,
                "skips events up to this checkpoint, if all endpoints have pruned what follows the watermark",
            ),
            Setting(
                "DAAS_GAS_BUDGET",
                "50000000",
                "MIST that a transaction with answers may cost at most; up to four are in flight",
            ),
        ),
    ),
    Group(
        "The cluster",
        (
            Setting(
                "KUBECONFIG",
                _NONE,
                "kubeconfig file of the API server; without it the pod's service account",
            ),
            Setting(
                "DAAS_CONCURRENCY",
                "32",
                "reads that run at a time, and as many mutations; a quarter as many that come too late are "
                "answered besides them; one holder has half of the places at most",
            ),
            Setting(
                "DAAS_OPEN_CALLS",
                "64",
                "watches and followed logs that are open at a time, besides those; one holder has a quarter",
            ),
            Setting(
                "DAAS_QUEUE_BYTES",
                _NONE,
                "memory for what waits (a quarter of it, about 2 KB each), what is in work (half of it, "
                "about 70 KB and four times its bodies each) and large replies (the rest); without it a "
                "quarter of the cgroup's memory limit, 8 MiB at least, or 64 MiB if there is no limit",
            ),
            Setting(
                "DAAS_LEASE_SECONDS",
                "15",
                "after this time a leader that died is replaced; 2 at least, the same at all replicas; one "
                "that cannot renew for 2/3 of it starts nothing more",
            ),
        ),
    ),
    Group(
        "Large bodies",
        (
            Setting(
                "DAAS_BLOB_HOSTS",
                _NONE,
                "hosts (`host` or `host:port`, separated by commas) that bodies larger than a transaction "
                "may be read from and written to, over https; without it they are refused",
            ),
            Setting(
                "DAAS_BLOB_PLAIN_HTTP",
                _NONE,
                "`loopback`: 127.0.0.1 may do without TLS, in development only",
            ),
            Setting(
                "DAAS_BLOB_PRIVATE_ADDRESSES",
                _NONE,
                "`allow`: those hosts, and the node below, may have addresses inside this network",
            ),
            Setting(
                "DAAS_BLOB_IPFS_API",
                _NONE,
                "URL of the HTTP API of a kubo node that takes replies larger than a transaction, if the "
                "gateway uses IPFS: `https://host:port`, or `http://127.0.0.1:port`; without it they are "
                "refused",
            ),
        ),
    ),
    Group(
        "The service",
        (
            Setting(
                "DAAS_HEALTH_ADDRESS",
                _NONE,
                "`address:port` that /livez, /readyz and /metrics are served at, over plain HTTP; the "
                "container says 0.0.0.0:8080; without it they are not served",
            ),
            Setting(
                "DAAS_READY_LAG_SECONDS",
                "30",
                "a leader whose events are further behind the chain is not ready, nor is whoever has not "
                "heard of the chain for so long; 25 at least with `websocket`",
            ),
            Setting(
                "DAAS_DRAIN_MS",
                "1000",
                "how long SIGTERM waits for commands in work, before the lead is given back; reads that take "
                "longer are run again by whoever leads next",
            ),
            Setting(
                "DAAS_FINISH_MS",
                "20000",
                "how long it waits then for mutations that it has claimed, to answer how they ended; what "
                "takes longer is answered 'outcome unknown' by whoever leads next. Kubernetes' grace period "
                "must be longer than both together and 5 seconds",
            ),
            Setting("DAAS_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`"),
        ),
    ),
)

_AFTERWORD = """\
KMS is reached as AWS's SDK does it: region (AWS_REGION or AWS_DEFAULT_REGION), credentials and endpoint come
from AWS_* or the machine's role.
An empty variable counts as unset.

exit codes:
  0    it was told to end (SIGTERM, SIGINT), has drained, given the lead back and finished what it claimed
  1    a setting is wrong, or a person is needed: one sentence on stderr says what for; or it failed
       inside: its log has the trace
  2    an argument that it does not have
  143  it was told again (130: by SIGINT) and ended at once, without draining: a successor answers the rest
"""


def names() -> frozenset[str]:
    """The variables that a listener reads."""
    return frozenset(setting.name for group in GROUPS for setting in group.settings)


def help_text() -> str:
    """The settings for a terminal."""
    return "\n".join(_help_lines()) + "\n\n" + _AFTERWORD


def _help_lines() -> Iterator[str]:
    yield "settings, all from the environment:"
    for group in GROUPS:
        yield ""
        yield f"{group.title}:"
        for setting in group.settings:
            yield f"  {setting.name}  ({_default(setting)})"
            yield from textwrap.wrap(
                setting.meaning, _WIDTH, initial_indent="      ", subsequent_indent="      "
            )


def _default(setting: Setting) -> str:
    special = (_REQUIRED, _NONE)
    return setting.default if setting.default in special else f"default {setting.default}"


def markdown() -> str:
    """The same as tables for docs/operations.md."""
    parts: list[str] = []
    for group in GROUPS:
        rows = [
            f"| `{setting.name}` | {_cell(setting.default)} | {setting.meaning} |"
            for setting in group.settings
        ]
        parts.append("\n".join([f"| {group.title} | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _cell(default: str) -> str:
    return {_REQUIRED: "required", _NONE: ""}.get(default, f"`{default}`")
