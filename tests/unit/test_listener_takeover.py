"""Between claim, run, answer and removal: wherever a listener dies or loses the lead, nothing runs twice and
nothing stays without an answer.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from k3s_daas.contract.events import ApiRequested
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.ledger import ChainEvent, ExecutionOutcome, SignedTransaction
from listener_service.claims import CLAIM, LISTENER, MINUTE, Claim
from listener_service.finishing import FINISHING
from listener_service.kube_objects import KubeForbiddenError, KubeUnavailableError
from listener_service.leadership import WATERMARK
from listener_service.leases import Lease
from tests.unit.listener_world import NOW_MS, World, until
from tests.unit.running_listener import LEASE, listener
from tests.unit.scripted_api_server import (
    ScriptedApiServer,
    ScriptedReply,
    SeenRequest,
    scripted_api_server,
)

POD = "/api/v1/namespaces/default/pods/web"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def api() -> Iterator[ScriptedApiServer]:
    with scripted_api_server() as script:
        yield script


def lease_of(world: World, requested: ApiRequested, event: ChainEvent) -> Lease:
    """The claim that a predecessor made."""
    claim = Claim.of(requested, world.reply_key.public_bytes(), event)
    labels = {LISTENER: LEASE, MINUTE: str(claim.minute)}
    annotations = {CLAIM: claim.encode()}
    return Lease(claim.name, "before", labels=labels, annotations=annotations, version="1", created_ms=NOW_MS)


def leave(world: World, lease: Lease) -> None:
    world.leases.stored[lease.name] = lease


def outcome(world: World, requested: ApiRequested) -> tuple[int, str]:
    status, envelope = world.answers()[requested.request_id]
    return status, json.loads(envelope.body).get("message", "")


def on_claim(world: World, act: Callable[[], None]) -> None:
    """Something happens to the listener when its claim was made and before it knows."""

    def after(call: str, name: str) -> None:
        if call == "create" and name.startswith("daas-claim-"):
            act()

    world.leases.after = after


async def quiet() -> None:
    """Time for what must not happen."""
    await asyncio.sleep(0.05)


async def test_a_mutation_is_claimed_before_it_is_run_and_a_read_is_not(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)
    read, read_event = world.command()
    claimed: list[tuple[str, int]] = []

    def reply(request: object) -> ScriptedReply:
        claimed.append((api.seen[-1].method, len(world.leases.claims)))
        return ScriptedReply()

    api.reply = reply
    async with listener(world, api):
        world.ledger.publish(read_event)
        await until(lambda: read.request_id in world.answers())
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert claimed == [("GET", 0), ("DELETE", 1)]


async def test_what_a_predecessor_claimed_is_answered_unknown_after_start_by_and_never_run(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)
    leave(world, lease_of(world, requested, event))
    world.ledger.publish(event)
    async with listener(world, api) as running:
        world.clock.ms = requested.start_by_ms
        await quiet()
        assert world.answers() == {}, "its predecessor may still run it"
        world.clock.ms = requested.start_by_ms + 1
        await until(lambda: requested.request_id in world.answers())
        world.ledger.progress()
        await until(lambda: running.service.watermark == world.ledger.checkpoint)
    assert api.seen == []
    status, message = outcome(world, requested)
    assert status == 500
    assert "outcome unknown" in message
    world.answered_on_chain(requested)
    async with listener(world, api, identity="three"):
        await quiet()
    assert len(world.ledger.executed) == 1


async def test_a_claim_that_its_maker_answers_in_time_is_left_alone(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)
    leave(world, lease_of(world, requested, event))
    async with listener(world, api):
        await quiet()
        world.answered_on_chain(requested)
        world.clock.ms = requested.start_by_ms + 1
        await quiet()
    assert world.ledger.executed == []


async def test_a_crash_after_the_run_is_answered_unknown_by_the_successor(
    world: World, api: ScriptedApiServer
) -> None:
    def never(_: bytes) -> ExecutionOutcome:
        raise TransactionRefusedError("insufficient-funds", "the executor has no gas")

    requested, event = world.command("DELETE", POD)
    world.ledger.on_execute = never
    async with listener(world, api) as running:
        world.ledger.publish(event)
        await until(lambda: len(world.ledger.executed) > 0)
        running.service.drain_s = running.service.finish_s = 0.0
    assert len(api.seen) == 1
    world.ledger.executed.clear()
    world.ledger.on_execute = None
    world.clock.ms = requested.start_by_ms + 1
    async with listener(world, api, identity="two"):
        await until(lambda: requested.request_id in world.answers())
    assert len(api.seen) == 1
    assert outcome(world, requested)[0] == 500


async def test_who_is_told_to_end_finishes_what_it_claimed_while_the_next_one_leads(
    world: World, api: ScriptedApiServer
) -> None:
    asked, ended = threading.Event(), threading.Event()

    def slow(_: SeenRequest) -> ScriptedReply:
        asked.set()
        ended.wait(10)
        return ScriptedReply()

    requested, event = world.command("DELETE", POD)
    async with listener(world, api) as first:
        quick, api.reply = api.reply, slow
        first.service.drain_s, first.service.finish_s = 0.05, 100.0
        world.ledger.publish(event)
        await until(asked.is_set)
        first.stop.set()
        api.reply = quick
        async with listener(world, api, identity="two") as second:
            assert not first.term.is_current()
            assert not first.task.done()
            other, later = world.command("DELETE", f"{POD}-2")
            world.ledger.publish(later)
            await until(lambda: other.request_id in world.answers())
            world.clock.ms = requested.start_by_ms + 1
            await quiet()
            assert requested.request_id not in world.answers(), "its predecessor is still running it"
            ended.set()
            await first.task
            assert outcome(world, requested)[0] == 200
            world.answered_on_chain(requested)
            world.clock.ms += 100_000
            await quiet()
            assert second.term.is_current()
    assert sorted(seen.target for seen in api.seen) == [POD, f"{POD}-2"]
    assert len(world.stored()) == 2, "each is answered once"


@pytest.mark.parametrize(
    ("annotation", "later_ms"),
    [
        ('{"before":%d}', 50_000),
        ('{"another":%d}', 0),
        ("by hand", 0),
    ],
)
async def test_a_claim_is_answered_for_when_its_maker_is_past_finishing_it(
    annotation: str, later_ms: int, world: World, api: ScriptedApiServer
) -> None:
    """Whether it was cut off, or never said that it would finish."""
    requested, event = world.command("DELETE", POD)
    leave(world, lease_of(world, requested, event))
    says = annotation.replace("%d", str(requested.start_by_ms + 50_000))
    leave(world, Lease(LEASE, annotations={FINISHING: says}, version="1"))
    async with listener(world, api):
        world.clock.ms = requested.start_by_ms + later_ms
        await quiet()
        assert world.answers() == {}
        world.clock.ms += 1
        await until(lambda: requested.request_id in world.answers())
    assert outcome(world, requested)[0] == 500


async def test_whatever_a_predecessor_says_a_claim_is_answered_for_in_time(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)
    leave(world, lease_of(world, requested, event))
    says = json.dumps({"before": requested.answer_by_ms + 10**9})
    leave(world, Lease(LEASE, annotations={FINISHING: says}, version="1"))
    async with listener(world, api):
        world.clock.ms = requested.answer_by_ms - 59_000
        await until(lambda: requested.request_id in world.answers())
    assert outcome(world, requested)[0] == 500


async def test_who_is_told_to_end_hears_whether_its_claim_was_made(
    world: World, api: ScriptedApiServer
) -> None:
    """Or its caller would hear "outcome unknown", though nothing was run."""
    requested, event = world.command("DELETE", POD)
    async with listener(world, api) as running:
        running.service.drain_s = 0.0
        on_claim(world, running.stop.set)
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert outcome(world, requested)[0] == (503, 200)[len(api.seen)]


async def test_a_lease_that_was_there_before_is_neither_run_nor_lost(
    world: World, api: ScriptedApiServer
) -> None:
    """Whoever made it: nobody but the listener may, and if somebody could he would only cost the answer."""
    requested, event = world.command("DELETE", POD)
    made = lease_of(world, requested, event)
    leave(world, replace(made, labels={}, annotations={}, holder="mallory"))
    world.ledger.publish(event)
    async with listener(world, api) as running:
        await quiet()
        assert running.service.watermark is None or running.service.watermark < world.ledger.checkpoint
        world.clock.ms = requested.start_by_ms + 1
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    assert outcome(world, requested)[0] == 500


async def test_a_claim_that_disappears_does_not_bring_its_command_back(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
        for lease in world.leases.claims:
            del world.leases.stored[lease.name]
        world.ledger.publish(event)
        await quiet()
    assert len(api.seen) == 1


async def test_who_lost_the_lead_after_the_claim_does_not_run_and_says_so(
    world: World, api: ScriptedApiServer
) -> None:
    """The claim keeps everybody else from running it, so what he knows is the truth."""
    requested, event = world.command("DELETE", POD)

    def sleep_through_the_lease() -> None:
        world.clock.boot_s += 100

    on_claim(world, sleep_through_the_lease)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    status, message = outcome(world, requested)
    assert status == 503
    assert "nothing was run" in message


async def test_start_by_that_passed_after_the_claim_stops_the_command(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)

    def sleep_past_start_by() -> None:
        world.clock.ms = requested.start_by_ms + 1

    on_claim(world, sleep_past_start_by)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    assert outcome(world, requested)[0] == 504


async def test_a_claim_that_was_made_too_late_runs_nothing(world: World, api: ScriptedApiServer) -> None:
    requested, event = world.command("DELETE", POD)
    world.leases.now_ms = lambda: requested.start_by_ms
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    assert outcome(world, requested)[0] == 504


async def test_without_the_right_to_claim_nothing_changes(world: World, api: ScriptedApiServer) -> None:
    def refuse(call: str, name: str) -> None:
        if call == "create" and name.startswith("daas-claim-"):
            world.clock.ms += 10_000
            raise KubeForbiddenError(403, "no")

    world.leases.before = refuse
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    status, message = outcome(world, requested)
    assert status == 500
    assert "not run" in message


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_who_lost_the_lead_before_the_claim_leaves_the_command_to_the_next_term(
    method: str, world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command(method, POD)
    async with listener(world, api) as running:
        world.clock.boot_s += 100
        world.ledger.publish(event)
        # The same process leads again, and sees the event again.
        await until(lambda: requested.request_id in world.answers())
        assert not running.term.is_current()
    assert len(api.seen) == 1
    assert outcome(world, requested)[0] == 200
    assert world.leases.stored[LEASE].transitions == 1


async def test_who_loses_the_lead_while_he_verifies_leaves_refusals_to_the_next_term(
    world: World, api: ScriptedApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms: list[int] = []
    execute, transaction = world.ledger.execute, world.ledger.get_signed_transaction

    async def noting(data: bytes, signature: bytes) -> ExecutionOutcome:
        terms.append(world.leases.stored[LEASE].transitions)
        return await execute(data, signature)

    async def late(digest: str) -> SignedTransaction | None:
        if world.leases.stored[LEASE].transitions == 0:
            world.clock.boot_s += 100
        return await transaction(digest)

    monkeypatch.setattr(world.ledger, "execute", noting)
    monkeypatch.setattr(world.ledger, "get_signed_transaction", late)
    world.set_seal(revoked=True)
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert terms == [1]
    assert api.seen == []


async def test_who_loses_the_lead_while_he_drains_leaves_refusals_to_the_next_one(
    world: World, api: ScriptedApiServer
) -> None:
    """Who may find it in order: then what was run would be recorded as refused."""
    tried = asyncio.Event()

    def away(transaction: bytes) -> ExecutionOutcome:
        tried.set()
        raise LedgerUnavailableError("away")

    world.ledger.on_execute = away
    world.set_seal(revoked=True)
    _, event = world.command("DELETE", POD)
    async with listener(world, api) as running:
        world.ledger.publish(event)
        await tried.wait()
        running.stop.set()
        await quiet()
        assert not running.task.done()
        world.clock.boot_s += 100
        # Less than it would drain.
        await asyncio.wait_for(running.task, 1)
        tried.clear()
        await quiet()
    assert not tried.is_set()


async def test_while_the_api_server_is_away_nothing_is_run_or_lost(
    world: World, api: ScriptedApiServer
) -> None:
    first, first_event = world.command("DELETE", POD)
    second, second_event = world.command("DELETE", f"{POD}-2")
    async with listener(world, api) as running:
        world.leases.away()
        world.ledger.publish(first_event)
        await until(lambda: "create" in world.leases.calls[-3:])
        world.clock.boot_s += 11
        await until(lambda: not running.term.is_current())
        world.ledger.publish(second_event)
        await quiet()
        assert api.seen == []
        assert world.answers() == {}
        world.leases.back()
        await until(lambda: len(world.answers()) == 2)
    assert sorted(seen.target for seen in api.seen) == [POD, f"{POD}-2"]
    assert {outcome(world, first)[0], outcome(world, second)[0]} == {200}


async def test_the_watermark_waits_for_what_is_neither_answered_nor_claimed(
    world: World, api: ScriptedApiServer
) -> None:
    def away(call: str, name: str) -> None:
        if call == "create" and name.startswith("daas-claim-"):
            raise KubeUnavailableError("away")

    requested, event = world.command("DELETE", POD)
    async with listener(world, api) as running:
        world.leases.before = away
        world.ledger.publish(event)
        world.ledger.progress()
        await until(lambda: world.leases.calls.count("create") > 3)
        assert running.service.watermark == world.ledger.checkpoint - 2
        world.leases.back()
        await until(lambda: running.service.watermark == world.ledger.checkpoint)
        assert len(world.leases.claims) == 1
    assert requested.request_id in world.answers()
    assert int(world.leases.stored[LEASE].annotations[WATERMARK]) == world.ledger.checkpoint
