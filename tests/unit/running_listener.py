"""The listener's replica and service over scripted ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.contract.events import API_REQUEST, event_type
from k3s_daas.contract.reader import ContractReader
from k3s_daas.sui.ledger import EventFilter, Ledger
from listener_service.api_server import ApiServer
from listener_service.blobs import BlobClient
from listener_service.claims import Claims
from listener_service.event_source import LedgerEventSource, ReplayPlan
from listener_service.executor import Executor
from listener_service.keys.keyring import Keyring
from listener_service.leadership import Leadership, Term
from listener_service.queue.memory import UNLIMITED_BYTES, Cgroup, MemoryBound
from listener_service.queue.ticket import places
from listener_service.replica import Replica
from listener_service.responder import Responder
from listener_service.service import ListenerService
from listener_service.verification import Verifier
from listener_service.windows import WindowRules
from tests.unit.contract_world import CHAIN_ID, PACKAGE
from tests.unit.listener_world import NAMESPACE, World
from tests.unit.scripted_api_server import ScriptedApiServer

LEASE = "daas-listener-test"
LEASE_S = 15


@dataclass
class Running:
    service: ListenerService
    term: Term
    stop: asyncio.Event
    task: asyncio.Task[None]


def unpressed(full_bytes: int = UNLIMITED_BYTES) -> MemoryBound:
    """A bound that this machine's memory has no say in."""
    return MemoryBound(full_bytes, Cgroup(own=Path("/dev/null")))


@asynccontextmanager
async def listener(
    world: World,
    api: ScriptedApiServer,
    *,
    identity: str = "one",
    concurrency: int = 8,
    open_calls: int = 4,
    windows: WindowRules | None = None,
    memory: MemoryBound | None = None,
    believed: Ledger | None = None,
    blobs: BlobClient | None = None,
) -> AsyncGenerator[Running, None]:
    """A running listener over the scripted ports, leading and subscribed when the block begins; drained at
    its end. `believed` is asked about the chain's state, the world's ledger for events.
    """
    believed = believed or world.ledger
    reader = ContractReader(believed, world.roots)
    live = asyncio.Event()
    services: list[ListenerService] = []
    executor = Executor(
        ApiServer(lambda: api.configuration, connections=2 * concurrency),
        concurrency=2 * concurrency,
        open_calls=open_calls,
        listener_namespace=NAMESPACE,
        clock=world.clock,
        windows=windows,
    )

    async def begin(term: Term) -> ListenerService:
        services.append(
            ListenerService(
                term=term,
                source=LedgerEventSource(
                    ledger=world.ledger,
                    event_filter=EventFilter((event_type(PACKAGE, API_REQUEST),)),
                    chain_id=CHAIN_ID,
                    replay=ReplayPlan(window_ms=840_000),
                    clock=world.clock,
                    on_live=live.set,
                ),
                verifier=Verifier(
                    ledger=believed,
                    reader=reader,
                    roots=world.roots,
                    executor=world.executor.address,
                    keyring=Keyring.of([world.sealing_key]),
                    listener_namespace=NAMESPACE,
                    clock=world.clock,
                    blobs=blobs,
                ),
                claims=Claims(world.leases, LEASE, term, world.clock),
                executor=executor,
                responder=Responder(
                    ledger=world.ledger,
                    roots=world.roots,
                    signer=world.executor,
                    gas_budget=50_000_000,
                    clock=world.clock,
                ),
                reader=reader,
                places=places(concurrency),
                memory=memory or unpressed(),
                drain_s=2.0,
                finish_s=2.0,
                clock=world.clock,
            )
        )
        return services[-1]

    leadership = Leadership(
        world.leases, LEASE, identity, LEASE_S, world.clock, boot_s=lambda: world.clock.boot_s
    )
    stop = asyncio.Event()
    task = asyncio.create_task(Replica(leadership, begin).run(stop))
    waiting = asyncio.create_task(live.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if task.done():
            task.result()
        yield Running(services[-1], services[-1].term, stop, task)
        stop.set()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
        executor.close()
