"""The gateway in front of the compiled contract in the real Move VM, with a small executor that answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
from chalicelib.discovery_shelf import DynamoDbShelf
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.gateway import Gateway
from chalicelib.leftovers import DynamoDbLeftovers
from chalicelib.loop import EventLoopThread
from chalicelib.parking_keys import ParkingKeys
from chalicelib.routes import create_app
from chalicelib.settings import GatewaySettings
from chalicelib.trust_roots import RootsFile
from chalicelib.windows import DynamoDbWindows
from moto import mock_aws

from infra.local.aws import create_parking_key, create_request_table, create_signing_key
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from infra.local.stack.chain import Bootstrap, Chain, Services
from infra.local.stack.stack import compiled_contract
from infra.local.sui.server import LocalSui
from k3s_daas.cli.holder import Holder
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.payload import join, split
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info, response_info
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.ledger import EventFilter
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import PtbBuilder
from k3s_daas.sui.wallet import Wallet

PODS = "/api/v1/namespaces/default/pods"


class MovedClock:
    """The machine's time, and what a test has moved it ahead: the chain's and the gateway's clock."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


@dataclass
class Answering:
    """An executor without a cluster: it answers each command with what it was asked."""

    ledger: GrpcLedger
    services: Services
    chain: Chain
    ran: list[tuple[str, str]] = field(default_factory=list)
    silent: bool = False

    async def run(self, subscribed: asyncio.Event) -> None:
        roots = self.chain.roots
        reader = ContractReader(self.ledger, roots)
        wallet = Wallet(self.ledger, self.services.executor)
        wanted = EventFilter((event_type(roots.package_original, API_REQUEST),))
        async with aclosing(self.ledger.subscribe_events(wanted)) as frames:
            async for frame in frames:
                subscribed.set()
                if frame.event is None or self.silent:
                    continue
                requested = ApiRequested.decode(frame.event.contents)
                transaction = await self.ledger.get_signed_transaction(frame.event.transaction_digest)
                assert transaction is not None
                chunks = reader.request_payload(transaction, requested.request_id, requested.payload_hash)
                await self._answer(wallet, requested, join(chunks))

    async def _answer(self, wallet: Wallet, requested: ApiRequested, sealed: bytes) -> None:
        names = (requested.cluster, requested.seal, requested.request_id)
        assert self.services.sealing is not None
        request = RequestEnvelope.decode(self.services.sealing.open(sealed, request_info(*names)))
        self.ran.append((request.method, request.path))
        headers = (("Content-Type", "application/json"),)
        body = json.dumps({"method": request.method, "path": request.path}).encode()
        reply_key = SealingPublicKey.from_bytes(request.reply_key)
        answer = reply_key.seal(ResponseEnvelope(200, headers, body).encode(), response_info(*names))
        cluster, seal = await self._refs(requested)

        def compose(builder: PtbBuilder) -> None:
            response = calls.Response(requested.request_id, 200, split(answer))
            calls.store_response(builder, self.chain.roots.package_latest, cluster, seal, response)

        await wallet.run(compose)

    async def _refs(self, requested: ApiRequested) -> tuple[SharedRef, SharedRef]:
        found = await self.ledger.get_objects([requested.cluster, requested.seal])
        cluster, seal = (SharedRef.of(one) for one in found if one is not None)
        return cluster, seal


