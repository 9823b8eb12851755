"""The local Sui as one object: ledger, gRPC and JSON-RPC ports, faucet and control port, in this process."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from .control import Control, counters
from .execution import MoveVm, PackageInterface
from .faucet import Faucet
from .http_json import JsonServer
from .jsonrpc.endpoint import JsonRpcEndpoint
from .ledger.clock import LedgerClock
from .ledger.digests import base58, parse_address
from .ledger.ledger import Ledger, LedgerSettings
from .ledger.objects import StoredObject
from .rpc.endpoint import Endpoint
from .rpc.execution_service import ExecutionService
from .rpc.ledger_service import LedgerService
from .rpc.package_service import PackageService
from .rpc.port import Port
from .rpc.state_service import StateService
from .rpc.subscription_service import SubscriptionService


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Server side TLS with ALPN ``h2``, which gRPC clients insist on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context


class LocalSui:
    """A chain with its ports. ``async with LocalSui(ports=2) as sui: …``

    Without ``vm`` the real Move VM is started, and the framework's packages exist from genesis. ``ports`` is
    a number of free ports, or the ports themselves; so is ``jsonrpc_ports``, which speak JSON-RPC over plain
    WebSocket. Faucet and control get a free port unless one is given.
    """

    def __init__(
        self,
        *,
        vm: MoveVm | None = None,
        clock: LedgerClock | None = None,
        finality_ms: int = 400,
        checkpoint_ms: int = 250,
        ports: int | Sequence[int] = 1,
        jsonrpc_ports: int | Sequence[int] = 0,
        faucet_port: int = 0,
        control_port: int = 0,
        tls: ssl.SSLContext | None = None,
        packages: Sequence[PackageInterface] = (),
        settings: LedgerSettings | None = None,
    ) -> None:
        self.settings = settings or LedgerSettings(finality_ms=finality_ms, checkpoint_ms=checkpoint_ms)
        self.calls: Counter[str] = Counter()
        self.endpoints: dict[int, Port] = {}
        self._vm = vm
        self._clock = clock
        self._packages = packages
        self._requested = _numbers(ports)
        self._requested_jsonrpc = _numbers(jsonrpc_ports)
        self._faucet_port, self._control_port = faucet_port, control_port
        self._tls = tls
        self._closing = AsyncExitStack()

    @property
    def grpc_ports(self) -> list[int]:
        return [number for number, port in self.endpoints.items() if isinstance(port, Endpoint)]

    @property
    def jsonrpc_ports(self) -> list[int]:
        return [number for number, port in self.endpoints.items() if isinstance(port, JsonRpcEndpoint)]

    @property
    def faucet_port(self) -> int:
        return self._faucet_server.port

    @property
    def control_port(self) -> int:
        return self._control_server.port

    @property
    def chain_id(self) -> str:
        """The base58 digest of the genesis checkpoint."""
        return base58(self.ledger.chain_id)

    async def start(self) -> None:
        """Create the chain and open the ports.

        Raises:
            OSError: a port is in use.
        """
        vm, packages = self._vm, self._packages
        if vm is None:
            from .genesis import framework_packages, start_vm  # noqa: PLC0415 - the VM is heavy, and optional

            vm, packages = start_vm(), [*framework_packages(), *packages]
        self._closing.push_async_callback(vm.close)
        try:
            await self._open(vm, packages)
        except BaseException:
            await self.close()
            raise

    async def _open(self, vm: MoveVm, packages: Sequence[PackageInterface]) -> None:
        self.ledger = Ledger(vm, settings=self.settings, clock=self._clock, packages=packages)
        self._faucet = Faucet(self.ledger)
        await self.ledger.start()
        self._closing.push_async_callback(self.ledger.close)
        for number in self._requested:
            await self._open_port(self._endpoint(), number, self._tls)
        for number in self._requested_jsonrpc:
            await self._open_port(JsonRpcEndpoint(self.ledger, self.calls), number, None)
        self._faucet_server = JsonServer(self._faucet.handle)
        await self._faucet_server.start(self._faucet_port)
        self._closing.push_async_callback(self._faucet_server.close)
        control = Control(self.ledger, self.endpoints, self.calls)
        self._control_server = JsonServer(control.handle)
        await self._control_server.start(self._control_port)
        self._closing.push_async_callback(self._control_server.close)

    async def _open_port(self, port: Port, number: int, tls: ssl.SSLContext | None) -> None:
        await port.start(number, tls)
        self._closing.push_async_callback(port.close)
        self.endpoints[port.port] = port

    def _endpoint(self) -> Endpoint:
        endpoint = Endpoint(self.ledger, self.calls)
        reads = LedgerService(endpoint.view)
        endpoint.add(reads.methods())
        endpoint.add(ExecutionService(endpoint.view, reads).methods())
        endpoint.add(SubscriptionService(endpoint.view, reads).methods())
        endpoint.add(StateService(endpoint.view, reads).methods())
        endpoint.add(PackageService(endpoint.view).methods())
        return endpoint

    async def close(self) -> None:
        """Close what was opened, the last first."""
        await self._closing.aclose()

    async def __aenter__(self) -> LocalSui:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def faucet(self, address: str | bytes, amount: int, *, coins: int = 1) -> list[StoredObject]:
        """Give ``coins`` new coins of ``amount`` MIST each; with ``coins=0`` credit the address balance.

        Raises:
            FaucetError: the transaction failed.
        """
        recipient = parse_address(address) if isinstance(address, str) else address
        if coins == 0:
            await self._faucet.credit(recipient, amount)
            return []
        return await self._faucet.give_coins(recipient, [amount] * coins)

    def misbehave(self, port: int, **changes: Any) -> None:
        """Change a port's misbehaviour; see :class:`.rpc.misbehaviour.Misbehaviour`.

        Raises:
            ValueError: an unknown setting.
        """
        self.endpoints[port].misbehave(changes)

    def behave(self, port: int) -> None:
        """Let a port be honest again."""
        self.endpoints[port].reform()

    def drop_streams(self, port: int) -> None:
        """Cut all connections of a port, and with them its streams."""
        self.endpoints[port].drop_connections()

    def counters(self) -> dict[str, Any]:
        return counters(self.ledger, self.calls)


def _numbers(ports: int | Sequence[int]) -> list[int]:
    return [0] * ports if isinstance(ports, int) else list(ports)
