"""The whole way of a command in one process: front door, gateway, instant ledger, listener, API server.

    AWS-shaped events → Chalice app → gateway → InstantLedger → listener → HTTP → WireServer

Everything of the product is the real thing, put together as its processes do it. Not real: the ledger (see
its module), and AWS, which moto plays in this process; calls of the table go one at a time, since moto tests
a condition and writes in two steps. There is no blob store unless a test brings one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import boto3
from chalicelib.gateway import Gateway
from chalicelib.loop import EventLoopThread
from chalicelib.routes import GatewayApp, create_app
from chalicelib.runtime import build_gateway
from chalicelib.settings import settings_from_environment
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from infra.local.aws import create_parking_key, create_request_table, create_signing_key
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from k3s_daas.bearer import mint
from k3s_daas.contract.objects import SessionState
from k3s_daas.ids import to_hex
from k3s_daas.rbac import Rule
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.quorum_members import ReportDissent, log_dissent
from k3s_daas.sui.signers import FileSigner
from listener_service.assembly import Listener, assemble
from listener_service.keys.settings import KeySettings
from listener_service.logs import JsonFormatter
from listener_service.settings import ListenerIdentity, ListenerSettings
from tests.instant.api_server import NAMESPACE, WireServer, wire_server
from tests.instant.ledger import InstantLedger
from tests.unit.contract_world import (
    CLUSTER,
    HOUR_MS,
    OPERATOR,
    OWNER,
    POLICY,
    SEAL,
    SUI,
    announced,
    cluster_state,
    seal_state,
    trust_roots,
)
from tests.unit.gateway_world import one_at_a_time
from tests.unit.memory_keys import hold

API_SERVER_TOKEN = "the-listeners-own-credential"
_ENDPOINTS = SuiEndpoints(("http://127.0.0.1:1",))
# So many that no test of something else meets a rate.
UNLIMITED = dict.fromkeys(
    (
        "DAAS_WATCHES_PER_MINUTE",
        "DAAS_SOURCE_REQUESTS_PER_SECOND",
        "DAAS_SOURCE_REFUSALS_PER_MINUTE",
        "DAAS_SEAL_ABORTS",
    ),
    "1000000000",
)
# Between two looks for an answer. What spares a real endpoint would only be waited for here.
_PAUSE_S = 0.003
_UNLIMITED = replace(POLICY, commands_per_minute=1_000_000_000, deposit_per_day=1_000_000 * SUI)
HOLDER = f"sui:0x{OWNER.hex()}"


@dataclass(frozen=True)
class Sessions:
    """Session keys of the one seal, by what they may."""

    full: Ed25519PrivateKey
    read_only: Ed25519PrivateKey
    one_namespace: Ed25519PrivateKey
    """`default` only."""
    expired: Ed25519PrivateKey


@dataclass(frozen=True)
class Extras:
    """What a test sets besides: variables of the gateway, and fields of the listener's settings."""

    gateway: Mapping[str, str] = field(default_factory=dict)
    listener: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _InstantEndpoints(SuiEndpoints):
    """Endpoints whose ledger is there already."""

    ledger: InstantLedger | None = None

    def open(self, report: ReportDissent = log_dissent) -> Ledger:
        assert self.ledger is not None
        return self.ledger


class _SerialSession(boto3.session.Session):
    """Whose clients of the table call moto one at a time."""

    def client(self, service_name: str, **arguments: Any) -> Any:  # type: ignore[override] # for any service
        client = super().client(service_name, **arguments)  # type: ignore[call-overload] # likewise
        if service_name == "dynamodb":
            one_at_a_time(client)
        return client


