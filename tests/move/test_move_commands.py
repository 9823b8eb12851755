"""Life of a command: accepted, recorded where everybody can compute it, announced, answered."""

from __future__ import annotations

from infra.local.sui.ledger.digests import base58
from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.calls import PayloadReference, Response
from k3s_daas.contract.events import ApiRequested, RequestProcessed
from k3s_daas.contract.objects import ClusterState, RequestState, ResponseState, SealState, UsageState
from k3s_daas.payload import payload_hash
from k3s_daas.rbac import Rule
from tests.move.harness import Chain
from tests.move.world import (
    ANSWER,
    CLUSTER,
    ENOUGH,
    HPKE_KEY,
    LISTENER_NAMESPACE,
    PAYLOAD,
    POLICY,
    READ,
    ROLE,
    WRITE,
    World,
    hash_of,
)


def test_an_accepted_command_is_announced(chain: Chain, world: World) -> None:
    seal = world.holder()
    command = world.command(seal, attributes=WRITE)
    receipt = chain.run(world.gateway, world.executing(seal, command))
    assert [name for name, _ in receipt.events] == ["K8sAPIRequest"]
    assert ApiRequested.decode(receipt.event("K8sAPIRequest")) == ApiRequested(
        cluster=world.cluster.id,
        seal=seal.ref.id,
        request_id=command.request_id,
        requester=seal.owner.address,
        role=ROLE,
        priority=1,
        gateway=world.gateway.address,
        executor=world.executor.address,
        session_key=seal.session_key,
        attributes=WRITE,
        payload_hash=hash_of(PAYLOAD),
        payload_size=sum(map(len, PAYLOAD)),
        payload_reference=b"",
        accepted_at_ms=chain.now_ms,
        start_by_ms=command.start_by_ms,
        finish_by_ms=command.finish_by_ms,
        answer_by_ms=command.answer_by_ms,
    )


def test_the_request_lies_where_its_id_says_and_holds_hashes_only(chain: Chain, world: World) -> None:
    seal = world.holder()
    command = world.command(seal)
    receipt = chain.run(world.gateway, world.executing(seal, command))
    found = chain.read(request_object_id(world.package, seal.ref.id, command.request_id))
    assert RequestState.decode(found) == RequestState(
        request_id=command.request_id,
        previous_transaction=base58(receipt.transaction.digest),
        executor=world.executor.address,
        gateway=world.gateway.address,
        requester=seal.owner.address,
        role=ROLE,
        attributes=READ,
        priority=1,
        request_hash=hash_of(PAYLOAD),
        request_size=sum(map(len, PAYLOAD)),
        accepted_at_ms=chain.now_ms,
        start_by_ms=command.start_by_ms,
        finish_by_ms=command.finish_by_ms,
        answer_by_ms=command.answer_by_ms,
        expires_at_ms=command.answer_by_ms + POLICY.read_ttl_ms + POLICY.ttl_per_priority_ms,
        response=None,
    )


def test_the_product_reads_what_the_contract_wrote(chain: Chain, world: World) -> None:
    seal = world.holder(amount=ENOUGH)
    cluster = ClusterState.decode(chain.read(world.cluster.id))
    assert (cluster.version, cluster.name, cluster.paused) == (1, "test", False)
    assert (cluster.listener_namespace, cluster.policy) == (LISTENER_NAMESPACE, POLICY)
    announced = cluster.executors[world.executor.address]
    assert (announced.hpke_key, announced.generation) == (HPKE_KEY, 1)
    assert cluster.capabilities == {
        capability for duty, capability in world.capabilities.items() if duty != CLUSTER
    }
    assert cluster.gateways == {world.gateway.address}
    role = cluster.roles[ROLE]
    assert (role.priority, role.stake, role.open) == (1, 0, True)
    assert role.rules == (Rule(("*",), ("*",), ("*",)), Rule(("get",), non_resource_urls=("/api/*",)))
    state = SealState.decode(chain.read(seal.ref.id))
    assert (state.ref, state.cluster, state.owner) == (seal.ref, world.cluster.id, seal.owner.address)
    assert (state.role, state.stake, state.unbonding_ms) == (ROLE, ENOUGH, POLICY.unbonding_ms)
    assert (state.unbonding, state.withdrawable_at_ms, state.revoked) == (0, 0, False)
    assert (state.max_slash_bps, state.staked_total, state.slashed) == (POLICY.max_slash_bps, ENOUGH, 0)
    assert set(state.sessions) == {seal.session_key}
    assert state.usage == UsageState(0, 0, 0, 0)


