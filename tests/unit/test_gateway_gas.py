"""The gateway reports what it can still pay with, and an alarm hears of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import app
import pytest
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
