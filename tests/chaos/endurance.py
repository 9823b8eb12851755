"""A listener over an instant ledger, in a process whose memory and files are only its own.

``python -m tests.chaos.endurance --commands N --api-port P``: prints one JSON line with what it measured. The
listener is put together as `python -m listener_service` does it. The commands' way onto the ledger runs in
this process too, without a gateway; its time is measured, so that it can be told from the listener's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.stack.kubeconfigs import token_kubeconfig
from k3s_daas.bearer import mint
from k3s_daas.contract.calls import Command, execute_command
from k3s_daas.contract.objects import ClusterState, RequestState, SessionState
from k3s_daas.deadlines import Deadlines
from k3s_daas.envelope import RequestEnvelope
from k3s_daas.ids import new_request_id
from k3s_daas.payload import split
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey, request_info
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.ledger import ChainObject, ExecutionOutcome
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder
from listener_service import logs
from listener_service.assembly import assemble
from listener_service.keys.secret import SECRET_NAME
from listener_service.keys.settings import KeySettings
from listener_service.settings import ListenerIdentity, ListenerSettings
from tests.bench.usage import resident_mb
from tests.instant.api_server import NAMESPACE
from tests.instant.ledger import InstantLedger
from tests.integration.listener_stage import now_ms
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER,
    CLUSTER_REF,
    HOUR_MS,
    PACKAGE,
    POLICY,
    SEAL,
    SEAL_REF,
    SUI,
    announced,
    cluster_state,
    seal_state,
    trust_roots,
)
from tests.unit.listener_world import on_chain
from tests.unit.memory_keys import MemoryWrapping, hold

HTTP_OK = 200
PARTS = 4
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
# Of so many commands one is a mutation.
ONE_MUTATION_IN = 4
AT_ONCE = 16
# The contract's shortest that leaves time on a busy machine; claims are dealt with by the minute.
START_WITHIN_MS = 10_000
REMEMBERED = 400
SAMPLE_EVERY = 50


class ForgetfulLedger(InstantLedger):
    """Keeps no more than the last requests, as a node does that prunes, so its own size does not grow."""

    def __init__(self, cluster: ClusterState) -> None:
        super().__init__(cluster)
        self.spent_s = 0.0
        self._waiting: dict[bytes, asyncio.Future[int]] = {}
        self._digests: deque[str] = deque()
        self._requests: deque[tuple[bytes, bytes, bytes]] = deque()
        self._stored = b""

    async def answered(self, transaction: bytes, signature: bytes, request_id: bytes) -> int:
        """Executes a command; the status of its answer, once it is there."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        try:
            await self.execute(transaction, signature)
            status = await answer
        finally:
            del self._waiting[request_id]
        return status

    def put(self, found: ChainObject) -> None:
        super().put(found)
        self._stored = found.id

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        began = time.thread_time()
        outcome = await super().execute(transaction, signature)
        assert outcome.success, outcome
        self._forget(outcome.digest)
        self.spent_s += time.thread_time() - began
        return outcome

    def _keep(self, request: RequestState, seal: bytes) -> None:
        super()._keep(request, seal)
        if request.response is None:
            self._requests.append((seal, request.request_id, self._stored))
        elif not (answer := self._waiting[request.request_id]).done():
            answer.set_result(request.response.status_code)

    def _forget(self, digest: str) -> None:
        self._digests.append(digest)
        if len(self._digests) > REMEMBERED:
            del self.transactions[self._digests.popleft()]
        if len(self._requests) > REMEMBERED:
            seal, request_id, stored = self._requests.popleft()
            del self._state.requests[seal, request_id], self.objects[stored]
        self.events.clear()
        self.executions.clear()


class Gateway:
    """What a gateway puts on the ledger, and the time that it takes for it."""

    def __init__(
        self, ledger: ForgetfulLedger, signer: FileSigner, executor: bytes, key: SealingPublicKey
    ) -> None:
        self.spent_s = 0.0
        self._ledger = ledger
        self._signer = signer
        self._executor = executor
        self._key = key
        self._session = Ed25519PrivateKey.generate()
        self._reply_key = SealingPrivateKey.generate().public_bytes()
        self._token = mint(self._session, cluster=CLUSTER, seal=SEAL, gateway=signer.address, now_ms=now_ms())
        session = SessionState(now_ms() + 2 * HOUR_MS, False, ())
        sessions = {self._session.public_key().public_bytes_raw(): session}
        ledger.put_seal(seal_state(sessions=sessions, stake=50 * SUI, expires_at_ms=now_ms() + 2 * HOUR_MS))

    async def command(self, number: int) -> int:
        """The status of the answer."""
        began = time.thread_time()
        request_id = new_request_id(now_ms())
        transaction = self._transaction(number, request_id)
        signature = self._signer.sign(transaction)
        self.spent_s += time.thread_time() - began
        return await self._ledger.answered(transaction, signature, request_id)

    def _transaction(self, number: int, request_id: bytes) -> bytes:
        method, path, body = "GET", f"{CONFIG_MAPS}/one", b""
        if number % ONE_MUTATION_IN == 0:
            method, path, body = "POST", CONFIG_MAPS, b'{"metadata":{"generateName":"many-"}}'
        headers = (("Accept", "application/json"), ("Content-Type", "application/json"))
        envelope = RequestEnvelope(method, path, "", headers, body, self._reply_key)
        start_by_ms, finish_by_ms, answer_by_ms = (now_ms() + part * START_WITHIN_MS for part in (1, 2, 3))
        command = Command.of(
            self._token,
            Deadlines(start_by_ms, finish_by_ms, answer_by_ms),
            request_id=request_id,
            attributes=on_chain(method, path, ""),
            executor=self._executor,
            payload=split(self._key.seal(envelope.encode(), request_info(CLUSTER, SEAL, request_id))),
        )
        builder = PtbBuilder()
        execute_command(builder, PACKAGE, CLUSTER_REF, SEAL_REF, command)
        gas = AddressBalanceGas(50_000_000, 1_000, 7, CHAIN_ID, number)
        return builder.build(self._signer.address, gas=gas)


