"""Liveness, readiness and metrics: what is told, what makes it false, and what the server takes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.ledger import Ledger, ServiceInfo
from listener_service.chain_tip import ChainTip, watch
from listener_service.claims import Claims
from listener_service.counts import Tally
from listener_service.health import checks
from listener_service.health.address import HealthAddress, health_address_from_environment
from listener_service.health.metrics import Metrics
from listener_service.health.server import HealthServer
from listener_service.keys.generations import Generations
from listener_service.keys.standby import StandbyKeys
from listener_service.kube_objects import KubeUnavailableError, ObjectChangedError
from listener_service.leadership import Term
from listener_service.leases import Lease
from listener_service.queue.core import Queue
from listener_service.queue.ticket import places
from listener_service.vitals import Phase, SealingKeys, Vitals
from listener_service.watched_leases import WatchedLeases
from tests.unit.memory_keys import MemoryStore, MemoryWrapping
from tests.unit.virtual_time import VirtualClock, run

LOOPBACK = HealthAddress("127.0.0.1", 0)


@dataclass
class Time:
    """Seconds since the machine started, as a test says."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Service:
    """What a term's service tells of itself."""

    covered: int | None = 10
    watermark: int | None = 9
    queue: Queue = field(default_factory=lambda: Queue(places(8), 1 << 20))
    claims: Claims = field(default_factory=lambda: cast(Claims, _NoClaims()))


class _NoClaims:
    open = 3


def vitals_of(time: Time) -> Vitals:
    """A replica that has heard of API server and chain just now."""
    vitals = Vitals(lease_s=15, lag_limit_s=30, boot_s=time)
    vitals.lead_calls.tried_s = vitals.lead_calls.answered_s = time()
    vitals.chain.saw(10)
    return vitals


def leader(time: Time) -> tuple[Vitals, Service]:
    """One that leads, hears the chain and is up to date."""
    vitals, service = vitals_of(time), Service()
    vitals.begins(Term(Lease("lead", holder="one", transitions=4), time() + 1_000, time))
    vitals.service = service
    vitals.goes_live()
    vitals.keys = lambda: SealingKeys(2, 7, 3_600.0)
    return vitals, service


def failing(vitals: Vitals) -> list[str]:
    return [check.name for check in checks.ready(vitals) if not check.passed]


def test_a_leader_that_is_up_to_date_is_ready() -> None:
    vitals, _ = leader(Time())
    assert vitals.phase is Phase.LEADING
    assert failing(vitals) == []


def test_a_standby_is_ready_to_take_over_without_a_stream_or_sealing_keys() -> None:
    vitals = vitals_of(Time())
    vitals.stands_by()
    assert failing(vitals) == []


def test_who_starts_takes_over_or_drains_is_not_ready() -> None:
    time = Time()
    assert failing(vitals_of(time)) == ["running"]
    taking_over, _ = leader(time)
    taking_over.live = False
    assert failing(taking_over) == ["running"]
    draining, _ = leader(time)
    draining.drains()
    assert failing(draining) == ["running"]


def test_an_api_server_that_is_away_is_noticed_when_the_leader_stops_and_forgotten_when_it_is_back() -> None:
    time = Time()
    vitals, _ = leader(time)
    time.now_s += 10.0
    vitals.chain.saw(10)
    assert failing(vitals) == []
    time.now_s += 0.1
    assert failing(vitals) == ["api-server"]
    vitals.lead_calls.answered_s = time()
    assert failing(vitals) == []


def test_a_stream_that_lags_makes_the_leader_not_ready_until_it_has_caught_up() -> None:
    time = Time()
    vitals, service = leader(time)
    vitals.chain.saw(11)
    for checkpoint in range(12, 43):
        time.now_s += 1.0
        vitals.chain.saw(checkpoint)
        vitals.lead_calls.answered_s = time()
    assert failing(vitals) == ["stream"]
    assert "31 s behind" in checks.report(checks.ready(vitals))
    service.covered = 20
    assert failing(vitals) == [], "only what is still missing counts"
    service.covered = 42
    assert vitals.chain.lag_s(42) == 0.0


