"""Which commands the contract refuses, each by the name of its abort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.contract import calls
from k3s_daas.contract.addresses import request_object_id
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.errors import PayloadTooLargeError
from k3s_daas.ids import new_request_id
from k3s_daas.sui.transactions import PtbBuilder
from tests.move.harness import Chain
from tests.move.world import DAY_MS, ENOUGH, POLICY, READ, ROLE, WRITE, Seal, World, administering

REVIEW = OnChainAttributes("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews")
URL = OnChainAttributes("get", non_resource_url="/api/*")


@pytest.fixture(scope="module")
def seal(world: World) -> Seal:
    """One that may do everything; no test changes it."""
    return world.holder()


# Gateway, cluster, pause


def test_only_a_registered_gateway_submits(world: World, seal: Seal) -> None:
    stranger = world.chain.account()
    token = world.token(seal, gateway=stranger.address)
    command = world.command(seal, token)
    assert world.chain.abort(stranger, world.executing(seal, command)) == "EUnknownGateway"


def test_a_removed_gateway_submits_no_more(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    world.execute(seal)
    world.administer(administering(calls.remove_gateway, world.gateway.address))
    assert world.refuses(seal) == "EUnknownGateway"


def test_a_seal_is_good_for_its_own_cluster_only(chain: Chain, world: World, seal: Seal) -> None:
    other = World.create(chain)
    assert other.refuses(seal) == "EWrongCluster"


def test_a_paused_cluster_takes_no_commands_but_answers(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = world.execute(seal)
    world.administer(administering(calls.pause))
    assert world.refuses(seal) == "EClusterPaused"
    assert world.answer(seal, command.request_id).events[0][0] == "K8sRequestProcessed"
    world.administer(administering(calls.resume))
    world.execute(seal)


def test_only_a_registered_executor_is_assigned(world: World, seal: Seal) -> None:
    assert world.refuses(seal, executor=world.gateway.address) == "EUnknownExecutor"


# Request ids


def test_an_id_is_used_once(world: World, seal: Seal) -> None:
    command = world.execute(seal)
    assert world.chain.abort(world.gateway, world.executing(seal, command)) == "ERequestExists"
    assert world.refuses(seal, request_id=command.request_id, attributes=WRITE) == "ERequestExists"


def test_a_used_id_is_reported_even_when_everything_else_is_over(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    command = world.execute(seal)
    world.administer(administering(calls.pause))
    chain.clock.advance(1_000_000)
    assert chain.abort(world.gateway, world.executing(seal, command)) == "ERequestExists"


def test_the_same_id_on_another_seal_is_another_request(chain: Chain, world: World, seal: Seal) -> None:
    other = world.holder()
    command = world.execute(seal)
    world.execute(other, world.command(other, request_id=command.request_id))
    for one in (seal, other):
        assert chain.find(request_object_id(world.package, one.ref.id, command.request_id)) is not None


@pytest.mark.parametrize("length", [0, 15, 17])
def test_an_id_has_16_bytes(world: World, seal: Seal, length: int) -> None:
    request_id = (new_request_id(world.chain.now_ms) + b"x")[:length]
    assert world.refuses(seal, request_id=request_id) == "EInvalidRequestId"


@pytest.mark.parametrize("age_ms", [60_000, 0, -5_000])
def test_the_time_of_an_id_may_differ_a_little(world: World, seal: Seal, age_ms: int) -> None:
    request_id = new_request_id(world.chain.now_ms - age_ms)
    world.execute(seal, world.command(seal, request_id=request_id))


@pytest.mark.parametrize("age_ms", [60_001, -5_001])
def test_an_id_outside_its_window_is_refused(world: World, seal: Seal, age_ms: int) -> None:
    request_id = new_request_id(world.chain.now_ms - age_ms)
    assert world.refuses(seal, request_id=request_id) == "ERequestIdOutsideWindow"


@pytest.mark.parametrize("time", [0, 2**64 - 1, 2**63])
def test_no_time_of_an_id_overflows(world: World, seal: Seal, time: int) -> None:
    request_id = time.to_bytes(8, "big") + bytes(range(8))
    assert world.refuses(seal, request_id=request_id) == "ERequestIdOutsideWindow"


# Seal and grant


def test_a_revoked_seal_is_over(chain: Chain, world: World) -> None:
    seal = world.holder()
    world.revoke(seal)
    assert world.refuses(seal) == "ESealRevoked"
    assert chain.abort(seal.owner, world.opening(seal.ref, seal.session_key)) == "ESealRevoked"


def test_a_seal_ends_at_its_time(chain: Chain, world: World) -> None:
    seal = world.stake(expires_at_ms=chain.now_ms + 10_000)
    world.open_session(seal, expires_at_ms=chain.now_ms + 10_000)
    chain.clock.advance(9_999)
    world.execute(seal)
    chain.clock.advance(1)
    assert world.refuses(seal) == "ESealExpired"
    assert chain.abort(seal.owner, world.opening(seal.ref, seal.session_key)) == "ESealExpired"


def test_a_role_that_is_not_open_needs_a_grant_all_the_time(chain: Chain) -> None:
    world = World.create(chain)
    rule: dict[str, Any] = {"verbs": ["get"], "api_groups": [""], "resources": ["pods"]}
    world.define_role("auditor", [rule], is_open=False)
    owner = chain.account()
    staking = world.staking(owner, role="auditor")
    assert chain.abort(owner, staking) == "ENotGranted"

    def grant(expires_at_ms: int) -> None:
        world.administer(
            administering(calls.grant, holder=owner.address, role="auditor", expires_at_ms=expires_at_ms)
        )

    grant(chain.now_ms)
    assert chain.abort(owner, world.staking(owner, role="auditor")) == "EGrantExpired"
    grant(chain.now_ms + 5_000)
    seal = world.stake(owner, role="auditor")
    world.open_session(seal)
    world.execute(seal)
    chain.clock.advance(4_999)
    world.execute(seal)
    chain.clock.advance(1)
    assert world.refuses(seal) == "EGrantExpired"
    grant(chain.now_ms + DAY_MS)
    world.execute(seal)
    world.administer(administering(calls.remove_grant, holder=owner.address, role="auditor"))
    assert world.refuses(seal) == "ENotGranted"


def test_a_grant_is_for_one_address_and_one_role(chain: Chain) -> None:
    world = World.create(chain)
    for role in ("a", "b"):
        world.define_role(role, [], is_open=False)
    granted, other = chain.account(), chain.account()
    world.administer(administering(calls.grant, holder=granted.address, role="a", expires_at_ms=2**63))
    assert chain.abort(granted, world.staking(granted, role="b")) == "ENotGranted"
    assert chain.abort(other, world.staking(other, role="a")) == "ENotGranted"
    world.stake(granted, role="a")


# Sessions and claims


def test_a_key_without_a_session_signs_for_nobody(world: World, seal: Seal) -> None:
    token = world.token(seal, session=Ed25519PrivateKey.generate())
    command = world.command(seal, token)
    assert world.chain.abort(world.gateway, world.executing(seal, command)) == "EUnknownSession"


def test_the_session_of_another_seal_is_not_this_ones(world: World, seal: Seal) -> None:
    other = world.holder()
    token = world.token(seal, session=other.session)
    command = world.command(seal, token)
    assert world.chain.abort(world.gateway, world.executing(seal, command)) == "EUnknownSession"


def test_a_session_ends_at_its_time(chain: Chain, world: World) -> None:
    seal = world.stake()
    world.open_session(seal, expires_at_ms=chain.now_ms + 10_000)
    chain.clock.advance(9_999)
    world.execute(seal)
    chain.clock.advance(1)
    assert world.refuses(seal) == "ESessionExpired"


FORGERIES: dict[str, Callable[[calls.Command], calls.Command]] = {
    "another hash": lambda command: replace(command, secret_hash=bytes(32)),
    "an earlier window": lambda command: replace(command, not_before_ms=command.not_before_ms - 1),
    "a later end": lambda command: replace(command, token_expires_at_ms=command.token_expires_at_ms + 1),
    "no signature": lambda command: replace(command, claims_signature=b""),
    "a zero signature": lambda command: replace(command, claims_signature=bytes(64)),
    "a longer signature": lambda command: replace(command, claims_signature=command.claims_signature + b"\0"),
    "a changed signature": lambda command: replace(
        command, claims_signature=bytes([command.claims_signature[0] ^ 1]) + command.claims_signature[1:]
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_claims_are_what_the_session_key_signed(world: World, seal: Seal, forgery: str) -> None:
    command = FORGERIES[forgery](world.command(seal))
    assert world.chain.abort(world.gateway, world.executing(seal, command)) == "EInvalidClaimsSignature"


@pytest.mark.parametrize("field", ["cluster", "seal", "gateway"])
def test_claims_for_something_else_are_no_claims(world: World, seal: Seal, field: str) -> None:
    command = world.command(seal, world.token(seal, **{field: b"\7" * 32}))
    assert world.chain.abort(world.gateway, world.executing(seal, command)) == "EInvalidClaimsSignature"


def test_another_gateway_cannot_use_what_it_reads_on_the_chain(chain: Chain) -> None:
    world = World.create(chain)
    other = chain.account()
    world.administer(administering(calls.add_gateway, other.address))
    seal = world.holder()
    seen = world.execute(seal)
    replayed = replace(seen, request_id=new_request_id(chain.now_ms))
    assert chain.abort(other, world.executing(seal, replayed)) == "EInvalidClaimsSignature"


def test_claims_hold_in_their_window(chain: Chain, world: World) -> None:
    seal = world.holder()
    token = world.token(seal, now_ms=chain.now_ms + 1_000, lifetime_ms=10_000, backdate_ms=0)

    def submit() -> str:
        return chain.abort(world.gateway, world.executing(seal, world.command(seal, token)))

    chain.clock.advance(999)
    assert submit() == "EClaimsNotYetValid"
    chain.clock.advance(1)
    world.execute(seal, world.command(seal, token))
    chain.clock.advance(9_999)
    world.execute(seal, world.command(seal, token))
    chain.clock.advance(1)
    assert submit() == "EClaimsExpired"


@pytest.mark.parametrize(
    "changes",
    [
        {"secret_hash": bytes(31)},
        {"secret_hash": b""},
        {"not_before_ms": 5, "token_expires_at_ms": 5},
        {"not_before_ms": 2**64 - 1, "token_expires_at_ms": 0},
        {"not_before_ms": 0, "token_expires_at_ms": 2**64 - 1},
    ],
)
def test_malformed_claims_are_refused(world: World, seal: Seal, changes: dict[str, Any]) -> None:
    assert world.refuses(seal, **changes) == "EInvalidClaims"


def test_claims_for_longer_than_15_minutes_are_refused(world: World, seal: Seal) -> None:
    now_ms = world.chain.now_ms
    changes: dict[str, Any] = {"not_before_ms": now_ms, "token_expires_at_ms": now_ms + 900_001}
    assert world.refuses(seal, **changes) == "EInvalidClaims"


# Writes


def test_a_read_only_session_reads(world: World) -> None:
    seal = world.holder(read_only=True)
    for attributes in (READ, URL, REVIEW):
        world.execute(seal, world.command(seal, attributes=attributes))
    assert world.refuses(seal, attributes=WRITE) == "ESessionReadOnly"


def test_a_seal_below_the_minimum_reads(world: World) -> None:
    seal = world.holder(amount=ENOUGH - 1)
    for attributes in (READ, URL, REVIEW):
        world.execute(seal, world.command(seal, attributes=attributes))
    assert world.refuses(seal, attributes=WRITE) == "EStakeTooLow"


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward"])
def test_a_channel_into_a_pod_is_a_write(world: World, subresource: str) -> None:
    seal = world.holder(amount=ENOUGH - 1)
    channel = OnChainAttributes("get", "", "v1", "pods", subresource, "default", "web")
    assert world.refuses(seal, attributes=channel) == "EStakeTooLow"


def test_a_role_may_ask_for_more_stake_than_the_cluster_but_not_less(world: World) -> None:
    everything: dict[str, Any] = {"verbs": ["*"], "api_groups": ["*"], "resources": ["*"]}
    world.define_role("costly", [everything], stake=ENOUGH + 1)
    world.define_role("cheap", [everything], stake=1)
    assert world.refuses(world.holder(role="costly"), attributes=WRITE) == "EStakeTooLow"
    assert world.refuses(world.holder(role="cheap", amount=1), attributes=WRITE) == "EStakeTooLow"
    for role, amount in (("costly", ENOUGH + 1), ("cheap", ENOUGH)):
        seal = world.holder(role=role, amount=amount)
        world.execute(seal, world.command(seal, attributes=WRITE))


# Attributes


def pods(**changes: str) -> OnChainAttributes:
    return replace(READ, **changes)


@pytest.mark.parametrize(
    "attributes",
    [
        pods(verb=""),
        pods(verb="g" * 33),
        pods(verb="*"),
        pods(verb="get pods"),
        pods(api_group="g" * 254),
        pods(api_group="*"),
        pods(api_version=""),
        pods(api_version="v" * 64),
        pods(resource="p" * 64),
        pods(resource="*"),
        pods(resource="serviceaccounts/token"),
        pods(subresource="s" * 64),
        pods(subresource="proxy/"),
        pods(subresource="log", name=""),
        pods(namespace="n" * 64),
        pods(namespace="a/b"),
        pods(namespace="*"),
        pods(name="n" * 254),
        pods(name="a/b"),
        pods(name="a\nb"),
        pods(name="a\x7fb"),
        pods(non_resource_url="/api/*"),
        pods(resource=""),
        OnChainAttributes("get"),
        OnChainAttributes("get", non_resource_url="api"),
        OnChainAttributes("get", non_resource_url="/a*b"),
        OnChainAttributes("get", non_resource_url="/a b"),
        OnChainAttributes("get", non_resource_url="/" + "a" * 253),
        OnChainAttributes("get", namespace="default", non_resource_url="/api/*"),
        OnChainAttributes("get", name="x", non_resource_url="/api/*"),
        OnChainAttributes("get", subresource="proxy", non_resource_url="/api/*"),
        OnChainAttributes("get", api_group="apps", non_resource_url="/api/*"),
        OnChainAttributes("get", api_version="v1", non_resource_url="/api/*"),
    ],
    ids=repr,
)
def test_malformed_attributes_are_refused(world: World, seal: Seal, attributes: OnChainAttributes) -> None:
    assert world.refuses(seal, attributes=attributes) == "EMalformedAttributes"


def test_the_longest_attributes_are_accepted(world: World, seal: Seal) -> None:
    longest = OnChainAttributes("v" * 32, "g" * 253, "w" * 63, "r" * 63, "s" * 63, "n" * 63, "o" * 253)
    world.execute(seal, world.command(seal, attributes=longest))


@pytest.mark.parametrize("name", ["system:node-proxier", "Ünïcode", "with space", "*", "100%"])
def test_names_that_kubernetes_allows_are_accepted(world: World, seal: Seal, name: str) -> None:
    world.execute(seal, world.command(seal, attributes=pods(name=name)))


# Deadlines


def test_the_edges_of_the_deadlines(world: World, seal: Seal) -> None:
    now_ms = world.chain.now_ms
    latest = (now_ms + POLICY.max_start_ms, now_ms + POLICY.max_finish_ms, now_ms + POLICY.max_answer_ms)
    earliest = (now_ms, now_ms + 1, now_ms + 2)
    for start, finish, answer in (latest, earliest):
        times: dict[str, Any] = {"start_by_ms": start, "finish_by_ms": finish, "answer_by_ms": answer}
        world.execute(seal, world.command(seal, **times))


def test_too_late_to_start(world: World, seal: Seal) -> None:
    for start_by_ms in (world.chain.now_ms - 1, 0):
        assert world.refuses(seal, start_by_ms=start_by_ms) == "EStartByPassed"


@pytest.mark.parametrize(
    ("start", "finish", "answer"),
    [
        (POLICY.max_start_ms + 1, POLICY.max_finish_ms, POLICY.max_answer_ms),
        (1_000, POLICY.max_finish_ms + 1, POLICY.max_answer_ms),
        (1_000, 2_000, POLICY.max_answer_ms + 1),
        (1_000, 1_000, 2_000),
        (1_000, 2_000, 2_000),
        (3_000, 2_000, 4_000),
        (1_000, 3_000, 2_000),
        (1_000, 2_000, 2**63),
    ],
)
def test_deadlines_out_of_order_or_bounds(
    world: World, seal: Seal, start: int, finish: int, answer: int
) -> None:
    now_ms = world.chain.now_ms
    times: dict[str, Any] = {
        "start_by_ms": now_ms + start,
        "finish_by_ms": now_ms + finish,
        "answer_by_ms": now_ms + answer,
    }
    assert world.refuses(seal, **times) == "EInvalidDeadlines"


# Payload


@pytest.mark.parametrize("payload", [[b""], [b"sealed", b""]])
def test_a_payload_has_bytes(world: World, seal: Seal, payload: list[bytes]) -> None:
    assert world.refuses(seal, payload=payload) == "EEmptyPayload"


def test_a_payload_has_chunks(world: World, seal: Seal) -> None:
    assert world.refuses(seal, payload=[]) == "EEmptyPayload"


@pytest.mark.parametrize(
    "payload",
    [[b"x" * 16_001], [b"x"] * 9, [b"x" * 16_000] * 6 + [b"x" * (96 * 1024 - 96_000 + 1)]],
    ids=["a chunk", "their number", "their sum"],
)
def test_a_payload_has_a_limit(world: World, seal: Seal, payload: list[bytes]) -> None:
    assert world.refuses(seal, payload=payload) == "EPayloadTooLarge"


def test_an_argument_that_sui_takes_is_the_contracts_to_refuse(world: World, seal: Seal) -> None:
    """A pure argument has less than 16 KiB, its length included; the contract takes less than that."""
    assert world.refuses(seal, payload=[b"x" * 16_381]) == "EPayloadTooLarge"
    beyond = world.executing(seal, world.command(seal, payload=[b"x" * 16_382]))
    with pytest.raises(PayloadTooLargeError):
        beyond(PtbBuilder())


def test_a_role_that_was_emptied_admits_nothing(chain: Chain) -> None:
    world = World.create(chain)
    seal = world.holder()
    world.define_role(ROLE, [])
    assert world.refuses(seal) == "EForbiddenByRole"
