"""`DAAS_HEALTH_ADDRESS`: where health is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from k3s_daas.errors import ConfigurationError

_NAME = "DAAS_HEALTH_ADDRESS"


@dataclass(frozen=True, slots=True)
class HealthAddress:
    """An address of this machine, and a port; 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def health_address_from_environment(environment: Mapping[str, str]) -> HealthAddress | None:
    """None if nothing is to be served. Raises `ConfigurationError`."""
    text = environment.get(_NAME, "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port is not None and parts.netloc == text and "@" not in text:
            return HealthAddress(parts.hostname, parts.port)
    except ValueError:
        # Such as a port that is no number.
        pass
    raise ConfigurationError(f"{_NAME} is {text!r}: give an address and a port, such as 0.0.0.0:8080")
