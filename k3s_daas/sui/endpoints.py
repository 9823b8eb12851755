"""Which Sui endpoints are asked, and how many must agree: settings that gateway and listener share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.quorum import QuorumLedger
from k3s_daas.sui.quorum_members import ReportDissent, log_dissent

SINGLE_ENDPOINT_MODES = ("development", "own-node")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class SuiEndpoints:
    """URLs, `http://` or `https://`, and the quorum: how many of them must say the same."""

    urls: tuple[str, ...]
    quorum: int = 1
    development: bool = False
    """One endpoint of a local chain, with nothing at stake."""

    def open(self, report: ReportDissent = log_dissent) -> Ledger:
        """The ledger; nothing is connected yet. `report` hears of endpoints that are not believed."""
        if len(self.urls) == 1:
            return GrpcLedger(self.urls[0])
        return QuorumLedger([GrpcLedger(url) for url in self.urls], self.quorum, report=report)


def endpoints_from_environment(environment: Mapping[str, str]) -> SuiEndpoints:
    """Either `DAAS_SUI_ENDPOINTS` (several, separated by commas) and `DAAS_QUORUM`, or one endpoint
    (`DAAS_SUI_ENDPOINT`) and in `DAAS_SINGLE_ENDPOINT` why it may be believed.

    Raises `ConfigurationError`, one sentence that names the variable.
    """
    listed = [url.strip() for url in environment.get("DAAS_SUI_ENDPOINTS", "").split(",") if url.strip()]
    one = environment.get("DAAS_SUI_ENDPOINT", "").strip()
    if listed and one:
        raise ConfigurationError("DAAS_SUI_ENDPOINT and DAAS_SUI_ENDPOINTS are both set: remove one of them")
    if len(listed) > 1:
        return _several(listed, environment)
    return _single(
        listed[0] if listed else one, "DAAS_SUI_ENDPOINTS" if listed else "DAAS_SUI_ENDPOINT", environment
    )


def _single(url: str, name: str, environment: Mapping[str, str]) -> SuiEndpoints:
    mode = environment.get("DAAS_SINGLE_ENDPOINT", "").strip()
    if mode not in SINGLE_ENDPOINT_MODES:
        raise ConfigurationError(
            "DAAS_SINGLE_ENDPOINT must be 'development' or 'own-node': a single Sui endpoint that somebody "
            "else runs could lie about the state of the chain; otherwise give several in DAAS_SUI_ENDPOINTS"
        )
    if environment.get("DAAS_QUORUM", "").strip() not in ("", "1"):
        raise ConfigurationError("DAAS_QUORUM is for several endpoints: list them in DAAS_SUI_ENDPOINTS")
    if not url:
        raise ConfigurationError(
            f"{name} is not set: set it to the URL of a Sui gRPC endpoint, "
            "for example https://fullnode.example:443"
        )
    parts = _parts(url, name)
    if parts.scheme == "http" and mode != "development":
        # One's own node is believed; whoever sits in between is not.
        raise ConfigurationError(f"{name} must be https://: plain http is for development only")
    return SuiEndpoints((url,), development=mode == "development")


def _several(urls: list[str], environment: Mapping[str, str]) -> SuiEndpoints:
    name = "DAAS_SUI_ENDPOINTS"
    if environment.get("DAAS_SINGLE_ENDPOINT", "").strip():
        raise ConfigurationError(
            f"DAAS_SINGLE_ENDPOINT is set, but {name} lists {len(urls)} endpoints: remove one of the two"
        )
    hosts = set()
    for url in urls:
        parts = _parts(url, name)
        loopback = parts.hostname in _LOOPBACK
        if parts.scheme == "http" and not loopback:
            raise ConfigurationError(f"{name} must be https://: plain http is for this machine's own ports")
        # Ports of one host are one provider; on this machine they lead wherever its operator wants.
        hosts.add(parts.netloc if loopback else parts.hostname)
    if len(hosts) < len(urls):
        raise ConfigurationError(
            f"{name} names a host twice: a quorum needs endpoints of different providers"
        )
    return SuiEndpoints(tuple(urls), _quorum(len(urls), environment.get("DAAS_QUORUM", "").strip()))


def _quorum(endpoints: int, text: str) -> int:
    least = endpoints // 2 + 1
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(endpoints))
    if not is_number or not least <= int(text) <= endpoints:
        raise ConfigurationError(
            f"DAAS_QUORUM must be a whole number from {least} to {endpoints}: how many of the {endpoints} "
            "endpoints in DAAS_SUI_ENDPOINTS must say the same, which is more than half"
        )
    return int(text)


def _parts(url: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        more = parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not more:
            return parts
    except ValueError:
        # Such as a port that is no number.
        pass
    raise ConfigurationError(
        f"{name} holds what is no gRPC endpoint (not shown here: there may be a key in it): give http:// or "
        "https://, a host and a port, and nothing else"
    )
