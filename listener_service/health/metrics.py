"""The listener's metrics in Prometheus' format: the only module that knows its library.

Counters and times are told through the `Counts` port; the state of things is read from `Vitals` when somebody
asks. No label has a value that comes from outside: there are as many series after a year as after a minute.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from listener_service import __version__, counts
from listener_service.health import checks
from listener_service.queue.ticket import Kind
from listener_service.vitals import Phase, Vitals

_PREFIX = "daas_listener_"
# From a read that an idle API server answers to the longest `finish_by`.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)
# Reasons are words in our code; a defect must not make series without end of them.
_MOST_REASONS = 64
_OTHER = "other"


class Metrics:
    """Implements `Counts`, and renders everything. The registry is its own: nothing here is global."""

    def __init__(self, vitals: Vitals) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._events = _counter(registry, "events", "Events that came from the event source.", "origin")
        self._not_run = _counter(registry, "not_run", "Events and commands that did not run.", "reason")
        self._answers = _counter(
            registry, "answers", "Answers on chain; code is none for one that could not be put there.", "code"
        )
        self._claims = _counter(registry, "claims", "What became of claims.", "event")
        self._transactions = _counter(
            registry, "transactions", "Transactions with answers, each time one was sent.", "outcome"
        )
        self._calls = _counter(registry, "api_server_calls", "Calls to the API server.", "purpose", "code")
        self._renewals = _counter(
            registry, "lead_lease_writes", "Attempts to write the leader Lease.", "outcome"
        )
        self._connections = _counter(
            registry, "stream_connections", "Event streams that have caught up, also again.", "source"
        )
        self._stages = Histogram(
            f"{_PREFIX}stage_seconds",
            "Time of a command in each stage, and from its delivery to its answer on chain (total).",
            ("stage", "kind"),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._reasons: set[str] = set()
        self._begin_at_zero()
        registry.register(_State(vitals))

    def _begin_at_zero(self) -> None:
        """A rate over a series that appears with its first count would miss that one."""
        for event in counts.CLAIM_EVENTS:
            self._claims.labels(event)
        for outcome in counts.TRANSACTION_OUTCOMES:
            self._transactions.labels(outcome)
        for origin in ("live", "replayed"):
            self._events.labels(origin)
        for outcome in ("succeeded", "failed"):
            self._renewals.labels(outcome)

    def render(self) -> tuple[str, bytes]:
        """The content type, and the text."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def delivered(self, *, replayed: bool) -> None:
        self._events.labels("replayed" if replayed else "live").inc()

    def not_run(self, reason: str) -> None:
        if len(self._reasons) < _MOST_REASONS:
            self._reasons.add(reason)
        self._not_run.labels(reason if reason in self._reasons else _OTHER).inc()

    def took(self, stage: str, kind: str, seconds: float) -> None:
        self._stages.labels(stage, kind).observe(seconds)

    def answered(self, status: int | None) -> None:
        self._answers.labels(_code(status)).inc()

    def claim(self, event: str, number: int = 1) -> None:
        self._claims.labels(event).inc(number)

    def transaction(self, outcome: str) -> None:
        self._transactions.labels(outcome).inc()

    def called(self, purpose: str, status: int | None) -> None:
        self._calls.labels(purpose, _code(status)).inc()

    def renewal(self, *, succeeded: bool) -> None:
        self._renewals.labels("succeeded" if succeeded else "failed").inc()

    def connected(self, source: int) -> None:
        self._connections.labels(str(source)).inc()


