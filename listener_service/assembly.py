"""Puts the parts together from settings: the one place that knows all of them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from k3s_daas.contract.events import API_REQUEST, event_type
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import EventFilter, Ledger
from k3s_daas.sui.quorum import QuorumLedger
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from listener_service.backoff import Backoff
from listener_service.blobs import BlobClient
from listener_service.chain_tip import watch
from listener_service.chores import Chore, kept_up
from listener_service.claims import Claims
from listener_service.clock import ClusterClock
from listener_service.counts import Counts, Tally
from listener_service.event_source import ReplayPlan, Wanted, open_source
from listener_service.executor import Executor
from listener_service.keys.announcer import ChainAnnouncer
from listener_service.keys.keyring import Keyring
from listener_service.keys.rotation import KeyRotation
from listener_service.keys.secret import SecretStore
from listener_service.keys.standby import StandbyKeys
from listener_service.kube_objects import KubeObjects
from listener_service.leadership import Leadership, Term, lease_name
from listener_service.leases import KubeLeases
from listener_service.queue.memory import Cgroup, MemoryBound, full_bound
from listener_service.queue.ticket import places
from listener_service.replica import Replica
from listener_service.reply_node import ReplyNode
from listener_service.responder import Responder
from listener_service.service import ListenerService
from listener_service.settings import ListenerIdentity, ListenerSettings
from listener_service.verification import Verifier
from listener_service.vitals import Phase, SealingKeys, Vitals
from listener_service.watched_leases import WatchedLeases

_log = logging.getLogger(__name__)

_CLOCK_TOLERANCE_MS = 5_000
# Claims that are asked for at the same time; each takes the API server a few milliseconds.
_CLAIM_THREADS = 8
_CLAIM_TIMEOUT_S = 5.0
_KEYS_TIMEOUT_S = 10.0

ReadyCallback = Callable[[Mapping[str, object]], None]


@dataclass(slots=True)
class Listener:
    """A listener that is set up but not running yet."""

    replica: Replica
    ledger: Ledger
    executor: Executor
    objects: tuple[KubeLeases | SecretStore, ...]
    blobs: BlobClient | None
    reply_node: ReplyNode | None
    clock: ClusterClock
    vitals: Vitals
    standby_keys: StandbyKeys
    keyring: Keyring

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then drains and gives the lead back."""
        watching = [
            asyncio.create_task(kept_up(name, chore, self.clock)) for name, chore in self._chores().items()
        ]
        try:
            await self.replica.run(stop)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    def _chores(self) -> dict[str, Chore[NoReturn]]:
        return {
            "watch the chain's tip": partial(watch, self.ledger, self.vitals.chain, self.clock),
            "try to open keys while standing by": self.standby_keys.run,
            "erase sealing keys in time": partial(self.keyring.erase_in_time, self.clock),
        }

    async def close(self) -> None:
        """Releases connections and threads."""
        self.executor.close()
        for objects in self.objects:
            objects.close()
        if self.blobs is not None:
            self.blobs.close()
        if self.reply_node is not None:
            self.reply_node.close()
        await self.ledger.close()


@dataclass(slots=True)
class _Ready:
    """Says once that the process does what it can: it leads and hears the chain, or it stands by."""

    on_ready: ReadyCallback
    identity: ListenerIdentity
    vitals: Vitals
    said: bool = False

    def say(self, *, leading: bool) -> None:
        if leading:
            self.vitals.goes_live()
        else:
            self.vitals.stands_by()
        if not self.said:
            self.said = True
            executor, cluster = to_hex(self.identity.signer.address), to_hex(self.identity.roots.cluster)
            self.on_ready({"executor": executor, "cluster": cluster, "leading": leading})