class InstantStack:
    """Made by `instant_stack`. `logged` has every log line of both halves."""

    def __init__(
        self, api: WireServer, directory: Path, rules: Sequence[Rule], extras: Extras = Extras()
    ) -> None:
        self._extras = extras
        self.api = api
        self.logged: list[str] = []
        kms = boto3.client("kms")
        # Stacks that live at the same time share moto's tables.
        self._table = f"requests-{uuid4()}"
        create_request_table(boto3.client("dynamodb"), self._table)
        keys = create_signing_key(kms), create_parking_key(kms)
        self.signer = KmsSigner(kms, keys[0])
        self.executor = FileSigner(Ed25519PrivateKey.generate())
        self.sealing_key = SealingPrivateKey.generate()
        self.sessions = Sessions(*(Ed25519PrivateKey.generate() for _ in range(4)))
        self.roots = trust_roots(self.signer, self.executor)
        self.ledger = InstantLedger(
            cluster_state(
                executors=[announced(self.executor, self.sealing_key)],
                gateways=[self.signer.address],
                namespace=NAMESPACE,
                rules=rules,
                policy=_UNLIMITED,
            )
        )
        self._put_seal()
        self.loop = EventLoopThread()
        self.gateway = self._gateway(directory, keys)
        self.app: GatewayApp = create_app(lambda: self.gateway)
        self.front_door = StrictGateway(self.app)
        self._stop = asyncio.Event()
        self.listener = self.loop.run(self._start(directory), timeout_s=20)

    def close(self) -> None:
        """Ends the listener as a signal would, then the loop of both halves."""
        self.loop.run(self._end(), timeout_s=20)
        self.loop.close()

    def token(self, key: Ed25519PrivateKey | None = None, **changes: object) -> str:
        """A fresh token of the full session, or of `key`'s; `changes` override the arguments of `mint`."""
        arguments = {
            "cluster": CLUSTER,
            "seal": SEAL,
            "gateway": self.signer.address,
            "now_ms": time.time_ns() // 1_000_000,
            **changes,
        }
        return mint(key or self.sessions.full, **arguments).encode()  # type: ignore[arg-type] # a test's words

    def send(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        token: str | None = None,
    ) -> HttpReply:
        """One request with a good token through the front door."""
        bearer = ("Authorization", f"Bearer {token or self.token()}")
        return self.front_door.handle(HttpRequest(method, target, (bearer, *headers), body))

    def _put_seal(self) -> None:
        end_ms = time.time_ns() // 1_000_000 + 2 * HOUR_MS
        sessions = {
            self.sessions.full: SessionState(end_ms, False, ()),
            self.sessions.read_only: SessionState(end_ms, True, ()),
            self.sessions.one_namespace: SessionState(end_ms, False, ("default",)),
            self.sessions.expired: SessionState(1, False, ()),
        }
        by_key = {key.public_key().public_bytes_raw(): state for key, state in sessions.items()}
        self.ledger.put_seal(seal_state(sessions=by_key, stake=50 * SUI, expires_at_ms=end_ms))

    def _gateway(self, directory: Path, keys: tuple[str, str]) -> Gateway:
        """As the function makes it from its environment, but for the chain's endpoint and the loop."""
        roots = directory / "roots.json"
        self.roots.dump(roots)
        environment = {
            "DAAS_TRUST_ROOTS_FILE": str(roots),
            "DAAS_SUI_ENDPOINT": "http://127.0.0.1:1",
            "DAAS_SINGLE_ENDPOINT": "development",
            "DAAS_REQUEST_TABLE": self._table,
            "DAAS_KMS_KEY_ID": keys[0],
            "DAAS_PARKING_KEY_ID": keys[1],
            "DAAS_EXECUTOR": to_hex(self.executor.address),
            **UNLIMITED,
            **self._extras.gateway,
        }
        settings = settings_from_environment(environment)
        settings = replace(settings, endpoints=_InstantEndpoints(settings.endpoints.urls, ledger=self.ledger))
        loop = patch("chalicelib.runtime.EventLoopThread", lambda: self.loop)
        with loop, patch("boto3.session.Session", _SerialSession):
            return build_gateway(settings, self.logged.append)

    async def _start(self, directory: Path) -> Listener:
        settings = ListenerSettings(
            trust_roots_file=Path("unused"),
            endpoints=_ENDPOINTS,
            keys=KeySettings(),
            kubeconfig=_kubeconfig(directory, self.api.port),
            listener_namespace=NAMESPACE,
            **self._extras.listener,
        )
        now_ms, executor = time.time_ns() // 1_000_000, self.executor.address
        wrapping = hold(self.api.own.secret, self.roots, executor, self.sealing_key, now_ms)
        identity = ListenerIdentity(self.roots, self.executor, wrapping)
        live = asyncio.Event()
        listener = await assemble(settings, identity, on_ready=lambda _: live.set(), ledger=self.ledger)
        self._running = asyncio.create_task(listener.run(self._stop))
        await live.wait()
        return listener

    async def _end(self) -> None:
        self._stop.set()
        await self._running
        await self.listener.close()


@contextmanager
def instant_stack(
    directory: Path, rules: Sequence[Rule] = OPERATOR, extras: Extras = Extras()
) -> Iterator[InstantStack]:
    """A running stack whose role has these rules; its files are in `directory`."""
    region = patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1")
    rhythm = patch("chalicelib.rhythm.SHORTEST_PAUSE_S", _PAUSE_S)
    with region, rhythm, mock_aws(), wire_server() as api:
        stack = InstantStack(api, directory, rules, extras)
        with _recorded(stack.logged):
            try:
                yield stack
            finally:
                stack.close()


@contextmanager
def _recorded(lines: list[str]) -> Iterator[None]:
    """Every log record, as the listener's process writes it; and what Chalice's app writes by itself."""

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    recorder = Recorder(logging.INFO)
    recorder.setFormatter(JsonFormatter())
    root, ours = logging.getLogger(), logging.getLogger("listener_service")
    level = ours.level
    root.addHandler(recorder)
    ours.setLevel(logging.INFO)
    try:
        with patch("chalicelib.routes.log_to_stderr", lines.append):
            yield
    finally:
        root.removeHandler(recorder)
        ours.setLevel(level)


def _kubeconfig(directory: Path, port: int) -> Path:
    written = directory / "kubeconfig"
    server = f"http://127.0.0.1:{port}"
    written.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: instant
clusters: [{{name: instant, cluster: {{server: "{server}"}}}}]
users: [{{name: instant, user: {{token: {API_SERVER_TOKEN}}}}}]
contexts: [{{name: instant, context: {{cluster: instant, user: instant}}}}]
"""
    )
    return written
