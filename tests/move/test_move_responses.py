"""Answers: once, by the assigned executor, in time; what comes for nothing changes nothing."""

from __future__ import annotations

import pytest

from k3s_daas.contract import calls
from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.calls import Response
from k3s_daas.contract.events import ResponseIgnored
from k3s_daas.ids import new_request_id
from tests.move.harness import Chain, Receipt
from tests.move.world import ANSWER, World, administering

UNKNOWN, ANSWERED, TOO_LATE = 0, 1, 2


def ignored(receipt: Receipt) -> ResponseIgnored:
    assert [name for name, _ in receipt.events] == ["ResponseIgnored"]
    return ResponseIgnored.decode(receipt.event("ResponseIgnored"))


def test_only_the_assigned_executor_answers(chain: Chain) -> None:
    world = World.create(chain)
    other = world.add_executor()
    seal = world.holder()
    command = world.execute(seal)
    answering = world.answering(seal, Response(command.request_id, 200, ANSWER))
    for sender in (other, world.gateway, seal.owner, world.admin):
        assert chain.abort(sender, answering) == "ENotAssignedExecutor"
    chain.run(world.executor, answering)


def test_a_second_answer_changes_nothing(chain: Chain, world: World) -> None:
    seal = world.holder()
    command = world.execute(seal)
    world.answer(seal, command.request_id)
    field = request_object_id(world.package, seal.ref.id, command.request_id)
    before = chain.object(field)
    chain.clock.advance(1_000)
    receipt = world.answer(seal, command.request_id, status_code=500, payload=[b"another"])
    assert ignored(receipt) == ResponseIgnored(
        world.cluster.id, seal.ref.id, command.request_id, world.executor.address, ANSWERED
    )
    assert chain.object(field) == before


def test_an_answer_is_taken_until_answer_by(chain: Chain, world: World) -> None:
    seal = world.holder()
    in_time, late = world.execute(seal), world.execute(seal)
    chain.clock.set(in_time.answer_by_ms)
    assert world.answer(seal, in_time.request_id).events[0][0] == "K8sRequestProcessed"
    chain.clock.advance(1)
    field = request_object_id(world.package, seal.ref.id, late.request_id)
    before = chain.object(field)
    assert ignored(world.answer(seal, late.request_id)).reason == TOO_LATE
    assert chain.object(field) == before


def test_an_answer_to_an_unknown_request_does_not_abort_its_batch(chain: Chain, world: World) -> None:
    seal = world.holder()
    command = world.execute(seal)
    unknown = new_request_id(chain.now_ms)
    responses = [Response(unknown, 200, ANSWER), Response(command.request_id, 200, ANSWER)]
    receipt = chain.run(world.executor, world.answering(seal, *responses))
    assert [name for name, _ in receipt.events] == ["ResponseIgnored", "K8sRequestProcessed"]
    event = ResponseIgnored.decode(receipt.event("ResponseIgnored"))
    assert (event.request_id, event.reason) == (unknown, UNKNOWN)
    assert chain.find(request_object_id(world.package, seal.ref.id, unknown)) is None


def test_a_stranger_leaves_no_trace_of_requests_that_never_were(chain: Chain, world: World) -> None:
    seal = world.holder()
    answering = world.answering(seal, Response(new_request_id(chain.now_ms), 200, ANSWER))
    assert chain.abort(chain.account(), answering) == "ENotAssignedExecutor"


def test_what_ran_is_recorded_whatever_became_of_seal_and_executor(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = world.execute(seal)
    world.administer(
        administering(calls.revoke, seal.ref, reason="lost"),
        administering(calls.pause),
        administering(calls.remove_executor, world.executor.address),
    )
    assert world.answer(seal, command.request_id).events[0][0] == "K8sRequestProcessed"


def test_a_request_of_another_cluster_is_not_answered_through_this_one(chain: Chain, world: World) -> None:
    other = World.create(chain)
    seal = other.holder()
    command = other.execute(seal)
    answering = world.answering(seal, Response(command.request_id, 200, ANSWER))
    assert chain.abort(other.executor, answering) == "EWrongCluster"


@pytest.mark.parametrize("status_code", [0, 199, 600, 65_535])
def test_a_status_is_one_of_http(chain: Chain, world: World, status_code: int) -> None:
    seal = world.holder()
    answering = world.answering(seal, Response(new_request_id(chain.now_ms), status_code, ANSWER))
    assert chain.abort(world.executor, answering) == "EInvalidStatusCode"


@pytest.mark.parametrize(
    ("payload", "refused"),
    [
        ([], "EEmptyPayload"),
        ([b""], "EEmptyPayload"),
        ([b"x" * 16_001], "EPayloadTooLarge"),
        ([b"x"] * 9, "EPayloadTooLarge"),
        ([b"x" * 16_000] * 7, "EPayloadTooLarge"),
    ],
    ids=["none", "an empty chunk", "a chunk", "their number", "their sum"],
)
def test_an_answer_has_bytes_and_a_limit(
    chain: Chain, world: World, payload: list[bytes], refused: str
) -> None:
    seal = world.holder()
    command = world.execute(seal)
    answering = world.answering(seal, Response(command.request_id, 200, payload))
    assert chain.abort(world.executor, answering) == refused


def test_an_answer_names_its_request_by_16_bytes(chain: Chain, world: World) -> None:
    seal = world.holder()
    answering = world.answering(seal, Response(b"short", 200, ANSWER))
    assert chain.abort(world.executor, answering) == "EInvalidRequestId"