async def assemble(
    settings: ListenerSettings,
    identity: ListenerIdentity,
    *,
    on_ready: ReadyCallback,
    ledger: Ledger | None = None,
    clock: ClusterClock | None = None,
    vitals: Vitals | None = None,
    counts: Counts | None = None,
) -> Listener:
    """Opens everything and checks it against the roots. `ledger` and `clock` replace the real ones;
    `vitals` and `counts` are told how things go.

    Raises `ConfigurationError` if something does not fit, `LedgerUnavailableError` if the endpoint is away.
    """
    clock = clock or ClusterClock()
    vitals = vitals or Vitals(settings.lease_s, settings.ready_lag_s)
    ledger = ledger or settings.endpoints.open()
    try:
        reader = ContractReader(ledger, identity.roots)
        await reader.confirm_chain()
        _check_cluster(await reader.cluster(), settings, identity)
        return _wire(
            settings,
            identity,
            ledger=ledger,
            clock=clock,
            ready=_Ready(on_ready, identity, vitals),
            counts=counts or Tally(),
        )
    except BaseException:
        await ledger.close()
        raise


def _wire(
    settings: ListenerSettings,
    identity: ListenerIdentity,
    *,
    ledger: Ledger,
    clock: ClusterClock,
    ready: _Ready,
    counts: Counts,
) -> Listener:
    vitals = ready.vitals

    def connect(connections: int, purpose: str) -> ApiServer:
        return ApiServer(
            lambda: load_configuration(settings.kubeconfig),
            connections=connections,
            called=lambda status: counts.called(purpose, status),
        )

    def objects(threads: int, timeout_s: float, purpose: str) -> KubeObjects:
        # Connections and threads of their own: neither commands nor claims keep the lead from being renewed.
        return KubeObjects(connect(threads, purpose), clock, threads=threads, timeout_s=timeout_s)

    roots, name = identity.roots, lease_name(identity.roots, identity.signer.address)
    lead_leases = KubeLeases(objects(1, settings.lease_s / 4, "lead"), settings.listener_namespace)
    claim_leases = KubeLeases(objects(_CLAIM_THREADS, _CLAIM_TIMEOUT_S, "claim"), settings.listener_namespace)
    store = SecretStore(objects(1, _KEYS_TIMEOUT_S, "keys"), settings.listener_namespace, name)
    keyring = Keyring()
    reader = ContractReader(ledger, roots)
    # As many reads and mutations as have a place in the queue, so none of them waits a second time.
    at_once = 2 * settings.concurrency
    executor = Executor(
        connect(at_once + settings.open_calls, "command"),
        concurrency=at_once,
        open_calls=settings.open_calls,
        listener_namespace=settings.listener_namespace,
        clock=clock,
    )
    blobs = None if settings.blob_places is None else BlobClient(settings.blob_places, clock=clock)
    reply_node = None if settings.reply_node is None else ReplyNode(settings.reply_node, clock=clock)
    verifier = Verifier(
        ledger=ledger,
        reader=reader,
        roots=roots,
        executor=identity.signer.address,
        keyring=keyring,
        listener_namespace=settings.listener_namespace,
        clock=clock,
        blobs=blobs,
    )
    responder = Responder(
        ledger=ledger,
        roots=roots,
        signer=identity.signer,
        gas_budget=settings.gas_budget,
        clock=clock,
        blobs=blobs,
        reply_node=reply_node,
        counts=counts,
    )
    vitals.keys = lambda: _sealing_keys(keyring, clock)
    vitals.answers_per_transaction = lambda: responder.answers_per_transaction
    vitals.dissents = lambda: _dissents(ledger)

    owner = {"cluster": to_hex(roots.cluster), "executor": to_hex(identity.signer.address)}
    standby_keys = StandbyKeys(store, identity.wrapping, owner, clock, lambda: vitals.phase is Phase.STANDBY)
    vitals.standby_keys = lambda: standby_keys.failure
    cgroup = Cgroup()
    memory = MemoryBound(full_bound(settings.queue_bytes, cgroup), cgroup)

    async def begin(term: Term) -> ListenerService:
        vitals.begins(term)
        await _check_clock(ledger, clock, term)
        rotation = KeyRotation(
            store,
            identity.wrapping,
            ChainAnnouncer(ledger, reader, roots, identity.signer),
            term,
            clock,
            owner=owner,
            period_s=settings.keys.rotation_s,
            keyring=keyring,
        )
        await rotation.prepare()
        service = ListenerService(
            term=term,
            source=open_source(
                _wanted(identity, rotation.longest_answer_ms),
                ledger,
                settings.websockets,
                clock=clock,
                on_live=lambda: ready.say(leading=True),
                on_connected=counts.connected,
            ),
            verifier=verifier,
            claims=Claims(claim_leases, name, term, clock, counts),
            executor=executor,
            responder=responder,
            reader=reader,
            places=places(settings.concurrency),
            memory=memory,
            drain_s=settings.drain_ms / 1000,
            finish_s=settings.finish_ms / 1000,
            clock=clock,
            counts=counts,
            chores={"rotate the sealing keys": rotation.run},
        )
        vitals.service = service
        return service

    def stand_by() -> None:
        keyring.forget()
        ready.say(leading=False)

    leadership = Leadership(
        leases=WatchedLeases(lead_leases, vitals.lead_calls, counts),
        name=name,
        # Unique also if a host name comes again: what another process did is not ours.
        identity=f"{socket.gethostname()}_{secrets.token_hex(8)}",
        duration_s=settings.lease_s,
        clock=clock,
        on_standby=stand_by,
    )
    replica = Replica(leadership, begin, settings.resume_after_checkpoint)
    own_objects = (lead_leases, claim_leases, store)
    return Listener(
        replica=replica,
        ledger=ledger,
        executor=executor,
        objects=own_objects,
        blobs=blobs,
        reply_node=reply_node,
        clock=clock,
        vitals=vitals,
        standby_keys=standby_keys,
        keyring=keyring,
    )