def test_a_chain_that_tells_nothing_makes_everybody_not_ready() -> None:
    time = Time()
    vitals = vitals_of(time)
    vitals.stands_by()
    time.now_s += 30.1
    vitals.lead_calls.answered_s = time()
    assert failing(vitals) == ["chain"]


def test_a_leader_without_an_open_key_is_not_ready() -> None:
    vitals, _ = leader(Time())
    vitals.keys = lambda: SealingKeys(1)
    assert failing(vitals) == ["keys"]


async def test_a_standby_that_could_not_open_the_keys_is_not_ready() -> None:
    wrapping, store, time = MemoryWrapping(), MemoryStore(), Time()
    owner = {"cluster": "c", "executor": "e"}
    vitals = vitals_of(time)
    vitals.stands_by()
    keys = StandbyKeys(store, wrapping, owner, VirtualClock(), lambda: True)
    vitals.standby_keys = lambda: keys.failure
    await keys.look()
    assert failing(vitals) == [], "the first leader makes one"
    key = SealingPrivateKey.generate()
    store.generations = Generations(
        (wrapping.generation(key, {"cluster": "other", "executor": "e"}, number=1, created_ms=0),)
    )
    await keys.look()
    assert failing(vitals) == ["keys"]
    store.generations = Generations((wrapping.generation(key, owner, number=2, created_ms=0),))
    await keys.look()
    assert failing(vitals) == []


def test_a_standby_looks_at_the_keys_once_a_minute_and_a_leader_never() -> None:
    async def main() -> None:
        store, stands_by = MemoryStore(), [False]
        keys = StandbyKeys(store, MemoryWrapping(), {}, VirtualClock(), lambda: stands_by[0])
        looking = asyncio.create_task(keys.run())
        await asyncio.sleep(600)
        assert store.faults.calls == []
        stands_by[0] = True
        await asyncio.sleep(150)
        assert store.faults.calls == ["read"] * 3
        looking.cancel()

    run(main())


def test_nothing_outside_kills_a_replica_but_a_leadership_that_stands_still_does() -> None:
    time = Time()
    vitals, _ = leader(time)
    time.now_s += 90.0
    assert all(check.passed for check in checks.live(vitals)), "neither chain nor API server count"
    time.now_s += 0.1
    assert [check.name for check in checks.live(vitals) if not check.passed] == ["leadership"]


def test_who_was_told_to_end_is_not_killed_while_it_finishes_what_it_claimed() -> None:
    time = Time()
    vitals, _ = leader(time)
    vitals.drains()
    time.now_s += 240.0
    assert all(check.passed for check in checks.live(vitals))


def test_a_lag_of_hours_is_remembered_in_bounded_memory() -> None:
    time = Time()
    tip = ChainTip(time)
    for checkpoint in range(20_000):
        time.now_s += 2.0
        tip.saw(checkpoint)
    assert tip.lag_s(None) == 2.0 * 19_999
    assert len(tip._looks) <= 512
    assert tip.lag_s(19_999) == 0.0


def test_the_chain_is_asked_every_other_second_however_often_it_is_away() -> None:
    class Flaky:
        asked = 0

        async def service_info(self) -> ServiceInfo:
            self.asked += 1
            if self.asked % 2:
                raise LedgerUnavailableError("away")
            return ServiceInfo("chain", 1, self.asked, 0, 0)

    async def main() -> None:
        ledger, tip = Flaky(), ChainTip(asyncio.get_running_loop().time)
        watching = asyncio.create_task(watch(cast(Ledger, ledger), tip, VirtualClock()))
        await asyncio.sleep(9.0)
        watching.cancel()
        assert ledger.asked == 5
        assert tip.checkpoint == 4
        assert tip.age_s() == pytest.approx(3.0)

    run(main())


class _Leases:
    """Answers with what it is told."""

    error: Exception | None = None

    async def replace(self, lease: Lease) -> Lease:
        if self.error is not None:
            raise self.error
        return lease


