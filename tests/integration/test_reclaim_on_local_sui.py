"""Finished requests are taken off the chain by the gateway's schedule, through the compiled contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from chalicelib.reclaim import Reclaimed

from infra.local.sui.rpc.misbehaviour import Failing
from k3s_daas.cli.holder import Holder
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.errors import LedgerUnavailableError
from tests.integration.gateway_stage import PODS, Stage, gateway_stage

MINUTE_MS = 60_000
# Some minutes after the commands of a test had a certain age.
LATER = 4


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    impatient = replace(DeadlineSettings(), start_within_ms=2_000, gateway_wait_ms=3_000)
    with gateway_stage(tmp_path_factory.mktemp("keys"), admission_ttl_ms=1_000, deadlines=impatient) as stage:
        yield stage


def reclaim_at(stage: Stage, age_minutes: int, *, sent_ms: int) -> Reclaimed:
    """What the schedule does when the commands sent then have this age.

    The days between are skipped: as far as a run is concerned, it is the first one of all.
    """
    stage.clock.ahead_ms += sent_ms + (age_minutes + LATER) * MINUTE_MS - stage.clock.now_ms()
    stage.dynamodb.delete_item(
        TableName="requests", Key={"bucket": {"S": "reclaim"}, "id": {"B": b"progress"}}
    )
    stage.sui_loop.run(_next_checkpoint(stage))
    return stage.gateway.reclaim()


async def _next_checkpoint(stage: Stage) -> None:
    tip = stage.sui.ledger.checkpoints.tip.sequence
    async for checkpoint in stage.sui.ledger.checkpoints.follow(tip + 1):
        if checkpoint.timestamp_ms + 1_000 > stage.clock.now_ms():
            return


def stored(stage: Stage) -> int:
    return stage.sui.ledger.final.metered_bytes


def balance(stage: Stage) -> int:
    return stage.sui_loop.run(stage.executor.ledger.balance(stage.services.gateway.address))


def requests(stage: Stage) -> int:
    seals = [Holder.load(path).seal for path in stage.chain.holders.values()]

    async def count() -> int:
        ledger = stage.executor.ledger
        return sum([len(await ledger.list_dynamic_fields(seal)) for seal in seals])

    return stage.sui_loop.run(count())


def test_each_request_goes_when_it_is_due_and_in_the_end_nothing_is_left(stage: Stage) -> None:
    before, sent_ms = stored(stage), stage.clock.now_ms()
    for _ in range(3):
        assert stage.send(PODS).status == 200
    assert stage.send(PODS, holder="viewer").status == 200
    for _ in range(2):
        assert stage.send(PODS, "POST", b"{}").status == 200
    assert requests(stage) == 6
    spent = balance(stage)
    sent = stage.calls("ExecuteTransaction")

    # Answered reads are kept for an hour and one more for each step of priority: nothing is due yet.
    assert reclaim_at(stage, 75, sent_ms=sent_ms) == Reclaimed()
    assert reclaim_at(stage, 380, sent_ms=sent_ms) == Reclaimed(found=4, reclaimed=4)
    assert (requests(stage), stage.calls("ExecuteTransaction") - sent) == (2, 1)
    assert reclaim_at(stage, 380, sent_ms=sent_ms) == Reclaimed()
    assert reclaim_at(stage, 1922, sent_ms=sent_ms) == Reclaimed(found=2, reclaimed=2)
    assert (requests(stage), stored(stage) - before) == (0, 0)
    assert reclaim_at(stage, 1922, sent_ms=sent_ms) == Reclaimed()
    assert balance(stage) > spent


def test_a_command_that_nobody_answered_goes_too_and_is_announced(stage: Stage) -> None:
    before, sent_ms = stored(stage), stage.clock.now_ms()
    stage.executor.silent = True
    assert stage.send(PODS).status == 503
    stage.executor.silent = False
    assert requests(stage) == 1
    # Until 14 minutes after it came it could be answered; then it is kept as long as an answered one.
    assert reclaim_at(stage, 254, sent_ms=sent_ms).reclaimed == 0
    assert reclaim_at(stage, 380, sent_ms=sent_ms).reclaimed == 1
    assert (requests(stage), stored(stage) - before) == (0, 0)
    timed_out = [e for e in stage.sui.ledger.checkpoints.events if "RequestTimedOut" in str(e.event.type_tag)]
    assert len(timed_out) == 1


def test_an_endpoint_that_is_away_or_behind_costs_nothing_but_time(stage: Stage) -> None:
    sent_ms = stage.clock.now_ms()
    assert stage.send(PODS).status == 200
    stage.misbehave(fail={"*": Failing()})
    with pytest.raises(LedgerUnavailableError):
        reclaim_at(stage, 380, sent_ms=sent_ms)
    stage.misbehave(fail={})
    assert requests(stage) == 1
    assert reclaim_at(stage, 380, sent_ms=sent_ms).reclaimed == 1


def test_what_nobody_has_on_record_is_heard_from_the_chain(stage: Stage) -> None:
    """Another gateway that is no more, a table that was lost: the chain knows what was accepted."""
    before, sent_ms = stored(stage), stage.clock.now_ms()
    for _ in range(3):
        assert stage.send(PODS).status == 200
    for item in stage.dynamodb.scan(TableName="requests")["Items"]:
        stage.dynamodb.delete_item(TableName="requests", Key={name: item[name] for name in ("bucket", "id")})
    assert (reclaim_at(stage, 1922, sent_ms=sent_ms), requests(stage)) == (Reclaimed(), 3)
    # The longest time that the policy keeps a request, the longest answer, and a day for its own gateway.
    horizon = 8 * 24 * 60 + 30
    heard = reclaim_at(stage, horizon + 1, sent_ms=sent_ms)
    assert (heard.reclaimed, requests(stage), stored(stage) - before) == (3, 0, 0)
    assert reclaim_at(stage, horizon + 2, sent_ms=sent_ms).reclaimed == 0