@dataclass
class Measured:
    """What the process used, in the first and the last quarter of the commands."""

    commands: int
    refused: int
    seconds: float
    listener_ms: float
    """CPU for one command, without that of ledger and gateway."""
    resident_mb: list[float]
    """The median of each quarter."""
    files: tuple[int, int]
    """Open when a quarter was done, and in the end."""
    tasks: tuple[int, int]


async def measure(commands: int, port: int, directory: Path) -> Measured:
    """Runs so many commands, `AT_ONCE` at a time."""
    gateway_key, executor = (FileSigner(Ed25519PrivateKey.generate()) for _ in range(2))
    sealing_key = SealingPrivateKey.generate()
    ledger = ForgetfulLedger(
        cluster_state(
            executors=[announced(executor, sealing_key)],
            gateways=[gateway_key.address],
            namespace=NAMESPACE,
            policy=replace(POLICY, commands_per_minute=1_000_000_000, deposit_per_day=1_000_000 * SUI),
        )
    )
    roots = trust_roots(gateway_key, executor)
    gateway = Gateway(ledger, gateway_key, executor.address, sealing_key.public_key)
    wrapping = _hold(port, roots, executor.address, sealing_key)
    stop, live = asyncio.Event(), asyncio.Event()
    listener = await assemble(
        _settings(port, directory),
        ListenerIdentity(roots, executor, wrapping),
        on_ready=lambda _: live.set(),
        ledger=ledger,
    )
    running = asyncio.create_task(listener.run(stop))
    await live.wait()
    try:
        return await _measured(gateway, ledger, commands)
    finally:
        stop.set()
        await running
        await listener.close()


async def _measured(gateway: Gateway, ledger: ForgetfulLedger, commands: int) -> Measured:
    samples: list[float] = []
    opened: list[tuple[int, int]] = []
    refused = 0

    async def caller(left: Iterator[int]) -> None:
        nonlocal refused
        for number in left:
            refused += await gateway.command(number) != HTTP_OK
            if number % SAMPLE_EVERY == 0:
                samples.append(resident_mb({"listener": os.getpid()})["listener"])

    began, cpu = time.perf_counter(), time.process_time()
    others = gateway.spent_s + ledger.spent_s
    for part in range(PARTS):
        left = iter(range(commands * part // PARTS, commands * (part + 1) // PARTS))
        await asyncio.gather(*(caller(left) for _ in range(AT_ONCE)))
        opened.append(_open())
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    others = gateway.spent_s + ledger.spent_s - others
    size = len(samples) // PARTS
    return Measured(
        commands=commands,
        refused=refused,
        seconds=seconds,
        listener_ms=(cpu - others) * 1000 / commands,
        resident_mb=[median(samples[size * part : size * (part + 1)]) for part in range(PARTS)],
        files=(opened[0][0], opened[-1][0]),
        tasks=(opened[0][1], opened[-1][1]),
    )


def _open() -> tuple[int, int]:
    """Files and tasks, when nothing is in work."""
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


def _hold(port: int, roots: TrustRoots, executor: bytes, key: SealingPrivateKey) -> MemoryWrapping:
    """Puts the Secret with the sealing key where the listener looks for it."""
    secret = {"metadata": {"name": SECRET_NAME, "resourceVersion": "1"}}
    wrapping = hold(secret, roots, executor, key, now_ms())
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET_NAME}", json.dumps(secret))
    assert connection.getresponse().status == HTTP_OK
    connection.close()
    return wrapping


def _settings(port: int, directory: Path) -> ListenerSettings:
    kubeconfig = directory / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(token_kubeconfig({"server": f"http://127.0.0.1:{port}"}, "listener", "token"))
    return ListenerSettings(
        trust_roots_file=Path("unused"),
        endpoints=SuiEndpoints(("http://127.0.0.1:1",)),
        keys=KeySettings(),
        kubeconfig=kubeconfig,
        listener_namespace=NAMESPACE,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.endurance", description=__doc__)
    parser.add_argument("--commands", type=int, required=True)
    parser.add_argument("--api-port", type=int, required=True)
    options = parser.parse_args()
    # As the process configures it; what it writes goes to stderr.
    logs.configure("info")
    with tempfile.TemporaryDirectory() as directory:
        measured = asyncio.run(measure(options.commands, options.api_port, Path(directory)))
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
