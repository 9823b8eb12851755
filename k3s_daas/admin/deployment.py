"""The deployment file: what was published and created, by id. Public, and worth keeping under review.

A JSON object::

    {"chain_id": base58, "package_original": "0x…", "package_latest": "0x…", "upgrade_cap": "0x…",
     "cluster": "0x…" or null, "capabilities": {"cluster": "0x…", "pause": "0x…", …}}

`daas publish` writes it without a cluster, `daas cluster create` adds that and its capabilities, `daas
upgrade` moves `package_latest`. Gateways and listeners do not read it: they are given trust roots (`daas
roots`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k3s_daas.admin.files import write_whole
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import from_hex, to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.digests import digest_bytes

_FIELDS = ("chain_id", "package_original", "package_latest", "upgrade_cap", "cluster", "capabilities")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Ids of 32 bytes. `capabilities` maps `cluster`, `pause`, `member` and `access` to capabilities."""

    chain_id: str
    package_original: bytes
    package_latest: bytes
    upgrade_cap: bytes
    cluster: bytes | None = None
    capabilities: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def cluster_id(self) -> bytes:
        """Raises `ConfigurationError` while there is no cluster."""
        if self.cluster is None:
            raise ConfigurationError("the deployment has no cluster yet: run daas cluster create")
        return self.cluster

    def roots(
        self, gateways: Mapping[bytes, bytes] | None = None, executors: Mapping[bytes, bytes] | None = None
    ) -> TrustRoots:
        """Trust roots with these pinned public keys (scheme flag ‖ key, by address)."""
        return TrustRoots(
            chain_id=self.chain_id,
            package_original=self.package_original,
            package_latest=self.package_latest,
            cluster=self.cluster_id,
            gateways=gateways or {},
            executors=executors or {},
        )

    def save(self, path: Path) -> None:
        """Writes the file that `load` reads. Raises `ConfigurationError`."""
        document = {
            "chain_id": self.chain_id,
            "package_original": to_hex(self.package_original),
            "package_latest": to_hex(self.package_latest),
            "upgrade_cap": to_hex(self.upgrade_cap),
            "cluster": None if self.cluster is None else to_hex(self.cluster),
            "capabilities": {duty: to_hex(cap) for duty, cap in sorted(self.capabilities.items())},
        }
        write_whole(path, json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Raises `ConfigurationError`, which names file and field."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no deployment file {path}: run daas publish, or name it with --deployment"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"cannot read the deployment file {path}: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise ConfigurationError(f"the deployment file {path} is not JSON") from None
        try:
            return cls._from_document(document)
        except ConfigurationError as error:
            raise ConfigurationError(f"the deployment file {path}: {error}") from None

    @classmethod
    def _from_document(cls, document: object) -> Deployment:
        if not isinstance(document, dict) or set(document) != set(_FIELDS):
            raise ConfigurationError(f"it must have exactly the fields {', '.join(_FIELDS)}")
        capabilities = document["capabilities"]
        if not isinstance(capabilities, dict):
            raise ConfigurationError("capabilities must map duties to ids")
        return cls(
            chain_id=_chain_id(document["chain_id"]),
            package_original=_id(document, "package_original"),
            package_latest=_id(document, "package_latest"),
            upgrade_cap=_id(document, "upgrade_cap"),
            cluster=None if document["cluster"] is None else _id(document, "cluster"),
            capabilities={str(duty): _id(capabilities, duty) for duty in capabilities},
        )


def _chain_id(value: object) -> str:
    try:
        if isinstance(value, str) and digest_bytes(value):
            return value
    except ValueError:
        pass
    raise ConfigurationError("chain_id is not the base58 digest (32 bytes) of a genesis checkpoint")


def _id(fields: Mapping[str, Any], name: str) -> bytes:
    value = fields[name]
    try:
        return from_hex(value if isinstance(value, str) else "")
    except ValueError:
        raise ConfigurationError(f"{name} must be 0x and 64 hex digits") from None
