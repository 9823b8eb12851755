"""The end of requests: when, by whom, and that nothing is left of them."""

from __future__ import annotations

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.calls import Response
from k3s_daas.contract.events import RequestsReclaimed, RequestTimedOut, ResponseIgnored
from k3s_daas.ids import new_request_id
from tests.move.harness import Account, Chain, Receipt
from tests.move.world import DAY_MS, POLICY, Seal, World, administering

READ_TTL_MS = POLICY.read_ttl_ms + POLICY.ttl_per_priority_ms
ID_WINDOW_MS = 60_000
PAYERS_TIME_MS = 30 * DAY_MS


@pytest.fixture
def seal(world: World) -> Seal:
    return world.holder()


@pytest.fixture(scope="module")
def hasty(chain: Chain) -> World:
    """A cluster that keeps no answer."""
    world = World.create(chain)
    world.set_policy(read_ttl_ms=0, write_ttl_ms=0, ttl_per_priority_ms=0)
    return world


def answered(world: World, seal: Seal) -> calls.Command:
    command = world.execute(seal)
    world.answer(seal, command.request_id)
    return command


def reclaim(world: World, seal: Seal, *request_ids: bytes, by: Account | None = None) -> Receipt:
    return world.chain.run(by or world.gateway, world.reclaiming(seal, *request_ids))


def counted(receipt: Receipt) -> tuple[int, int, int]:
    """Reclaimed, timed out, skipped."""
    event = RequestsReclaimed.decode(receipt.event("RequestsReclaimed"))
    return event.reclaimed, event.timed_out, event.skipped


def exists(world: World, seal: Seal, request_id: bytes) -> bool:
    return world.chain.find(request_object_id(world.package, seal.ref.id, request_id)) is not None


# When


def test_an_answered_request_is_due_when_it_expires(chain: Chain, world: World, seal: Seal) -> None:
    command = answered(world, seal)
    chain.clock.advance(READ_TTL_MS - 1)
    assert counted(reclaim(world, seal, command.request_id)) == (0, 0, 1)
    assert exists(world, seal, command.request_id)
    chain.clock.advance(1)
    receipt = reclaim(world, seal, command.request_id)
    assert [name for name, _ in receipt.events] == ["RequestsReclaimed"]
    assert RequestsReclaimed.decode(receipt.event("RequestsReclaimed")) == RequestsReclaimed(
        cluster=world.cluster.id,
        seal=seal.ref.id,
        by=world.gateway.address,
        reclaimed=1,
        timed_out=0,
        skipped=0,
    )
    assert not exists(world, seal, command.request_id)


def test_a_request_outlives_the_window_of_its_id(chain: Chain, hasty: World) -> None:
    """The window's last moment is still one at which the id would be accepted again."""
    seal = hasty.holder()
    request_id = new_request_id(chain.now_ms + 5_000)
    command = hasty.execute(seal, hasty.command(seal, request_id=request_id))
    hasty.answer(seal, request_id)
    chain.clock.advance(5_000 + ID_WINDOW_MS)
    assert counted(reclaim(hasty, seal, request_id)) == (0, 0, 1)
    again = hasty.command(seal, request_id=request_id)
    assert chain.abort(hasty.gateway, hasty.executing(seal, again)) == "ERequestExists"
    chain.clock.advance(1)
    assert counted(reclaim(hasty, seal, request_id)) == (1, 0, 0)
    for replayed in (command, hasty.command(seal, request_id=request_id)):
        assert chain.abort(hasty.gateway, hasty.executing(seal, replayed)) == "ERequestIdOutsideWindow"