@pytest.mark.parametrize(
    ("error", "answered"),
    [(None, True), (ObjectChangedError(409, "conflict"), True), (KubeUnavailableError("away"), False)],
)
async def test_a_refusal_shows_that_the_api_server_is_there(error: Exception | None, answered: bool) -> None:
    time, leases = Time(), _Leases()
    vitals = Vitals(15, 30, time)
    leases.error = error
    watched = WatchedLeases(cast(Any, leases), vitals.lead_calls, Tally())
    if error is None:
        await watched.replace(Lease("lead"))
    else:
        with pytest.raises(type(error)):
            await watched.replace(Lease("lead"))
    assert vitals.lead_calls.tried_s == 1_000.0
    assert (vitals.lead_calls.answered_s == 1_000.0) is answered


@asynccontextmanager
async def served(vitals: Vitals, **options: Any) -> AsyncGenerator[int, None]:
    async with HealthServer(vitals, Metrics(vitals).render, **options).serving(LOOPBACK) as port:
        yield port


async def exchange(port: int, request: bytes) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and body; status 0 if the connection was closed without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    try:
        reply = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        reply = b""
    writer.transport.abort()
    if not reply:
        return 0, {}, ""
    head, _, body = reply.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_probes_say_ok_and_on_request_or_failure_which_check() -> None:
    vitals, _ = leader(Time())
    async with served(vitals) as port:
        assert (await exchange(port, get("/livez")))[::2] == (200, "ok")
        assert (await exchange(port, get("/readyz")))[::2] == (200, "ok")
        status, _, text = await exchange(port, get("/readyz?verbose"))
        assert status == 200
        assert "[+]stream ok" in text
        assert text.endswith("readyz check passed\n")
        vitals.keys = SealingKeys
        status, _, text = await exchange(port, get("/readyz"))
        assert status == 503
        assert "[-]keys failed: the sealing key in force is not open" in text
        assert "[+]chain ok" in text
        assert (await exchange(port, get("/livez")))[0] == 200


async def test_nothing_else_is_served() -> None:
    async with served(leader(Time())[0]) as port:
        assert (await exchange(port, get("/")))[0] == 404
        assert (await exchange(port, get("/metrics/../etc/passwd")))[0] == 404
        assert (await exchange(port, get("http://[x/livez")))[0] == 400
        status, headers, _ = await exchange(port, get("/livez", "POST"))
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        status, headers, body = await exchange(port, get("/livez", "HEAD"))
        assert (status, headers["content-length"], body) == (200, "2", "")
        assert (await exchange(port, b"nonsense\r\n\r\n"))[0] == 400


async def test_requests_are_bounded_in_size_time_and_number() -> None:
    vitals, _ = leader(Time())
    async with served(vitals, timeout_s=0.2) as port:
        assert (await exchange(port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000))[0] == 0
        assert (await exchange(port, b"GET /livez HTTP/1.1\r\n"))[0] == 0, (
            "half a request is waited for briefly"
        )
    async with served(vitals) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(32)]
        for _ in range(3):
            assert (await exchange(port, get("/livez")))[0] == 200, "whoever idles keeps no probe away"
        with suppress(ConnectionError):
            assert await asyncio.wait_for(idle[0][0].read(), 2) == b"", "the oldest was dropped"
        for _, writer in idle:
            writer.transport.abort()


async def test_an_address_that_is_taken_is_a_sentence() -> None:
    vitals, _ = leader(Time())
    async with served(vitals) as port:
        server = HealthServer(vitals, Metrics(vitals).render)
        with pytest.raises(ConfigurationError, match=f"DAAS_HEALTH_ADDRESS is 127.0.0.1:{port}"):
            async with server.serving(HealthAddress("127.0.0.1", port)):
                pass


@pytest.mark.parametrize(
    "text", ["8080", "127.0.0.1", "x:y", "127.0.0.1:99999", "u@h:1", "h:1/x", "http://h:1"]
)
def test_an_address_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"DAAS_HEALTH_ADDRESS is {re.escape(repr(text))}"):
        health_address_from_environment({"DAAS_HEALTH_ADDRESS": text})