class _State(Collector):
    """What is so at the moment of asking."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        vitals = self._vitals
        yield _gauge(
            "build_info", "What runs.", {(__version__, platform.python_version()): 1}, "version", "python"
        )
        yield _gauge(
            "phase",
            "Where the replica is in its life: 1 for the one that it is in.",
            {(phase.name.lower(),): float(vitals.phase is phase) for phase in Phase},
            "phase",
        )
        leading = vitals.term is not None and vitals.term.is_current()
        yield _one("leading", "Whether this replica leads.", leading)
        if vitals.term is not None:
            yield _one("term", "Number of the newest term that this replica has led.", vitals.term.number)
        yield _gauge(
            "check",
            "Readiness by check: 1 if it passes.",
            {(check.name,): float(check.passed) for check in checks.ready(vitals)},
            "check",
        )
        yield from self._calls()
        keys = vitals.keys()
        yield _one("sealing_keys", "Sealing keys that are open in this process.", keys.open)
        if keys.generation is not None:
            yield _one("sealing_key_generation", "Number of the sealing key in force.", keys.generation)
            yield _one("sealing_key_age_seconds", "Since the sealing key in force was made.", keys.age_s)
        yield _batches(vitals.answers_per_transaction())
        yield _dissents(vitals.dissents())
        yield from self._chain()
        yield from self._work()

    def _calls(self) -> Iterator[Metric]:
        if (ago_s := self._vitals.lead_calls.answered_ago_s()) is not None:
            yield _one("api_server_answer_age_seconds", "Since the API server last answered.", ago_s)
        if (ago_s := self._vitals.chain.age_s()) is not None:
            yield _one("chain_answer_age_seconds", "Since the endpoints last told where the chain is.", ago_s)

    def _chain(self) -> Iterator[Metric]:
        chain, service = self._vitals.chain, self._vitals.service
        if chain.checkpoint is not None:
            yield _one("chain_checkpoint", "The chain's newest checkpoint.", chain.checkpoint)
        if service is None or self._vitals.phase not in (Phase.LEADING, Phase.TAKING_OVER):
            return
        yield _one(
            "stream_lag_seconds",
            "How long ago the chain was first seen further than the events that came.",
            chain.lag_s(service.covered),
        )
        if service.covered is not None:
            yield _one("covered_checkpoint", "Up to here all events came.", service.covered)
        if service.watermark is not None:
            yield _one("watermark_checkpoint", "A restart resumes behind this.", service.watermark)

    def _work(self) -> Iterator[Metric]:
        service = self._vitals.service
        if service is None:
            return
        queue = service.queue
        yield _one("queue_waiting", "Commands that wait.", queue.waiting)
        yield _one(
            "queue_unconfirmed", "Events whose transaction too few endpoints show.", len(queue.unconfirmed)
        )
        yield _one("queue_in_work", "Commands that were started and are not answered.", queue.in_work)
        yield _one("queue_used_bytes", "Of the bound, by what waits and what is in work.", queue.used_bytes)
        yield _one(
            "queue_reply_bytes", "Of the bound, by large replies (over 256 KiB).", queue.replies.used_bytes
        )
        yield _one("queue_bound_bytes", "The bound, which shrinks under pressure.", queue.bound_bytes)
        yield _by_kind("queue_places_taken", "Places that commands have.", queue.places_taken)
        yield _by_kind("queue_waiting_for_place", "Commands that wait for a place.", queue.waiting_by_kind)
        yield _one("claims_open", "Claims of requests not known to be dealt with.", service.claims.open)


def _counter(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"{_PREFIX}{name}", meaning, labels, registry=registry)


def _one(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}{name}", meaning, value=float(value))


def _gauge(name: str, meaning: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", meaning, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _by_kind(name: str, meaning: str, values: Mapping[Kind, int]) -> Metric:
    return _gauge(name, meaning, {(kind.value,): float(value) for kind, value in values.items()}, "kind")


def _batches(transactions: Mapping[int, int]) -> Metric:
    """A histogram over the sizes that were counted."""
    cumulated = [
        (str(float(bound)), float(sum(n for size, n in transactions.items() if size <= bound)))
        for bound in _BATCH_BUCKETS
    ]
    total = float(sum(transactions.values()))
    family = HistogramMetricFamily(
        f"{_PREFIX}transaction_answers", "Answers in one executed transaction.", labels=()
    )
    family.add_metric(
        (), [*cumulated, ("+Inf", total)], float(sum(size * n for size, n in transactions.items()))
    )
    return family


def _dissents(dissents: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(
        f"{_PREFIX}endpoint_dissents",
        "Times that a Sui endpoint (by its place in the settings) was not believed.",
        labels=("endpoint", "kind"),
    )
    for label_values, number in dissents.items():
        family.add_metric(label_values, number)
    return family


def _code(status: int | None) -> str:
    return "none" if status is None else f"{status // 100}xx"