def test_an_unanswered_request_can_be_answered_as_long_as_it_says(chain: Chain, hasty: World) -> None:
    seal = hasty.holder()
    command, other = hasty.execute(seal), hasty.execute(seal)
    chain.clock.set(command.answer_by_ms)
    assert counted(reclaim(hasty, seal, command.request_id)) == (0, 0, 1)
    hasty.answer(seal, other.request_id)
    chain.clock.advance(1)
    receipt = reclaim(hasty, seal, command.request_id, other.request_id)
    assert counted(receipt) == (2, 1, 0)
    assert [name for name, _ in receipt.events] == ["RequestTimedOut", "RequestsReclaimed"]
    assert RequestTimedOut.decode(receipt.event("RequestTimedOut")) == RequestTimedOut(
        cluster=hasty.cluster.id,
        seal=seal.ref.id,
        request_id=command.request_id,
        requester=seal.owner.address,
        executor=hasty.executor.address,
        answer_by_ms=command.answer_by_ms,
        closed_at_ms=chain.now_ms,
    )


def test_an_unanswered_request_is_kept_for_its_time_too(chain: Chain, world: World, seal: Seal) -> None:
    command = world.execute(seal)
    chain.clock.set(command.answer_by_ms + READ_TTL_MS - 1)
    assert counted(reclaim(world, seal, command.request_id)) == (0, 0, 1)
    chain.clock.advance(1)
    assert counted(reclaim(world, seal, command.request_id)) == (1, 1, 0)


def test_an_answer_that_comes_after_the_end_changes_nothing(chain: Chain, world: World, seal: Seal) -> None:
    command = world.execute(seal)
    chain.clock.set(command.answer_by_ms + READ_TTL_MS)
    reclaim(world, seal, command.request_id)
    receipt = world.answer(seal, command.request_id)
    assert [name for name, _ in receipt.events] == ["ResponseIgnored"]
    assert ResponseIgnored.decode(receipt.event("ResponseIgnored")).reason == 0
    assert not exists(world, seal, command.request_id)


# Which


def test_what_is_not_due_or_not_there_is_passed_over(chain: Chain, world: World, seal: Seal) -> None:
    old = answered(world, seal)
    chain.clock.advance(READ_TTL_MS)
    young = answered(world, seal)
    unknown = new_request_id(chain.now_ms)
    receipt = reclaim(
        world, seal, unknown, old.request_id, young.request_id, old.request_id, b"", b"no id", bytes(17)
    )
    assert counted(receipt) == (1, 0, 6)
    assert not exists(world, seal, old.request_id)
    assert exists(world, seal, young.request_id)


def test_an_empty_list_is_no_mistake(world: World, seal: Seal) -> None:
    assert counted(reclaim(world, seal)) == (0, 0, 0)


def test_64_go_at_a_time_and_leave_nothing_behind(chain: Chain, world: World) -> None:
    seal = world.holder()
    objects = {found.id for found in chain.ledger.final.objects()}
    metered = sum(found.storage_rebate for found in chain.ledger.final.objects())
    commands = [world.execute(seal) for _ in range(65)]
    ids = [command.request_id for command in commands]
    for start in range(0, 64, 16):
        responses = [Response(request_id, 200, [b"sealed"]) for request_id in ids[start : start + 16]]
        chain.run(world.executor, world.answering(seal, *responses))
    assert len({found.id for found in chain.ledger.final.objects()} - objects) == 65
    chain.clock.set(commands[-1].answer_by_ms + READ_TTL_MS)
    assert chain.abort(world.gateway, world.reclaiming(seal, *ids)) == "ETooManyRequests"
    assert counted(reclaim(world, seal, *ids[:64])) == (64, 0, 0)
    assert counted(reclaim(world, seal, *ids[60:])) == (1, 1, 4)
    assert {found.id for found in chain.ledger.final.objects()} == objects
    assert sum(found.storage_rebate for found in chain.ledger.final.objects()) == metered


# Who


def test_payers_get_the_deposit_back(chain: Chain, world: World, seal: Seal) -> None:
    command = answered(world, seal)
    deposit = chain.object(request_object_id(world.package, seal.ref.id, command.request_id)).storage_rebate
    chain.clock.advance(READ_TTL_MS)
    before = chain.balance(world.executor)
    receipt = reclaim(world, seal, command.request_id, by=world.executor)
    gas = receipt.transaction.effects.gas
    assert gas.storage_rebate - gas.storage_cost >= deposit * 98 // 100
    assert chain.balance(world.executor) - before == -gas.net