def test_addresses_are_read() -> None:
    assert health_address_from_environment({}) is None
    for text in ("0.0.0.0:8080", "[::]:8080", "127.0.0.1:0"):
        assert str(health_address_from_environment({"DAAS_HEALTH_ADDRESS": text})) == text


def samples(metrics: Metrics) -> dict[str, float]:
    """By name with labels, as the text has them."""
    content_type, text = metrics.render()
    assert content_type.startswith("text/plain")
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_tell_what_was_counted_and_what_is_so() -> None:
    time = Time()
    vitals, service = leader(time)
    vitals.answers_per_transaction = lambda: {1: 5, 7: 2}
    vitals.dissents = lambda: {("2", "forged"): 4}
    metrics = Metrics(vitals)
    metrics.delivered(replayed=False)
    metrics.not_run("standing")
    metrics.took("verify", "read", 0.004)
    metrics.answered(201)
    metrics.answered(None)
    metrics.claim("removed", 3)
    metrics.transaction("executed")
    metrics.called("command", 404)
    metrics.called("lead", None)
    metrics.renewal(succeeded=False)
    metrics.connected(2)
    time.now_s += 4.0
    vitals.chain.saw(12)
    time.now_s += 2.0
    found = samples(metrics)
    expected = {
        'events_total{origin="live"}': 1,
        'events_total{origin="replayed"}': 0,
        'not_run_total{reason="standing"}': 1,
        'stage_seconds_count{kind="read",stage="verify"}': 1,
        'stage_seconds_bucket{kind="read",le="0.005",stage="verify"}': 1,
        'answers_total{code="2xx"}': 1,
        'answers_total{code="none"}': 1,
        'claims_total{event="removed"}': 3,
        'claims_total{event="unknown"}': 0,
        'transactions_total{outcome="executed"}': 1,
        'api_server_calls_total{code="4xx",purpose="command"}': 1,
        'api_server_calls_total{code="none",purpose="lead"}': 1,
        'lead_lease_writes_total{outcome="failed"}': 1,
        'stream_connections_total{source="2"}': 1,
        'transaction_answers_bucket{le="1.0"}': 5,
        'transaction_answers_bucket{le="4.0"}': 5,
        'transaction_answers_bucket{le="+Inf"}': 7,
        "transaction_answers_sum": 19,
        'endpoint_dissents_total{endpoint="2",kind="forged"}': 4,
        "leading": 1,
        "term": 4,
        'phase{phase="leading"}': 1,
        'phase{phase="standby"}': 0,
        'check{check="stream"}': 1,
        "sealing_keys": 2,
        "sealing_key_generation": 7,
        "sealing_key_age_seconds": 3_600,
        "stream_lag_seconds": 2,
        "chain_checkpoint": 12,
        "covered_checkpoint": 10,
        "watermark_checkpoint": 9,
        "claims_open": 3,
        "queue_waiting": 0,
        "queue_reply_bytes": 0,
        "queue_bound_bytes": service.queue.bound_bytes,
        'queue_places_taken{kind="watch"}': 0,
        "api_server_answer_age_seconds": 6,
        "chain_answer_age_seconds": 2,
    }
    assert {name: found.get(f"daas_listener_{name}") for name in expected} == expected
    assert found["process_resident_memory_bytes"] > 0
    assert found["process_open_fds"] > 0
    assert any(name.startswith("daas_listener_build_info{") for name in found)


def test_reasons_without_end_make_no_series_without_end() -> None:
    metrics = Metrics(Vitals(15, 30))
    for number in range(1_000):
        metrics.not_run(f"reason-{number}")
    found = {name: value for name, value in samples(metrics).items() if "not_run_total" in name}
    assert len(found) == 65
    assert found['daas_listener_not_run_total{reason="other"}'] == 1_000 - 64


def test_two_replicas_in_one_process_share_nothing() -> None:
    one, other = Metrics(Vitals(15, 30)), Metrics(Vitals(15, 30))
    one.not_run("standing")
    assert not any("standing" in name for name in samples(other))


def test_no_metric_is_told_twice() -> None:
    text = Metrics(leader(Time())[0]).render()[1].decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
