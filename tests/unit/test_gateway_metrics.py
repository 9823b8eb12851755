"""The metrics: what each request and each minute reports, under dimensions that cannot grow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from chalicelib.cache import SingleFlightCache
from chalicelib.journey import Journey
from chalicelib.metrics import FUNCTION, MIST_PER_SUI, NAMESPACE, UNITS, Metrics, Sample, word
from chalicelib.reporting import EVERY_S, Reporter
from chalicelib.sizes import Reading, deep_size, resident_bytes

from k3s_daas.sui.ledger import Abort, ExecutionOutcome
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.gateway_world import World, status

ROOT = Path(__file__).parents[2]
PODS = "/api/v1/namespaces/default/pods"
OUTCOMES = ("Parked", "Adopted", "Expired", "Aborts", "Refusals", "Failures")


def published(line: str) -> dict[tuple[str, frozenset[tuple[str, str]]], Any]:
    """What CloudWatch makes of a line: values by name of metric and dimensions beside the function.

    Checks what the format asks for.
    """
    document = json.loads(line)
    assert isinstance(document["_aws"]["Timestamp"], int)
    found = {}
    for directive in document["_aws"]["CloudWatchMetrics"]:
        assert directive["Namespace"] == NAMESPACE
        for names in directive["Dimensions"]:
            assert names[0] == FUNCTION
            dimensions = frozenset((name, document[name]) for name in names[1:])
            assert all(isinstance(value, str) for _, value in dimensions)
            for metric in directive["Metrics"]:
                assert metric["Unit"] == UNITS[metric["Name"]]
                [found[metric["Name"], dimensions]] = document[metric["Name"]]
    return found


def of_request(world: World) -> dict[tuple[str, frozenset[tuple[str, str]]], Any]:
    """Of the last request."""
    return published([line for line in world.metrics if '"Requests"' in line][-1])


def plain(found: dict[tuple[str, frozenset[tuple[str, str]]], Any]) -> dict[str, Any]:
    return {name: value for (name, dimensions), value in found.items() if not dimensions}


# Each request


def test_a_request_reports_its_code_its_verbs_and_its_stages(world: World) -> None:
    assert world.send(PODS).status == 200
    found = of_request(world)
    assert found["Requests", frozenset({("Code", "200"), ("Verbs", "read")})] == 1
    values = plain(found)
    stages = [values[name] for name in ("AdmissionTime", "SubmitTime", "WaitTime")]
    assert all(ms > 0 for ms in stages)
    assert sum(stages) <= values["TotalTime"] + 1
    assert (values["Requests"], values["SubmissionRpcs"]) == (1, 2)
    assert not set(OUTCOMES) & set(values)


def test_a_submission_in_steady_state_is_one_rpc(world: World) -> None:
    world.send(PODS)
    world.send(PODS)
    assert plain(of_request(world))["SubmissionRpcs"] == 1


@pytest.mark.parametrize(
    ("target", "method", "verbs"),
    [
        (PODS, "GET", "read"),
        (f"{PODS}/web", "DELETE", "write"),
        (f"{PODS}?watch=true", "GET", "watch"),
        ("/api/../x", "GET", "none"),
    ],
)
def test_verbs_are_told_by_class(world: World, target: str, method: str, verbs: str) -> None:
    reply = world.send(target, method)
    assert ("Requests", frozenset({("Code", str(reply.status)), ("Verbs", verbs)})) in of_request(world)


def test_a_refusal_is_counted_with_its_word(world: World) -> None:
    world.send("/api/v1/namespaces/daas-listener/pods")
    found = of_request(world)
    assert found["Refusals", frozenset({("Reason", "EReservedNamespace")})] == 1
    assert plain(found)["Refusals"] == 1
    assert "Failures" not in plain(found)


def test_an_abort_is_counted_as_one(world: World) -> None:
    world.chain.outcomes.append(
        lambda data: ExecutionOutcome(
            transaction_digest(data), success=False, abort=Abort("seal", None, 324, 0), failure="aborted"
        )
    )
    world.send(PODS)
    values = plain(of_request(world))
    assert (values["Aborts"], values["Refusals"]) == (1, 1)


def test_what_the_gateway_cannot_do_is_a_failure(world: World) -> None:
    world.chain.chain_id = "1" * 32
    assert status(world.send(PODS))["code"] == 500
    assert plain(of_request(world))["Failures"] == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ERateExceeded", "ERateExceeded"),
        ("TransactionRefused:gas-price", "TransactionRefused:gas-price"),
        ("0x1234", "other"),
        ("a sentence with names", "other"),
        ("x" * 65, "other"),
        ("", "other"),
    ],
)
def test_a_word_that_could_be_anything_is_no_dimension(text: str, value: str) -> None:
    assert word(text) == value


def test_no_dimension_has_the_value_of_a_seal_an_address_or_a_path(world: World) -> None:
    for target in (PODS, "/version", "/api/v1/namespaces/daas-listener/pods/x"):
        world.send(target)
    world.send(PODS, token="")
    allowed = {"FunctionName", "Code", "Verbs", "Reason", "Cache"}
    for line in world.metrics:
        document = json.loads(line)
        assert {key for key in document if isinstance(document[key], str)} <= {*allowed, "event"}
    written = "".join(world.metrics)
    assert "0x" not in written
    assert "127.0.0.1" not in written
    assert "daas-listener" not in written


# Each minute


def test_caches_and_memory_are_reported_once_a_minute_with_what_was_added() -> None:
    lines: list[str] = []
    now, reading = [100.0], [Reading(5, 3, 1, 2, 200)]
    reporter = Reporter(
        Metrics(lines.append, lambda: 1, "f"), lambda: {"seals": reading[0]}, monotonic=lambda: now[0]
    )
    reporter.request(Journey(), 200, None)
    assert [next(iter(published(line)))[0] for line in lines] == ["Requests", "MemoryRss", "CacheHits"]
    lines.clear()
    now[0] += EVERY_S - 1
    reporter.request(Journey(), 200, None)
    assert len(lines) == 1
    now[0] += 1
    reading[0] = Reading(9, 3, 2, 1, 100)
    reporter.request(Journey(), 200, None)
    found = published(lines[-1])
    of_seals = frozenset({("Cache", "seals")})
    assert {name: value for (name, dimensions), value in found.items() if dimensions == of_seals} == {
        **{"CacheHits": 4, "CacheMisses": 0, "CacheEvictions": 1},
        **{"CacheEntries": 1, "CacheBytes": 100},
    }


def test_every_table_of_the_gateway_is_reported(world: World) -> None:
    world.send(PODS)
    caches = {json.loads(line).get("Cache") for line in world.metrics} - {None}
    assert caches == {
        *("discovery", "clusters", "seals", "grants", "sealing-keys", "tally"),
        *("source-buckets", "source-refusals", "seal-aborts", "open-requests"),
    }


def test_the_seal_that_was_read_is_in_the_report(world: World) -> None:
    world.send(PODS)
    found = published(next(line for line in world.metrics if '"Cache": "seals"' in line))
    of_seals = frozenset({("Cache", "seals")})
    assert (found["CacheEntries", of_seals], found["CacheMisses", of_seals]) == (1, 1)
    assert found["CacheBytes", of_seals] > 100


async def test_a_cache_counts_hits_misses_and_evictions() -> None:
    async def load(key: int) -> bytes:
        return bytes(1000)

    cache = SingleFlightCache(load, ttl_s=60, capacity=2)
    for key in (1, 1, 2, 3, 1):
        await cache.get(key)
    reading = cache.reading()
    assert (reading.hits, reading.misses, reading.evictions, reading.entries) == (1, 4, 2, 2)
    assert 2000 < reading.bytes < 3000


def test_a_size_is_of_everything_once() -> None:
    text = "x" * 10_000
    assert 10_000 < deep_size({"a": [text, text], "b": (text,)}) < 11_000
    assert deep_size(Reading(1, 2, 3, 4, 5)) > deep_size(1)


def test_memory_is_what_the_kernel_says() -> None:
    memory = resident_bytes()
    assert memory is not None
    assert 10_000_000 < memory < 10_000_000_000


# The line, and its description


def test_a_metric_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(KeyError):
        Metrics(lambda line: None, lambda: 1, "f").emit([Sample({"Surprise": 1})])


def test_a_balance_is_reported_in_sui_under_the_function_that_asked() -> None:
    lines: list[str] = []
    Metrics(lines.append, lambda: 1, "f").emit([Sample({"GasBalance": 1_500_000_000 / MIST_PER_SUI})], "g")
    assert published(lines[0]) == {("GasBalance", frozenset()): 1.5}
    assert json.loads(lines[0])[FUNCTION] == "g"


@pytest.mark.parametrize("name", ["POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"])
def test_the_librarys_own_settings_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "else")
    lines: list[str] = []
    Metrics(lines.append, lambda: 1, "f").emit([Sample({"Requests": 1})])
    assert published(lines[0]) == {("Requests", frozenset()): 1}
    assert "else" not in lines[0]


def test_every_metric_is_described_to_operators() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    described = set(re.findall(r"`([A-Z][A-Za-z]+)`", text))
    assert set(UNITS) <= described


def test_every_line_of_the_log_is_described_to_operators() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "functions/chalicelib").glob("*.py"))
    events = set(re.findall(r'"event": "([a-z-]+)"', code))
    assert len(events) > 10
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = text.partition("## The gateway's log")[2].partition("##")[0]
    assert events <= set(re.findall(r"`([a-z-]+)`", table))
