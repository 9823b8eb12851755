"""Where events come from: `DAAS_EVENT_SOURCE`, and for JSON-RPC the WebSocket endpoints.

Every `ConfigurationError` is one sentence that names the variable. None quotes a URL's path or query, where
providers put keys.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.endpoints import SuiEndpoints
from listener_service.event_source.wire import WebSocketEndpoint

KINDS = ("grpc", "websocket")
_URL, _TOKENS = "DAAS_SUI_WEBSOCKET_URL", "DAAS_SUI_WEBSOCKET_TOKEN_FILE"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# What RFC 6750 allows in a bearer token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebSocketEndpoints:
    """The endpoints, and how many of them must have delivered everything before the watermark moves."""

    endpoints: tuple[WebSocketEndpoint, ...]
    quorum: int


def websockets_from_environment(
    environment: Mapping[str, str], sui: SuiEndpoints
) -> WebSocketEndpoints | None:
    """None if events come over gRPC, from the endpoints that serve everything else.

    `DAAS_SUI_WEBSOCKET_URL` lists URLs, separated by commas: at least as many as must agree about the rest of
    the chain.
    `DAAS_SUI_WEBSOCKET_TOKEN_FILE` lists a file for each URL, in their order, or nothing for one without.
    """
    kind = environment.get("DAAS_EVENT_SOURCE", "").strip() or "grpc"
    if kind not in KINDS:
        raise ConfigurationError(f"DAAS_EVENT_SOURCE is {kind!r}: give {' or '.join(KINDS)}")
    urls = [url.strip() for url in environment.get(_URL, "").split(",") if url.strip()]
    if kind == "grpc":
        for name in (_URL, _TOKENS):
            if environment.get(name, "").strip():
                raise ConfigurationError(
                    f"{name} is set, but events come over gRPC: set DAAS_EVENT_SOURCE=websocket, or remove it"
                )
        return None
    if not urls:
        raise ConfigurationError(
            f"{_URL} is not set: set it to the WebSocket URL of a fullnode's JSON-RPC, "
            "for example wss://fullnode.example"
        )
    if len(urls) < sui.quorum:
        raise ConfigurationError(
            f"{_URL} lists {len(urls)} endpoints, but DAAS_QUORUM is {sui.quorum}: fewer could hide events, "
            "so list as many"
        )
    endpoints = _endpoints(urls, environment.get(_TOKENS, ""), development=sui.development)
    return WebSocketEndpoints(endpoints, max(sui.quorum, len(urls) // 2 + 1))


def _endpoints(urls: Sequence[str], files: str, *, development: bool) -> tuple[WebSocketEndpoint, ...]:
    paths = [path.strip() for path in files.split(",")] if files.strip() else [""] * len(urls)
    if len(paths) != len(urls):
        raise ConfigurationError(f"{_TOKENS} lists {len(paths)} files for {len(urls)} URLs in {_URL}")
    hosts, endpoints = set(), []
    for url, path in zip(urls, paths, strict=True):
        parts = _parts(url)
        loopback = parts.hostname in _LOOPBACK
        if parts.scheme == "ws" and not loopback and (path or not development):
            raise ConfigurationError(
                f"{_URL} must be wss:// for {parts.hostname}: only this machine's ports do without TLS"
            )
        hosts.add(parts.netloc if loopback else parts.hostname)
        endpoints.append(WebSocketEndpoint(url, bearer=_token(path)) if path else WebSocketEndpoint(url))
    if len(hosts) < len(urls):
        raise ConfigurationError(
            f"{_URL} names a host twice: a quorum needs endpoints of different providers"
        )
    return tuple(endpoints)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and not parts.fragment
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(f"{_URL} holds what is no ws:// or wss:// URL with a host")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{_URL} holds a user or password: put a bearer token into {_TOKENS}")
    return parts


@dataclass(frozen=True, slots=True)
class _TokenFile:
    """A bearer token in a file, read each time that it is needed."""

    path: Path

    def __call__(self) -> str:
        try:
            with self.path.open(encoding="ascii") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerUnavailableError(
                f"{_TOKENS} {self.path} cannot be read ({type(error).__name__})"
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise LedgerUnavailableError(f"{_TOKENS} {self.path} is open to other users: run chmod 600 on it")
        if not _TOKEN.fullmatch(text):
            raise LedgerUnavailableError(
                f"{_TOKENS} {self.path} does not hold a bearer token and nothing else"
            )
        return text


def _token(path: str) -> _TokenFile:
    token = _TokenFile(Path(path))
    try:
        token()
    except LedgerUnavailableError as error:
        # Later it is an outage, since tokens rotate; at the start it is a mistake.
        raise ConfigurationError(str(error)) from None
    return token