@dataclass
class Stage:
    """Chain, executor and gateway, each on a loop of its own."""

    sui: LocalSui
    sui_loop: EventLoopThread
    chain: Chain
    services: Services
    keys: Path
    executor: Answering
    gateway: Gateway
    logged: list[str]
    clock: MovedClock
    dynamodb: Any
    make_gateway: Callable[[dict[str, Any]], Gateway]

    @property
    def port(self) -> int:
        return self.sui.grpc_ports[0]

    def calls(self, method: str) -> int:
        return self.sui.calls[method]

    def send(
        self,
        target: str,
        method: str = "GET",
        body: bytes = b"",
        *,
        holder: str = "operator",
        gateway: Gateway | None = None,
    ) -> HttpReply:
        served = gateway or self.gateway
        settings = Holder.load(self.chain.holders[holder])
        token = settings.token(self.clock.now_ms())
        door = StrictGateway(create_app(lambda: served, self.clock.now_ms), now_ms=self.clock.now_ms)
        return door.handle(
            HttpRequest(method, target, (("Authorization", f"Bearer {token.encode()}"),), body)
        )

    def gateway_with(self, **changes: Any) -> Gateway:
        """Another gateway on the same table, key and endpoint, with other settings."""
        return self.make_gateway(changes)

    def misbehave(self, **changes: Any) -> None:
        async def change() -> None:
            self.sui.misbehave(self.port, **changes)

        self.sui_loop.run(change())


@contextmanager
def gateway_stage(
    keys: Path,
    *,
    admission_ttl_ms: int,
    deadlines: DeadlineSettings | None = None,
    finality_ms: int = 20,
    checkpoint_ms: int = 10,
) -> Iterator[Stage]:
    """Everything started and set up; `keys` is an empty directory. Finality and checkpoints are slower only
    once it is: setting up is no part of any test."""
    clock = MovedClock()
    sui_loop, gateway_loop = EventLoopThread(), EventLoopThread()
    sui = LocalSui(clock=clock, finality_ms=20, checkpoint_ms=10, ports=2)
    sui_loop.run(sui.start())
    with mock_aws():
        session = boto3.session.Session("local", "local", region_name="us-east-1")
        dynamodb, kms = session.client("dynamodb"), session.client("kms")
        create_request_table(dynamodb, "requests")
        services = Services(
            KmsSigner(kms, create_signing_key(kms)),
            FileSigner.generate(keys / "executor.key"),
            SealingPrivateKey.generate(),
        )
        # The second port is the set-up's and the executor's: only the gateway's misbehaves.
        ours = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[1]}")
        bootstrap = Bootstrap(ours, keys, services, f"http://127.0.0.1:{sui.faucet_port}")
        chain = sui_loop.run(bootstrap.run(compiled_contract(), clock.now_ms))
        executor = Answering(ours, services, chain)

        async def start() -> asyncio.Task[None]:
            subscribed = asyncio.Event()
            task = asyncio.create_task(executor.run(subscribed))
            await subscribed.wait()
            return task

        answering = sui_loop.run(start())
        ledger = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[0]}")
        logged: list[str] = []
        parking_keys = ParkingKeys.from_kms(kms, create_parking_key(kms))
        settings = GatewaySettings(
            trust_roots=RootsFile(keys / "unused"),
            endpoints=SuiEndpoints(("unused",)),
            request_table="requests",
            kms_key_id="unused",
            parking_key_id="unused",
            executor=services.executor.address,
            deadlines=deadlines or DeadlineSettings(),
            admission_ttl_ms=admission_ttl_ms,
        )

        def make_gateway(changes: dict[str, Any]) -> Gateway:
            return Gateway(
                settings=replace(settings, **changes),
                roots=chain.roots,
                ledger=ledger,
                loop=gateway_loop,
                store=DynamoDbRequestStore(dynamodb, "requests"),
                signer=services.gateway,
                parking_keys=parking_keys,
                windows=DynamoDbWindows(dynamodb, "requests", clock.now_ms),
                leftovers=DynamoDbLeftovers(dynamodb, "requests"),
                shelf=DynamoDbShelf(dynamodb, "requests", parking_keys),
                now_ms=clock.now_ms,
                log=logged.append,
            )

        sui.ledger.settings = replace(
            sui.ledger.settings, finality_ms=finality_ms, checkpoint_ms=checkpoint_ms
        )
        yield Stage(
            sui,
            sui_loop,
            chain,
            services,
            keys,
            executor,
            make_gateway({}),
            logged,
            clock,
            dynamodb,
            make_gateway,
        )

        async def end() -> None:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            await ours.close()
            await sui.close()

        gateway_loop.run(ledger.close())
        sui_loop.run(end())
    gateway_loop.close()
    sui_loop.close()
