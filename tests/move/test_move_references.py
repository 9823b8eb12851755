"""Bodies that lie off chain: the chain knows where, how large, and their hash."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.calls import PayloadReference, Response
from k3s_daas.contract.events import ApiRequested, RequestProcessed, ResponseIgnored
from k3s_daas.contract.objects import RequestState, ResponseState
from tests.move.harness import Chain
from tests.move.world import POLICY, READ, WRITE, Seal, World

REFERENCE = PayloadReference(b"bucket/object", bytes(range(32)), 3 * 1024 * 1024)
LARGEST = 16 * 1024 * 1024
BAD = {
    "no reference": (replace(REFERENCE, reference=b""), "EInvalidReference"),
    "a long reference": (replace(REFERENCE, reference=b"r" * 129), "EInvalidReference"),
    "no hash": (replace(REFERENCE, hash=b""), "EInvalidReference"),
    "a short hash": (replace(REFERENCE, hash=bytes(31)), "EInvalidReference"),
    "a long hash": (replace(REFERENCE, hash=bytes(33)), "EInvalidReference"),
    "no bytes": (replace(REFERENCE, size=0), "EEmptyPayload"),
    "too many bytes": (replace(REFERENCE, size=LARGEST + 1), "EPayloadTooLarge"),
    "a size that overflows": (replace(REFERENCE, size=2**64 - 1), "EPayloadTooLarge"),
}
EDGES = [
    PayloadReference(b"r", bytes(32), 1),
    PayloadReference(b"r" * 128, b"\xff" * 32, LARGEST),
]


@pytest.fixture(scope="module")
def seal(world: World) -> Seal:
    return world.holder()


def request_of(world: World, seal: Seal, request_id: bytes) -> RequestState:
    return RequestState.decode(world.chain.read(request_object_id(world.package, seal.ref.id, request_id)))


def test_a_command_by_reference_is_announced_with_it(chain: Chain, world: World, seal: Seal) -> None:
    assert REFERENCE.size > POLICY.max_inline_bytes
    command = world.command(seal, attributes=WRITE, payload=REFERENCE)
    receipt = chain.run(world.gateway, world.executing(seal, command))
    event = ApiRequested.decode(receipt.event("K8sAPIRequest"))
    assert (event.payload_reference, event.payload_hash, event.payload_size) == (
        REFERENCE.reference,
        REFERENCE.hash,
        REFERENCE.size,
    )
    found = request_of(world, seal, command.request_id)
    assert (found.request_hash, found.request_size) == (REFERENCE.hash, REFERENCE.size)


def test_an_answer_by_reference_is_recorded_with_it(chain: Chain, world: World, seal: Seal) -> None:
    command = world.execute(seal)
    receipt = world.answer(seal, command.request_id, payload=REFERENCE, status_code=201)
    event = RequestProcessed.decode(receipt.event("K8sRequestProcessed"))
    assert (event.response_hash, event.response_size) == (REFERENCE.hash, REFERENCE.size)
    assert request_of(world, seal, command.request_id).response == ResponseState(
        201, REFERENCE.hash, REFERENCE.size, REFERENCE.reference, chain.now_ms
    )


@pytest.mark.parametrize("reference", EDGES, ids=["the least", "the most"])
def test_references_at_the_bounds(world: World, seal: Seal, reference: PayloadReference) -> None:
    command = world.execute(seal, world.command(seal, payload=reference))
    world.answer(seal, command.request_id, payload=reference)


@pytest.mark.parametrize("kind", BAD)
def test_a_reference_is_well_formed_both_ways(chain: Chain, world: World, seal: Seal, kind: str) -> None:
    reference, refused = BAD[kind]
    assert world.refuses(seal, payload=reference) == refused
    command = world.execute(seal)
    answering = world.answering(seal, Response(command.request_id, 200, reference))
    assert chain.abort(world.executor, answering) == refused
    assert request_of(world, seal, command.request_id).response is None


def test_by_reference_the_same_is_refused(chain: Chain, world: World) -> None:
    reader = world.holder(read_only=True)
    assert world.refuses(reader, attributes=WRITE, payload=REFERENCE) == "ESessionReadOnly"
    stranger = chain.account()
    assert world.refuses(reader, stranger, payload=REFERENCE) == "EUnknownGateway"
    command = world.execute(reader, world.command(reader, attributes=READ, payload=REFERENCE))
    inline = world.command(reader, request_id=command.request_id)
    assert chain.abort(world.gateway, world.executing(reader, inline)) == "ERequestExists"
    expired = replace(command, request_id=command.request_id[:15] + b"x", start_by_ms=chain.now_ms - 1)
    assert chain.abort(world.gateway, world.executing(reader, expired)) == "EStartByPassed"
    answering = world.answering(reader, Response(command.request_id, 200, REFERENCE))
    assert chain.abort(stranger, answering) == "ENotAssignedExecutor"


def test_second_and_late_answers_by_reference_change_nothing(chain: Chain, world: World) -> None:
    seal = world.holder()
    answered, late = world.execute(seal), world.execute(seal)
    world.answer(seal, answered.request_id, payload=REFERENCE)
    chain.clock.set(late.answer_by_ms + 1)
    for command, reason in ((answered, 1), (late, 2)):
        before = request_of(world, seal, command.request_id)
        receipt = world.answer(seal, command.request_id, payload=REFERENCE)
        assert ResponseIgnored.decode(receipt.event("ResponseIgnored")).reason == reason
        assert request_of(world, seal, command.request_id) == before
