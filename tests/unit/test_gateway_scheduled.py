"""What runs on a schedule: what alarms watch (gas, reclaiming), and what keeps a function fresh."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
from chalicelib.reclaim import Reclaimed
from moto import mock_aws

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ledger import EpochInfo
from k3s_daas.sui.transactions import decode_transaction
from tests.unit.gateway_world import LocalAws, World, status


def imported() -> ModuleType:
    """The functions take the log of their process for themselves, which is pytest's here."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        return importlib.import_module("app")
    finally:
        root.handlers[:] = before
        root.setLevel(level)


app = imported()
PODS = "/api/v1/namespaces/default/pods"
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


def refresh() -> None:
    app.app(SCHEDULED, SimpleNamespace(function_name="stack-APIHandler-1"))


@pytest.fixture
def served(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Behind the app that is deployed."""
    monkeypatch.setattr(app.app, "_gateway", lambda: world.gateway)
    return world


def test_a_function_refreshes_what_is_the_same_for_all_commands(served: World) -> None:
    assert served.send(PODS).status == 200
    served.chain.epoch_info = EpochInfo(8, 2_000)
    served.set_cluster(paused=True)
    refresh()
    served.chain.calls.clear()
    assert status(served.send(PODS))["code"] == 503
    served.set_cluster()
    refresh()
    served.chain.calls.clear()
    # Nothing has to be refused before the new price is known.
    assert served.send(PODS).status == 200
    assert (served.chain.calls["execute"], served.chain.calls["epoch"]) == (1, 0)
    assert decode_transaction(served.chain.executed[-1]).data.gas.price == 2_000


def test_a_function_that_was_never_asked_is_ready_after_it(served: World) -> None:
    refresh()
    served.chain.calls.clear()
    assert served.send(PODS).status == 200
    assert served.chain.calls["epoch"] == served.chain.calls["service_info"] == 0


def test_a_refresh_that_fails_is_told_and_takes_nothing_away(served: World) -> None:
    assert served.send(PODS).status == 200
    served.chain.away = True
    with pytest.raises(LedgerUnavailableError):
        refresh()
    served.chain.away = False
    assert served.send(PODS).status == 200
