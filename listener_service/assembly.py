"""Puts the parts together from settings: the one place that knows all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from k3s_daas.contract.events import API_REQUEST, event_type
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, UntrustedKeyError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import EventFilter, Ledger, ServiceInfo
from k3s_daas.sui.quorum import QuorumLedger
from listener_service.api_server import ApiServer, load_configuration
from listener_service.blobs import BlobClient
from listener_service.clock import Clock, SystemClock
from listener_service.event_source import EventSource, LedgerEventSource, MergedEventSource, ReplayPlan
from listener_service.executor import Executor
from listener_service.journal import Journal
from listener_service.journal_writer import JournalWriter
from listener_service.responder import Responder
from listener_service.service import ListenerService
from listener_service.settings import ListenerIdentity, ListenerSettings
from listener_service.verification import Verifier

_log = logging.getLogger(__name__)

_CLOCK_TOLERANCE_MS = 5_000

ReadyCallback = Callable[[Mapping[str, object]], None]


@dataclass(slots=True)
class Listener:
    """A listener that is set up but not running yet."""

    service: ListenerService
    ledger: Ledger
    journal: JournalWriter
    executor: Executor
    blobs: BlobClient | None
    watermark: int | None

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then drains."""
        await self.service.run(stop, watermark=self.watermark)

    async def close(self) -> None:
        """Releases connections, threads and files."""
        self.executor.close()
        if self.blobs is not None:
            self.blobs.close()
        await self.journal.close()
        await self.ledger.close()


async def assemble(
    settings: ListenerSettings,
    identity: ListenerIdentity,
    *,
    on_ready: ReadyCallback,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
) -> Listener:
    """Opens everything and checks it against the roots. `ledger` and `clock` replace the real ones.

    Raises `ConfigurationError` if something does not fit, `LedgerUnavailableError` if the endpoint is away.
    """
    clock = clock or SystemClock()
    roots = identity.roots
    api_server = ApiServer(
        lambda: load_configuration(settings.kubeconfig),
        connections=settings.concurrency + settings.open_calls,
    )
    ledger = ledger or settings.endpoints.open()
    journal: JournalWriter | None = None
    try:
        info = await ledger.service_info()
        _check_clock(info, clock)
        reader = ContractReader(ledger, roots)
        await reader.confirm_chain()
        cluster = await reader.cluster()
        _check_cluster(cluster, settings, identity)
        journal = JournalWriter(Journal(settings.state_dir, chain_id=roots.chain_id, cluster=roots.cluster))
        watermark = await _watermark(journal, settings)
        birth_ms = await journal.birth_ms(info.timestamp_ms)
    except BaseException:
        if journal is not None:
            await journal.close()
        await ledger.close()
        raise
    executor = Executor(
        api_server,
        concurrency=settings.concurrency,
        open_calls=settings.open_calls,
        listener_namespace=settings.listener_namespace,
        clock=clock,
    )
    blobs = None if settings.blob_places is None else BlobClient(settings.blob_places, clock=clock)
    service = ListenerService(
        source=_source(ledger, identity, cluster, clock, on_ready),
        verifier=Verifier(
            ledger=ledger,
            reader=reader,
            roots=roots,
            executor=identity.signer.address,
            sealing_key=identity.sealing_key,
            listener_namespace=settings.listener_namespace,
            clock=clock,
            blobs=blobs,
        ),
        journal=journal,
        executor=executor,
        responder=Responder(
            ledger=ledger,
            roots=roots,
            signer=identity.signer,
            gas_budget=settings.gas_budget,
            clock=clock,
            blobs=blobs,
        ),
        reader=reader,
        concurrency=settings.concurrency,
        drain_s=settings.drain_ms / 1000,
        birth_ms=birth_ms,
        clock=clock,
    )
    return Listener(service, ledger, journal, executor, blobs, watermark)


def _source(
    ledger: Ledger, identity: ListenerIdentity, cluster: ClusterState, clock: Clock, on_ready: ReadyCallback
) -> EventSource:
    """One source for each endpoint. Ready is who hears a quorum of them."""
    members, quorum = (ledger.members, ledger.quorum) if isinstance(ledger, QuorumLedger) else ((ledger,), 1)
    live: set[int] = set()
    announced = False

    def on_live(number: int) -> None:
        nonlocal announced
        live.add(number)
        if len(live) >= quorum and not announced:
            announced = True
            on_ready({"executor": to_hex(identity.signer.address), "cluster": to_hex(identity.roots.cluster)})

    sources = [
        LedgerEventSource(
            ledger=member,
            event_filter=EventFilter((event_type(identity.roots.package_original, API_REQUEST),)),
            chain_id=identity.roots.chain_id,
            replay=ReplayPlan(window_ms=cluster.policy.max_answer_ms),
            clock=clock,
            on_live=partial(on_live, number),
        )
        for number, member in enumerate(members)
    ]
    return sources[0] if len(sources) == 1 else MergedEventSource(sources, quorum)


def _check_clock(info: ServiceInfo, clock: Clock) -> None:
    """A clock that is behind lets commands start after their `start_by`. One that is ahead only refuses."""
    behind_ms = info.timestamp_ms - clock.now_ms()
    if behind_ms > _CLOCK_TOLERANCE_MS:
        raise ConfigurationError(
            f"this machine's clock is {behind_ms / 1000:.0f} s behind the chain's: set it (NTP does)"
        )


def _check_cluster(cluster: ClusterState, settings: ListenerSettings, identity: ListenerIdentity) -> None:
    if cluster.listener_namespace != settings.listener_namespace:
        raise ConfigurationError(
            f"DAAS_LISTENER_NAMESPACE is {settings.listener_namespace}, but the cluster's contract protects "
            f"{cluster.listener_namespace}: they must be the same namespace"
        )
    address = identity.signer.address
    registered = cluster.executors.get(address)
    if registered is None:
        raise ConfigurationError(
            f"the executor {to_hex(address)} is not registered in the cluster: "
            "run `daas executor add`, or use the right DAAS_EXECUTOR_KEY_FILE"
        )
    try:
        announced = announced_key(registered, identity.roots)
    except UntrustedKeyError as error:
        raise ConfigurationError(f"no gateway would seal for this listener: {error}") from error
    if announced.to_bytes() != identity.sealing_key.public_bytes():
        raise ConfigurationError(
            "the key in DAAS_SEALING_KEY_FILE is not the one announced on chain (generation "
            f"{registered.generation}), so no request could be opened: run `daas executor rotate`"
        )


async def _watermark(journal: JournalWriter, settings: ListenerSettings) -> int | None:
    """The stored one, or a later one that the operator chose."""
    stored = await journal.watermark()
    chosen = settings.resume_after_checkpoint
    if chosen is None or (stored is not None and stored >= chosen):
        return stored
    _log.warning("events are skipped on the operator's word", extra={"stored": stored, "until": chosen})
    return chosen