def test_the_hash_on_chain_is_the_one_of_the_product() -> None:
    for chunks in ([b"a"], [b"a" * 16_000, b"b"], [bytes(16_000)] * 6):
        assert payload_hash(chunks) == hash_of(chunks)


def test_a_payload_of_96_kib_fits(chain: Chain, world: World) -> None:
    seal = world.holder()
    chunks = [bytes([index]) * 16_000 for index in range(6)] + [b"x" * (96 * 1024 - 96_000)]
    command = world.command(seal, payload=chunks)
    receipt = chain.run(world.gateway, world.executing(seal, command))
    event = ApiRequested.decode(receipt.event("K8sAPIRequest"))
    assert (event.payload_hash, event.payload_size) == (hash_of(chunks), 96 * 1024)


def test_an_answer_is_recorded_and_announced(chain: Chain, world: World) -> None:
    seal = world.holder()
    command = world.execute(seal, world.command(seal, attributes=WRITE))
    accepted_at_ms = chain.now_ms
    chain.clock.advance(1_234)
    receipt = world.answer(seal, command.request_id, status_code=404)
    assert [name for name, _ in receipt.events] == ["K8sRequestProcessed"]
    assert RequestProcessed.decode(receipt.event("K8sRequestProcessed")) == RequestProcessed(
        cluster=world.cluster.id,
        seal=seal.ref.id,
        request_id=command.request_id,
        requester=seal.owner.address,
        role=ROLE,
        executor=world.executor.address,
        attributes=WRITE,
        status_code=404,
        request_hash=hash_of(PAYLOAD),
        response_hash=hash_of(ANSWER),
        response_size=sum(map(len, ANSWER)),
        accepted_at_ms=accepted_at_ms,
        answered_at_ms=chain.now_ms,
    )
    found = RequestState.decode(chain.read(request_object_id(world.package, seal.ref.id, command.request_id)))
    assert found.previous_transaction == base58(receipt.transaction.digest)
    assert found.expires_at_ms == chain.now_ms + POLICY.write_ttl_ms + POLICY.ttl_per_priority_ms
    assert found.response == ResponseState(404, hash_of(ANSWER), sum(map(len, ANSWER)), b"", chain.now_ms)


def test_several_answers_go_in_one_transaction(chain: Chain, world: World) -> None:
    seal = world.holder()
    commands = [world.execute(seal) for _ in range(3)]
    responses = [Response(command.request_id, 200, [b"sealed"]) for command in commands]
    receipt = chain.run(world.executor, world.answering(seal, *responses))
    assert [name for name, _ in receipt.events] == ["K8sRequestProcessed"] * 3


def test_commands_of_different_holders_touch_nothing_in_common(chain: Chain, world: World) -> None:
    seals = [world.holder(), world.holder()]
    written = []
    for seal in seals:
        receipt = chain.run(world.gateway, world.executing(seal, world.command(seal)))
        written.append({changed.id for changed in receipt.transaction.effects.changed})
        assert world.cluster.id in {read.id for read in receipt.transaction.effects.read}
    assert not written[0] & written[1]


def test_the_secret_of_a_token_never_reaches_the_chain(chain: Chain, world: World) -> None:
    """In no input, event, effect or object, whatever was done with the token."""
    seal = world.holder(amount=ENOUGH)
    referenced = PayloadReference(b"bucket/object", bytes(32), 5)
    begun = len(world.secrets)
    for changes in ({}, {"attributes": WRITE}, {"payload": referenced}):
        command = world.execute(seal, world.command(seal, **changes))
        world.answer(seal, command.request_id)
    world.refuses(seal, start_by_ms=0)
    chain.run(world.gateway, world.reclaiming(seal, command.request_id))
    assert len(world.secrets) == begun + 4
    known = [executed.data.encoded for executed in chain.ledger.transactions.values()]
    known += [event.contents for executed in chain.ledger.transactions.values() for event in executed.events]
    known += [found.contents for found in chain.ledger.final.objects()]
    for secret in world.secrets:
        assert not any(secret in text for text in known)
