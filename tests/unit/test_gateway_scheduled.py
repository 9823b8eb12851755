"""The scheduled functions report what alarms watch: what can still be paid with, and what was reclaimed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import app
import pytest
from chalicelib.reclaim import Reclaimed
from moto import mock_aws

from k3s_daas.errors import LedgerUnavailableError
from tests.unit.gateway_world import LocalAws, World

SCHEDULED = {
    **{"version": "0", "id": "0", "detail-type": "Scheduled Event", "source": "aws.events"},
    **{"account": "0", "time": "2026-11-22T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {}},
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with mock_aws():
        world = World(LocalAws())
        monkeypatch.setattr(app, "_holder", SimpleNamespace(gateway=lambda: world.gateway))
        yield world
        world.close()


def watch_gas() -> None:
    app.watch_gas(SCHEDULED, SimpleNamespace(function_name="stack-WatchGas-1"))


def test_the_balance_of_its_own_address_becomes_a_metric(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def balance(address: bytes) -> int:
        return 12_500_000_000 if address == world.signer.address else 0

    monkeypatch.setattr(world.chain, "balance", balance)
    watch_gas()
    (line,) = [parsed for text in world.metrics if "GasBalance" in (parsed := json.loads(text))]
    assert (line["GasBalance"], line["FunctionName"]) == ([12.5], "stack-WatchGas-1")


def test_a_balance_that_cannot_be_read_is_no_metric(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def balance(_address: bytes) -> int:
        raise LedgerUnavailableError("nobody answers")

    monkeypatch.setattr(world.chain, "balance", balance)
    with pytest.raises(LedgerUnavailableError):
        watch_gas()
    assert not any("GasBalance" in text for text in world.metrics)


def test_what_was_reclaimed_and_what_could_not_be_are_metrics(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Reclaimed(found=6, reclaimed=3, failed=1)
    monkeypatch.setattr(world.gateway._scheduled._reclaimer, "reclaim", lambda: done)
    app.reclaim(SCHEDULED, SimpleNamespace(function_name="stack-Reclaim-1"))
    line = json.loads(world.metrics[-1])
    assert (line["ReclaimedRequests"], line["ReclaimFailures"]) == ([3], [1])


def test_a_run_of_reclaiming_that_fails_reports_nothing(world: World) -> None:
    world.chain.away = True
    with pytest.raises(LedgerUnavailableError):
        app.reclaim(SCHEDULED, SimpleNamespace(function_name="stack-Reclaim-1"))
    assert not any("ReclaimFailures" in text for text in world.metrics)
