"""The gateway, put together from its collaborators: what answers requests, and what runs on a schedule.

A request's way is told in `request_handler`, a command's in `command_runner`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from chalicelib.callers import FailedTransactions, Sources
from chalicelib.chain import SEAL_CAPACITY, ChainView
from chalicelib.command_answer import CommandAnswers
from chalicelib.command_runner import CommandRunner
from chalicelib.command_submission import CommandSubmission
from chalicelib.discovery_cache import DiscoveryCache
from chalicelib.discovery_replies import DiscoveryReplies
from chalicelib.discovery_shelf import DiscoveryShelf
from chalicelib.http_request import GatewayRequest
from chalicelib.joined_reads import JoinedReads
from chalicelib.journey import Log, log_to_stderr
from chalicelib.leftovers import Leftovers
from chalicelib.loop import EventLoopThread
from chalicelib.metrics import Metrics
from chalicelib.open_requests import OpenRequests
from chalicelib.parking import Parking
from chalicelib.parking_keys import ParkingKeys
from chalicelib.reclaim import Reclaimed, Reclaimer
from chalicelib.replies import GatewayReply
from chalicelib.reporting import Reporter
from chalicelib.request_admission import RequestAdmission
from chalicelib.request_handler import RequestHandler
from chalicelib.request_store import RequestStore
from chalicelib.scheduled import ScheduledDuties
from chalicelib.sealing_keys import SealingKeys
from chalicelib.settings import GatewaySettings
from chalicelib.shared_discovery import SharedDiscovery
from chalicelib.sizes import Reading
from chalicelib.submission import Submitter
from chalicelib.sweeper import Sweep, Sweeper
from chalicelib.tally import CommandTally
from chalicelib.waiting import AnswerWaiter
from chalicelib.windows import Windows
from k3s_daas.blobs.store import BlobStore
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import DaasError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.signers import TransactionSigner

# The caller has his answer already, but Lambda gives it out only when this is done.
READINGS_S = 0.1
# Nobody waits for it, but the function that refreshes itself serves nobody else meanwhile.
REFRESH_S = 5.0


class Gateway:
    """Answers requests; safe to call from many threads. All that reaches outside is given to it."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        roots: TrustRoots,
        ledger: Ledger,
        loop: EventLoopThread,
        store: RequestStore,
        signer: TransactionSigner,
        parking_keys: ParkingKeys,
        windows: Windows,
        leftovers: Leftovers,
        shelf: DiscoveryShelf,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        log: Log = log_to_stderr,
        refusal_log: Log = log_to_stderr,
        metric_log: Log = log_to_stderr,
        function: str = "gateway",
        blobs: BlobStore | None = None,
    ) -> None:
        deadlines = settings.deadlines
        state_ttl_s = settings.admission_ttl_ms / 1000
        reader = ContractReader(ledger, roots)
        metrics = Metrics(metric_log, now_ms, function)
        parking = Parking(store=store, keys=parking_keys, deadlines=deadlines, now_ms=now_ms)
        waiter = AnswerWaiter(
            ledger, reader, executor=settings.executor, executor_key=roots.executors[settings.executor]
        )
        self._loop = loop
        self._executor = settings.executor
        self._chain = ChainView(ledger, ContractReader(JoinedReads(ledger), roots), ttl_s=state_ttl_s)
        self._keys = SealingKeys(roots)
        self._tally = CommandTally(keep_s=2 * state_ttl_s, capacity=SEAL_CAPACITY)
        self._sources = Sources(settings, windows, now_ms=now_ms, log=log)
        self._failed = FailedTransactions(settings, windows, now_ms=now_ms, log=log)
        self._open_requests = OpenRequests(
            windows, per_minute=settings.watches_per_minute, places=settings.open_requests
        )
        self._discovery = DiscoveryReplies(
            DiscoveryCache(ttl_s=settings.discovery_ttl_ms / 1000, max_bytes=settings.discovery_max_bytes),
            SharedDiscovery(
                shelf,
                ttl_ms=settings.discovery_ttl_ms,
                exchange_ms=deadlines.lambda_timeout_ms,
                now_ms=now_ms,
                log=log,
            ),
            roots.cluster,
        )
        submitter = Submitter(
            ledger=ledger, loop=loop, chain=self._chain, store=store, signer=signer, now_ms=now_ms, log=log
        )
        self._requests = RequestHandler(
            deadlines=deadlines,
            sources=self._sources,
            admission=RequestAdmission(
                settings=settings,
                roots=roots,
                gateway=signer.address,
                loop=loop,
                chain=self._chain,
                keys=self._keys,
                tally=self._tally,
                now_ms=now_ms,
            ),
            discovery=self._discovery,
            commands=CommandRunner(
                store=store,
                parking=parking,
                failed=self._failed,
                open_requests=self._open_requests,
                submission=CommandSubmission(
                    settings=settings,
                    roots=roots,
                    sender=signer.address,
                    store=store,
                    parking=parking,
                    submitter=submitter,
                    open_requests=self._open_requests,
                    tally=self._tally,
                    blobs=blobs,
                    now_ms=now_ms,
                ),
                answers=CommandAnswers(
                    cluster=roots.cluster,
                    deadlines=deadlines,
                    loop=loop,
                    ledger=ledger,
                    reader=reader,
                    store=store,
                    parking=parking,
                    waiter=waiter,
                    blobs=blobs,
                    now_ms=now_ms,
                    log=log,
                ),
            ),
            reporter=Reporter(metrics, self._readings),
            now_ms=now_ms,
            log=log,
            refusal_log=refusal_log,
        )
        self._scheduled = ScheduledDuties(
            sweeper=Sweeper(
                store=store,
                ledger=ledger,
                reader=reader,
                loop=loop,
                submitter=submitter,
                deadlines=deadlines,
                now_ms=now_ms,
                log=log,
            ),
            reclaimer=Reclaimer(
                leftovers=leftovers,
                ledger=ledger,
                reader=reader,
                chain=self._chain,
                loop=loop,
                signer=signer,
                roots=roots,
                gas_budget=settings.gas_budget,
                log=log,
            ),
            ledger=ledger,
            loop=loop,
            payer=signer.address,
            metrics=metrics,
        )

    def handle(self, request: GatewayRequest) -> GatewayReply:
        """See `RequestHandler.handle`."""
        return self._requests.handle(request)

    def refuse(self, source: str, api_request_id: str | None, error: DaasError) -> GatewayReply:
        """See `RequestHandler.refuse`."""
        return self._requests.refuse(source, api_request_id, error)

    def refresh(self) -> None:
        """Read anew what is the same for all commands: the cluster, the terms of transactions, the executor's
        sealing key. Raises LedgerError, UntrustedKeyError."""
        late = "the Sui endpoint did not answer the refresh in time"
        cluster = self._loop.ask(self._chain.refreshed(), timeout_s=REFRESH_S, late=late)
        executor = cluster.executors.get(self._executor)
        if executor is not None and executor.generation > 0:
            self._keys.current(executor)

    def sweep(self) -> Sweep:
        """See `ScheduledDuties.sweep`."""
        return self._scheduled.sweep()

    def reclaim(self) -> Reclaimed:
        """See `ScheduledDuties.reclaim`."""
        return self._scheduled.reclaim()

    def report_balance(self, function_name: str) -> None:
        """See `ScheduledDuties.report_balance`."""
        self._scheduled.report_balance(function_name)

    def _readings(self) -> dict[str, Reading]:
        """What this process's tables hold, by name; those of the chain only if their loop is not busy."""
        readings = {
            "discovery": self._discovery.reading(),
            "sealing-keys": self._keys.reading(),
            "tally": self._tally.reading(),
            **self._sources.readings(),
            "seal-aborts": self._failed.reading(),
            "open-requests": self._open_requests.reading(),
        }
        try:
            return readings | self._loop.run(self._chain.readings(), timeout_s=READINGS_S)
        except TimeoutError:
            return readings
