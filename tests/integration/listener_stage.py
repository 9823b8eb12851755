"""The listener as a process between the local chain and the in-memory Kubernetes, and a gateway's hand.

The contract, its cluster and the seals are set up as `daas up` does it. Commands are submitted as a gateway
submits them, without the gateway's own code: what is tested is what the listener does with what is on chain.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.certificates import LocalAuthority
from infra.local.kube.authentication import User
from infra.local.kube.cluster import Cluster
from infra.local.kube.server import ThreadedServer
from infra.local.stack.chain import LISTENER_NAMESPACE, Bootstrap, Chain, Services, key_file
from infra.local.stack.cluster import prepare_cluster
from infra.local.stack.kubeconfigs import token_kubeconfig
from infra.local.stack.stack import compiled_contract
from infra.local.sui.rpc.port import Port
from infra.local.sui.server import LocalSui
from k3s_daas.admin.files import write_new_secret
from k3s_daas.attributes import parse_attributes
from k3s_daas.cli.holder import Holder
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import Command, PayloadReference, execute_command
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import RequestState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import Deadlines
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import MoveAbortError
from k3s_daas.ids import new_request_id, request_id_text, to_hex
from k3s_daas.payload import join, split
from k3s_daas.sealing import SealingPrivateKey, request_info, response_info
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder
from listener_service.keys.secret import SECRET_NAME
from tests.integration.held_keys import PASSPHRASE, hold, secret_store

ADMIN_TOKEN = "administrator"
JSON = (("Accept", "application/json"), ("Content-Type", "application/json"))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Asked:
    """A submitted command, and the key that its answer is sealed for."""

    request_id: bytes
    seal: bytes
    reply_key: SealingPrivateKey


@dataclass
class Stage:
    """Everything but the listener itself."""

    sui: LocalSui
    ledger: GrpcLedger
    reader: ContractReader
    services: Services
    chain: Chain
    cluster: Cluster
    kubeconfig: Path
    directory: Path

    @property
    def listeners_port(self) -> Port:
        """The port that the listener uses; tests themselves use another one."""
        return self.sui.endpoints[self.sui.grpc_ports[0]]

    @property
    def listeners_ports(self) -> list[Port]:
        """The ports of all kinds that listeners use."""
        return [self.listeners_port, *(self.sui.endpoints[number] for number in self.sui.jsonrpc_ports)]

    def event_source(self, kind: str) -> dict[str, str]:
        """The settings of a listener that hears events by `kind`; `websocket` needs a port of its own."""
        if kind == "grpc":
            return {}
        return {
            "DAAS_EVENT_SOURCE": kind,
            "DAAS_SUI_WEBSOCKET_URL": f"ws://127.0.0.1:{self.sui.jsonrpc_ports[0]}",
        }

    def holder(self, name: str) -> Holder:
        return Holder.load(self.chain.holders[name])

    async def submit(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = JSON,
        holder: str = "operator",
        start_within_ms: int = 20_000,
        authorised: OnChainAttributes | None = None,
        payload_for: Callable[[bytes], bytes] = lambda request_id: request_id,
        payload: PayloadReference | None = None,
        envelope_with: Callable[[RequestEnvelope], RequestEnvelope] = lambda made: made,
        command_with: Callable[[Command], Command] = lambda made: made,
    ) -> Asked:
        """What a gateway does; `payload_for` seals the body for another request id, `payload` names one kept
        elsewhere, and the last two change what an honest one would send.

        Raises `MoveAbortError` if the contract refuses.
        """
        who = self.holder(holder)
        request_id, reply_key, now = new_request_id(now_ms()), SealingPrivateKey.generate(), now_ms()
        envelope = RequestEnvelope(method, path, query, tuple(headers), body, reply_key.public_bytes())
        executor = self.services.executor.address
        cluster, seal = await self.reader.cluster(), await self.reader.seal(who.seal)
        assert seal is not None
        hpke = announced_key(cluster.executors[executor], self.chain.roots)
        info = request_info(who.cluster, who.seal, payload_for(request_id))
        if authorised is None:
            attributes = parse_attributes(method, path, query)
            admission = cluster.roles[seal.role].admits(attributes, LISTENER_NAMESPACE)
            authorised = OnChainAttributes.of(attributes, admission.non_resource_url)
        command = Command.of(
            who.token(now),
            Deadlines(now + start_within_ms, now + 100_000, now + 600_000),
            request_id=request_id,
            attributes=authorised,
            executor=executor,
            payload=payload or split(hpke.seal(envelope_with(envelope).encode(), info)),
        )
        command = command_with(command)
        await self._execute(
            lambda builder: execute_command(
                builder, self.chain.roots.package_latest, cluster.ref, seal.ref, command
            ),
            nonce=int.from_bytes(request_id[-4:], "big"),
        )
        return Asked(request_id, who.seal, reply_key)

    async def _execute(self, compose: Callable[[PtbBuilder], None], nonce: int) -> None:
        builder = PtbBuilder()
        compose(builder)
        epoch = await self.ledger.epoch()
        signer = self.services.gateway
        gas = AddressBalanceGas(200_000_000, epoch.reference_gas_price, epoch.epoch, self.sui.chain_id, nonce)
        transaction = builder.build(signer.address, gas=gas)
        outcome = await self.ledger.execute(transaction, signer.sign(transaction))
        if outcome.abort is not None:
            raise MoveAbortError(outcome.abort.module, outcome.abort.code)
        assert outcome.success, outcome.failure

    async def request(self, asked: Asked) -> RequestState:
        found = await self.reader.request(asked.seal, asked.request_id)
        assert found is not None
        return found

    async def answer(self, asked: Asked, seconds: float = 20.0) -> ResponseEnvelope:
        """The opened answer, as soon as it is on chain."""
        async with asyncio.timeout(seconds):
            while (state := await self.request(asked)).response is None:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.01)
        transaction = await self.ledger.get_signed_transaction(state.previous_transaction)
        assert transaction is not None
        chunks = self.reader.response_payload(transaction, asked.request_id, state.response.response_hash)
        info = response_info(self.chain.roots.cluster, asked.seal, asked.request_id)
        envelope = ResponseEnvelope.decode(asked.reply_key.open(join(chunks), info))
        assert envelope.status == state.response.status_code
        return envelope

    async def ask(self, method: str, path: str, query: str = "", **options: Any) -> ResponseEnvelope:
        """`submit`, then `answer`."""
        return await self.answer(await self.submit(method, path, query, **options))

    def keys_secret(self) -> dict[str, Any]:
        """The Secret with the sealing keys, as it is stored."""
        found = self.cluster.store.get(("", "secrets"), LISTENER_NAMESPACE, SECRET_NAME)
        assert found is not None
        return dict(found)

    def runs(self, asked: Asked) -> int:
        """How often the API server saw this request, by its audit log."""
        wanted = [request_id_text(asked.request_id)]

        def is_it(entry: dict[str, object]) -> bool:
            user = entry.get("impersonatedUser")
            return isinstance(user, dict) and user["extra"].get("daas.io/request-id") == wanted

        return len(self.cluster.audit.find(is_it))

    def environment(self, **changes: str) -> dict[str, str]:
        keys = self.directory / "keys"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {
            **clean,
            "DAAS_TRUST_ROOTS_FILE": str(self.directory / "roots.json"),
            "DAAS_SUI_ENDPOINT": f"http://127.0.0.1:{self.sui.grpc_ports[0]}",
            "DAAS_SINGLE_ENDPOINT": "development",
            "DAAS_EXECUTOR_KEY_FILE": str(keys / "executor.key"),
            "DAAS_PLAIN_EXECUTOR_KEY": "development",
            "DAAS_KEY_PASSPHRASE_FILE": str(keys / "passphrase"),
            "DAAS_LISTENER_NAMESPACE": LISTENER_NAMESPACE,
            "KUBECONFIG": str(self.kubeconfig),
            **changes,
        }

    @asynccontextmanager
    async def listener(self, **changes: str) -> AsyncGenerator[Process, None]:
        """The listener as a process of its own, ready; ended by SIGTERM unless the test ended it."""
        process = Process(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "listener_service",
                env=self.environment(**changes),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )
        try:
            await process.ready()
            yield process
        finally:
            await process.end(signal.SIGTERM)


class Process:
    """A running listener and what it logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.facts: dict[str, Any] = {}
        self.logged: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self._follower = asyncio.create_task(self._follow())

    async def ready(self) -> dict[str, Any]:
        """What the ready line says, also kept in `facts`."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(40):
                line = await self.process.stdout.readline()
        except TimeoutError as error:
            raise AssertionError(f"the listener is not ready: {self.other_lines} {self.logged}") from error
        if not line:
            await self.process.wait()
            await self._follower
            raise AssertionError(f"the listener did not start: {self.other_lines} {self.logged}")
        ready: dict[str, Any] = json.loads(line)
        assert ready["ready"] is True
        self.facts = ready
        return ready

    async def _follow(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.logged.append(json.loads(line))
            except ValueError:
                self.other_lines.append(line.decode())

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Sends the signal to a process that still runs; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await self.process.wait()
        await self._follower
        return code

    def messages(self) -> list[str]:
        return [str(line["message"]) for line in self.logged]


@asynccontextmanager
async def stage(directory: Path, *, ports: int = 2, jsonrpc_ports: int = 0) -> AsyncGenerator[Stage, None]:
    """Chain, contract, cluster and Kubernetes; fast: 20 ms finality, checkpoints every 20 ms.

    The last of `ports` is the set-up's own; the others are for the listener.
    """
    keys = directory / "keys"
    keys.mkdir()
    authority = LocalAuthority(directory / "authority")
    certificate = authority.issue("kubernetes")
    cluster = Cluster({ADMIN_TOKEN: User("admin", ("system:masters",))})
    with ThreadedServer(cluster, certificate.certificate, certificate.key) as kubernetes:
        admin = directory / "admin.kubeconfig"
        entry = {"server": kubernetes.url, "certificate-authority": str(authority.certificate_file)}
        admin.write_text(token_kubeconfig(entry, "admin", ADMIN_TOKEN))
        sui = LocalSui(finality_ms=20, checkpoint_ms=20, ports=ports, jsonrpc_ports=jsonrpc_ports)
        async with sui:
            ledger = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[-1]}")
            sealing = SealingPrivateKey.generate()
            services = Services(
                gateway=key_file(keys / "gateway.key"),
                executor=key_file(keys / "executor.key"),
                sealing=sealing,
            )
            write_new_secret(keys / "passphrase", PASSPHRASE.decode())
            try:
                bootstrap = Bootstrap(ledger, keys, services, f"http://127.0.0.1:{sui.faucet_port}")
                chain = await bootstrap.run(compiled_contract(), now_ms)
                chain.roots.dump(directory / "roots.json")
                owners = [f"sui:{to_hex(address)}" for address in chain.addresses.values()]
                kubeconfig = await asyncio.to_thread(
                    prepare_cluster, admin, LISTENER_NAMESPACE, owners, directory / "listener.kubeconfig"
                )
                executor = services.executor.address
                store = secret_store(kubeconfig, LISTENER_NAMESPACE, chain.roots, executor)
                await hold(store, chain.roots, executor, sealing, now_ms())
                store.close()
                reader = ContractReader(ledger, chain.roots)
                yield Stage(sui, ledger, reader, services, chain, cluster, kubeconfig, directory)
            finally:
                await ledger.close()