def test_others_wait_30_days_longer(chain: Chain, world: World, seal: Seal) -> None:
    command = answered(world, seal)
    due_at_ms = chain.now_ms + READ_TTL_MS
    others = (chain.account(), seal.owner, world.admin)
    for moment in (due_at_ms, due_at_ms + PAYERS_TIME_MS - 1):
        chain.clock.set(moment)
        for other in others:
            assert chain.abort(other, world.reclaiming(seal, command.request_id)) == "ENotPayer"
    chain.clock.advance(1)
    assert counted(reclaim(world, seal, command.request_id, by=others[0])) == (1, 0, 0)
    assert not exists(world, seal, command.request_id)


def test_others_wait_30_days_after_an_unanswered_request_too(chain: Chain, world: World, seal: Seal) -> None:
    command = world.execute(seal)
    due_at_ms = command.answer_by_ms + READ_TTL_MS
    chain.clock.set(due_at_ms + PAYERS_TIME_MS - 1)
    assert chain.abort(seal.owner, world.reclaiming(seal, command.request_id)) == "ENotPayer"
    chain.clock.advance(1)
    assert counted(reclaim(world, seal, command.request_id, by=seal.owner)) == (1, 1, 0)


def test_others_pass_over_what_is_not_due_and_get_what_is_theirs(chain: Chain) -> None:
    world = World.create(chain)
    world.set_policy(max_seal_ms=366 * DAY_MS)
    seal = world.stake(expires_at_ms=chain.now_ms + 366 * DAY_MS)
    world.open_session(seal, expires_at_ms=chain.now_ms + 366 * DAY_MS)
    old = answered(world, seal)
    chain.clock.advance(READ_TTL_MS + PAYERS_TIME_MS)
    young, unknown = answered(world, seal), new_request_id(chain.now_ms)
    receipt = reclaim(world, seal, unknown, young.request_id, old.request_id, by=seal.owner)
    assert counted(receipt) == (1, 0, 2)
    assert exists(world, seal, young.request_id)


def test_one_request_that_is_still_the_payers_spoils_the_call_of_others(chain: Chain) -> None:
    world = World.create(chain)
    world.set_policy(max_seal_ms=366 * DAY_MS)
    seal = world.stake(expires_at_ms=chain.now_ms + 366 * DAY_MS)
    world.open_session(seal, expires_at_ms=chain.now_ms + 366 * DAY_MS)
    old = answered(world, seal)
    chain.clock.advance(PAYERS_TIME_MS)
    recent = answered(world, seal)
    chain.clock.advance(READ_TTL_MS)
    both = world.reclaiming(seal, old.request_id, recent.request_id)
    assert chain.abort(seal.owner, both) == "ENotPayer"
    assert counted(reclaim(world, seal, old.request_id, by=seal.owner)) == (1, 0, 0)


def test_others_leave_no_trace_of_calls_that_do_nothing(chain: Chain, world: World, seal: Seal) -> None:
    young = world.execute(seal)
    stranger = chain.account()
    for ids in ([], [new_request_id(chain.now_ms)], [young.request_id]):
        assert chain.abort(stranger, world.reclaiming(seal, *ids)) == "ENotPayer"


def test_removed_members_are_others(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = answered(world, seal)
    chain.clock.advance(READ_TTL_MS)
    world.administer(
        administering(calls.remove_gateway, world.gateway.address),
        administering(calls.remove_executor, world.executor.address),
    )
    for former in (world.gateway, world.executor):
        assert chain.abort(former, world.reclaiming(seal, command.request_id)) == "ENotPayer"


def test_neither_pause_nor_revocation_keeps_requests(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = answered(world, seal)
    world.revoke(seal)
    world.administer(administering(calls.pause))
    chain.clock.advance(READ_TTL_MS)
    assert counted(reclaim(world, seal, command.request_id)) == (1, 0, 0)
