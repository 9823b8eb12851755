"""The chain on a bad day: no gas, an endpoint that is behind, congestion. Through the compiled contract."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from k3s_daas.cli.holder import Holder
from tests.integration.gateway_stage import PODS, Stage, gateway_stage
from tests.unit.gateway_world import header, status


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with gateway_stage(tmp_path_factory.mktemp("keys"), admission_ttl_ms=60_000) as stage:
        yield stage


def counters(stage: Stage) -> dict[str, int]:
    transactions: dict[str, int] = stage.sui.counters()["transactions"]
    return transactions


def test_a_congested_seal_runs_nothing_and_the_next_try_succeeds(stage: Stage) -> None:
    assert stage.send(PODS).status == 200
    seal, ran = Holder.load(stage.chain.holders["operator"]).seal, len(stage.executor.ran)
    stage.sui.ledger.congest(seal, 1)
    failed = counters(stage)["failed"]
    reply = stage.send(PODS, "POST", b"{}")
    parsed = status(reply)
    assert (parsed["code"], header(reply, "Retry-After")) == (503, "1")
    assert "nothing was run" in parsed["message"]
    reasons = {cause["reason"]: cause["message"] for cause in parsed["details"]["causes"]}
    assert reasons["TransactionFailed"] == "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION"
    assert counters(stage)["failed"] == failed + 1
    assert len(stage.executor.ran) == ran
    assert stage.send(PODS, "POST", b"{}").status == 200
    assert len(stage.executor.ran) == ran + 1


def test_without_gas_the_operator_is_named_and_nothing_is_sent_twice(stage: Stage) -> None:
    poor = stage.gateway_with(gas_budget=50_000_000_000)
    before = counters(stage)
    reply = stage.send(PODS, "POST", b"{}", gateway=poor)
    parsed = status(reply)
    assert (parsed["code"], header(reply, "Retry-After")) == (503, None)
    assert "too little SUI" in parsed["message"]
    after = counters(stage)
    assert (after["executed"], after["refused"]) == (before["executed"], before["refused"] + 1)


def test_an_endpoint_that_is_behind_delays_the_answer_and_nothing_else(stage: Stage) -> None:
    """The listener has answered, and the node does not show it yet."""
    assert stage.send(PODS).status == 200
    ran, reads = len(stage.executor.ran), stage.calls("GetObject")
    stage.misbehave(lag=150)
    began = time.monotonic()
    try:
        reply = stage.send(PODS, "POST", b"{}")
    finally:
        stage.misbehave(lag=0)
    assert reply.status == 200, reply.body
    assert time.monotonic() - began > 1.0
    assert len(stage.executor.ran) == ran + 1
    assert stage.calls("GetObject") - reads < 20


def test_an_endpoint_that_tells_an_old_epoch_is_said_to_be_behind(stage: Stage) -> None:
    assert stage.send(PODS).status == 200
    ran = len(stage.executor.ran)
    stage.misbehave(lag=10_000)

    async def next_epoch() -> None:
        stage.sui.ledger.advance_epoch(3_000)

    stage.sui_loop.run(next_epoch())
    asked = stage.calls("ExecuteTransaction")
    try:
        reply = stage.send(PODS, "POST", b"{}")
    finally:
        stage.misbehave(lag=0)
    parsed = status(reply)
    assert (parsed["code"], header(reply, "Retry-After")) == (503, "1")
    assert "behind the chain" in parsed["message"]
    # The terms that it told were no others, so nothing was signed a second time.
    assert stage.calls("ExecuteTransaction") - asked == 1
    assert stage.send(PODS, "POST", b"{}").status == 200
    assert len(stage.executor.ran) == ran + 1
