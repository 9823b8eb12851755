"""Sessions: who opens them, for which keys, how many, and how they end."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.bcs import Reader
from k3s_daas.contract import calls
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.objects import SealState
from tests.move.harness import Chain, Compose
from tests.move.world import DAY_MS, POLICY, READ, WRITE, Seal, World

FIELD = 2**255 - 19
ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


SMALL_ORDER = {
    f"y={name}, sign {sign}": encoded(y, sign)
    for name, y in {
        "0": 0,
        "1": 1,
        "-1": FIELD - 1,
        "order 8": int.from_bytes(bytes.fromhex(ORDER_8[0]), "little"),
        "other of order 8": int.from_bytes(bytes.fromhex(ORDER_8[1]), "little"),
    }.items()
    for sign in (0, 1)
}
NOT_CANONICAL = {
    f"p+{more}, sign {sign}": encoded(FIELD + more, sign) for more in (0, 1, 2, 18) for sign in (0, 1)
}


def new_key() -> bytes:
    return Ed25519PrivateKey.generate().public_key().public_bytes_raw()


def closing(world: World, seal: Seal, key: bytes) -> Compose:
    return lambda builder: calls.close_session(builder, world.package, seal.ref, session_key=key)


def sessions(chain: Chain, seal: Seal) -> dict[bytes, tuple[int, bool]]:
    found = SealState.decode(chain.read(seal.ref.id)).sessions
    return {key: (session.expires_at_ms, session.read_only) for key, session in found.items()}


@pytest.fixture(scope="module")
def seal(world: World) -> Seal:
    return world.stake()


def test_a_session_is_announced(chain: Chain, world: World) -> None:
    seal = world.stake()
    expires_at_ms = chain.now_ms + DAY_MS
    receipt = world.open_session(
        seal, expires_at_ms=expires_at_ms, read_only=True, namespaces=["shop", "web"]
    )
    reader = Reader(receipt.event("SessionOpened"))
    assert (reader.address(), reader.address()) == (world.cluster.id, seal.ref.id)
    assert (reader.byte_vector(), reader.u64(), reader.boolean()) == (seal.session_key, expires_at_ms, True)
    assert reader.vector(Reader.string) == ["shop", "web"]
    reader.finish()
    assert sessions(chain, seal) == {seal.session_key: (expires_at_ms, True)}


def test_only_the_owner_opens_and_closes(chain: Chain, world: World) -> None:
    seal = world.holder()
    for sender in (chain.account(), world.gateway, world.admin):
        assert chain.abort(sender, world.opening(seal.ref, new_key())) == "ENotOwner"
        assert chain.abort(sender, closing(world, seal, seal.session_key)) == "ENotOwner"


@pytest.mark.parametrize("kind", SMALL_ORDER)
def test_a_key_under_which_anybody_can_sign_is_refused(world: World, seal: Seal, kind: str) -> None:
    opening = world.opening(seal.ref, SMALL_ORDER[kind])
    assert world.chain.abort(seal.owner, opening) == "EInvalidSessionKey"


@pytest.mark.parametrize("kind", NOT_CANONICAL)
def test_a_second_spelling_of_a_key_is_refused(world: World, seal: Seal, kind: str) -> None:
    opening = world.opening(seal.ref, NOT_CANONICAL[kind])
    assert world.chain.abort(seal.owner, opening) == "EInvalidSessionKey"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_32_bytes(world: World, seal: Seal, length: int) -> None:
    opening = world.opening(seal.ref, secrets.token_bytes(length))
    assert world.chain.abort(seal.owner, opening) == "EInvalidSessionKey"


def test_keys_that_begin_or_end_like_bad_ones_are_good(world: World) -> None:
    seal = world.stake()
    for key in (b"\xff" * 31 + b"\x7e", b"\1" + bytes(30) + b"\1", b"\xed" + b"\xff" * 29 + b"\xfe\x7f"):
        world.chain.run(seal.owner, world.opening(seal.ref, key))


@pytest.mark.parametrize("life_ms", [-1, 0, POLICY.max_seal_ms + 1])
def test_a_session_ends_in_the_future_and_with_its_seal(world: World, life_ms: int) -> None:
    seal = world.stake()
    opening = world.opening(seal.ref, new_key(), expires_at_ms=world.chain.now_ms + life_ms)
    assert world.chain.abort(seal.owner, opening) == "EInvalidExpiry"


def test_a_seal_has_at_most_8_sessions_that_live(chain: Chain, world: World) -> None:
    seal = world.stake()
    short = [new_key() for _ in range(3)]
    long = [new_key() for _ in range(5)]
    for key in short:
        chain.run(seal.owner, world.opening(seal.ref, key, expires_at_ms=chain.now_ms + 10_000))
    for key in long:
        chain.run(seal.owner, world.opening(seal.ref, key))
    assert chain.abort(seal.owner, world.opening(seal.ref, new_key())) == "ETooManySessions"
    chain.run(seal.owner, world.opening(seal.ref, long[0], read_only=True))
    assert len(sessions(chain, seal)) == 8
    chain.clock.advance(10_000)
    fresh = new_key()
    chain.run(seal.owner, world.opening(seal.ref, fresh))
    assert set(sessions(chain, seal)) == {*long, fresh}


def test_a_key_that_is_opened_again_has_the_new_terms(chain: Chain, world: World) -> None:
    seal = world.holder(read_only=True)
    assert world.refuses(seal, attributes=WRITE) == "ESessionReadOnly"
    world.open_session(seal, read_only=False)
    world.execute(seal, world.command(seal, attributes=WRITE))
    world.open_session(seal, read_only=True)
    assert world.refuses(seal, attributes=WRITE) == "ESessionReadOnly"


def test_a_closed_session_is_over_at_once(chain: Chain, world: World) -> None:
    seal = world.holder()
    token = world.token(seal)
    world.execute(seal, world.command(seal, token))
    receipt = chain.run(seal.owner, closing(world, seal, seal.session_key))
    assert receipt.event("SessionClosed") == world.cluster.id + seal.ref.id + b"\x20" + seal.session_key
    command = world.command(seal, token, attributes=READ)
    assert chain.abort(world.gateway, world.executing(seal, command)) == "EUnknownSession"
    assert chain.abort(seal.owner, closing(world, seal, seal.session_key)) == "EUnknownSession"
    assert sessions(chain, seal) == {}


def test_sessions_of_a_revoked_seal_can_be_closed(chain: Chain, world: World) -> None:
    seal = world.holder()
    world.revoke(seal)
    chain.run(seal.owner, closing(world, seal, seal.session_key))
    assert sessions(chain, seal) == {}


def test_a_session_is_opened_through_the_own_cluster(chain: Chain, world: World, seal: Seal) -> None:
    other = World.create(chain)
    assert chain.abort(seal.owner, other.opening(seal.ref, new_key())) == "EWrongCluster"


# Namespaces


def in_namespace(namespace: str, **changes: str) -> OnChainAttributes:
    return replace(READ, namespace=namespace, **changes)


@pytest.fixture(scope="module")
def scoped(world: World) -> Seal:
    """A seal whose one session is for two namespaces."""
    seal = world.stake()
    world.open_session(seal, namespaces=["shop", "web"])
    return seal


@pytest.mark.parametrize(
    "attributes",
    [
        in_namespace("shop"),
        in_namespace("web", verb="delete"),
        in_namespace("web", name="", verb="list"),
        OnChainAttributes("get", "", "v1", "namespaces", "", "shop", "shop"),
        OnChainAttributes("get", non_resource_url="/api/*"),
    ],
    ids=repr,
)
def test_a_session_reaches_its_namespaces_and_discovery(
    world: World, scoped: Seal, attributes: OnChainAttributes
) -> None:
    world.execute(scoped, world.command(scoped, attributes=attributes))


@pytest.mark.parametrize(
    "attributes",
    [
        in_namespace("default"),
        in_namespace("shop-2"),
        in_namespace("sho"),
        in_namespace("", name="", verb="list"),
        in_namespace("default", verb="delete"),
        OnChainAttributes("get", "", "v1", "nodes", "", "", "shop"),
        OnChainAttributes("get", "", "v1", "namespaces", "", "", "shop"),
        OnChainAttributes("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ],
    ids=repr,
)
def test_a_session_reaches_nothing_else(world: World, scoped: Seal, attributes: OnChainAttributes) -> None:
    assert world.refuses(scoped, attributes=attributes) == "ESessionNamespace"


def test_a_session_for_namespaces_writes_at_no_url(chain: Chain) -> None:
    world = World.create(chain)
    world.define_role("hooks", [{"verbs": ["post"], "non_resource_urls": ["/hooks"]}])
    seal = world.stake(role="hooks")
    post = OnChainAttributes("post", non_resource_url="/hooks")
    world.open_session(seal, namespaces=["shop"])
    assert world.refuses(seal, attributes=post) == "ESessionNamespace"
    world.open_session(seal)
    world.execute(seal, world.command(seal, attributes=post))


@pytest.mark.parametrize(
    "namespaces",
    [["n"] * 9, [""], ["*"], ["Shop"], ["a" * 64], ["shop", "a/b"]],
    ids=repr,
)
def test_a_scope_is_a_few_names(world: World, seal: Seal, namespaces: list[str]) -> None:
    opening = world.opening(seal.ref, new_key(), namespaces=namespaces)
    assert world.chain.abort(seal.owner, opening) == "EInvalidScope"


def test_the_widest_scope_is_accepted(chain: Chain, world: World) -> None:
    seal = world.stake()
    names = [f"{number}" + "n" * 62 for number in range(8)]
    world.open_session(seal, namespaces=names)
    assert world.seal_state(seal).sessions[seal.session_key].namespaces == tuple(names)
    command = world.command(seal, attributes=in_namespace(names[7]))
    world.execute(seal, command)


# All at once


def closing_all(world: World, seal: Seal) -> Compose:
    return lambda builder: calls.close_all_sessions(builder, world.package, seal.ref)


def test_all_sessions_can_be_closed_at_once(chain: Chain, world: World) -> None:
    seal = world.holder()
    for _ in range(3):
        chain.run(seal.owner, world.opening(seal.ref, new_key()))
    receipt = chain.run(seal.owner, closing_all(world, seal))
    assert receipt.event("SessionsClosed") == world.cluster.id + seal.ref.id + (4).to_bytes(8, "little")
    assert sessions(chain, seal) == {}
    assert world.refuses(seal) == "EUnknownSession"
    world.open_session(seal)
    world.execute(seal)


def test_only_the_owner_closes_all(chain: Chain, world: World) -> None:
    seal = world.holder()
    for sender in (chain.account(), world.gateway, world.executor, world.admin):
        assert chain.abort(sender, closing_all(world, seal)) == "ENotOwner"
    assert set(sessions(chain, seal)) == {seal.session_key}