def _sealing_keys(keyring: Keyring, clock: ClusterClock) -> SealingKeys:
    if keyring.in_force is None:
        return SealingKeys(keyring.size)
    number, made_ms = keyring.in_force
    return SealingKeys(keyring.size, number, (clock.now_ms() - made_ms) / 1000)


def _dissents(ledger: Ledger) -> dict[tuple[str, str], int]:
    """By the endpoint's place in the settings, from 1, and the kind of dissent."""
    if not isinstance(ledger, QuorumLedger):
        return {}
    return {
        (str(number), kind): times
        for number, kinds in enumerate(ledger.dissents.values(), 1)
        for kind, times in kinds.items()
    }


def _wanted(identity: ListenerIdentity, longest_answer_ms: int) -> Wanted:
    roots = identity.roots
    return Wanted(
        EventFilter((event_type(roots.package_original, API_REQUEST),)),
        roots.chain_id,
        ReplayPlan(window_ms=longest_answer_ms),
    )


async def _check_clock(ledger: Ledger, clock: ClusterClock, term: Term) -> None:
    """A clock that is behind lets commands start after their `start_by`. One that is ahead only refuses."""
    backoff = Backoff(base_s=0.2, cap_s=2.0)
    while True:
        term.confirm()
        try:
            info = await ledger.service_info()
            break
        except LedgerUnavailableError as error:
            _log.warning("the chain does not tell the time, asking again", extra={"error": str(error)})
            await clock.sleep(backoff.next_delay_s())
    behind_ms = info.timestamp_ms - clock.now_ms()
    if behind_ms > _CLOCK_TOLERANCE_MS:
        raise ConfigurationError(
            f"the API server's clock is {behind_ms / 1000:.0f} s behind the chain's: set it (NTP does)"
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
            "run `daas executor add`, or use the right DAAS_EXECUTOR_KEY_FILE or DAAS_SIGNING_KMS_KEY_ID"
        )
