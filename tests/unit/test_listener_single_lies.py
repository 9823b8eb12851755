"""Forgeries with a single lie, signed by whoever would sign a real one: the one check that is for it refuses
them, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from k3s_daas.bearer import mint
from k3s_daas.blobs.bodies import seal_body
from k3s_daas.blobs.store import reference_to
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import Command, SharedRef, execute_command
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.contract.objects import SessionState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import BlobReference, RequestEnvelope
from k3s_daas.errors import WireFormatError
from k3s_daas.payload import payload_hash, split
from k3s_daas.sealing import request_body_info, request_info
from k3s_daas.sui.ledger import ChainEvent, SignedTransaction
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, transaction_digest
from listener_service.authorised_call import authorised_command
from listener_service.blobs import BlobClient
from listener_service.event_source import SourcedEvent
from listener_service.keys.keyring import Keyring
from listener_service.queue.ticket import ticket_of
from listener_service.refusal import NotForUsError, RefusedCommandError, UnbelievableError
from listener_service.verification import Verifier
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER_REF,
    HOUR_MS,
    PACKAGE,
    SEAL_REF,
    announced,
    cluster_object,
    cluster_state,
    seal_object,
    seal_state,
)
from tests.unit.listener_world import NAMESPACE, NOW_MS, POLICY, STAKE, World, encode_event, other_signer

OTHER = SharedRef(b"\x0c" * 32, 5)
POD = "/api/v1/namespaces/default/pods/web"


@dataclass
class Told:
    """A genuine command, and what an endpoint may say of it."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.requested, self.event = self.world.command("DELETE", POD)
        self.genuine = self.world.ledger.transactions[self.event.transaction_digest]
        self.command = authorised_command(self.requested, self.genuine.digest, self.genuine, self.world.roots)

    def signed(
        self,
        *commands: Command,
        package: bytes = PACKAGE,
        cluster: SharedRef = CLUSTER_REF,
        seal: SharedRef = SEAL_REF,
        sender: bytes | None = None,
    ) -> SignedTransaction:
        """A transaction with these commands, signed with the gateway's key."""
        builder, gateway = PtbBuilder(), self.world.gateway
        for command in commands or (self.command,):
            execute_command(builder, package, cluster, seal, command)
        data = builder.build(
            sender or gateway.address, gas=AddressBalanceGas(50_000_000, 1_000, 1, CHAIN_ID, 8)
        )
        return SignedTransaction(transaction_digest(data), data, [gateway.sign(data)], success=True)

    def read(self, transaction: SignedTransaction, **changes: Any) -> Command:
        """As the listener reads it, for the event with these changes."""
        requested = replace(self.requested, **changes)
        return authorised_command(requested, transaction.digest, transaction, self.world.roots)

    def publish(self, requested: ApiRequested, transaction: SignedTransaction) -> ChainEvent:
        self.world.ledger.transactions[transaction.digest] = transaction
        return replace(self.event, contents=encode_event(requested), transaction_digest=transaction.digest)

    def verifier(self) -> Verifier:
        world = self.world
        return Verifier(
            ledger=world.ledger,
            reader=ContractReader(world.ledger, world.roots),
            roots=world.roots,
            executor=world.executor.address,
            keyring=Keyring.of([world.sealing_key]),
            listener_namespace=NAMESPACE,
            clock=world.clock,
        )


@pytest.fixture
def told() -> Told:
    return Told()


def test_what_is_true_is_believed(told: Told) -> None:
    """Or what follows would show nothing."""
    assert told.read(told.signed()) == told.command
    assert told.read(told.signed(told.command, replace(told.command, request_id=bytes(16)))) == told.command


LIES: dict[str, tuple[Callable[[Told], SignedTransaction], str]] = {
    "the digest of another transaction": (
        lambda told: replace(told.signed(), digest=told.genuine.digest),
        "do not hash to",
    ),
    "two signatures": (
        lambda told: replace(told.signed(), signatures=[*told.signed().signatures, *told.genuine.signatures]),
        "2 signatures",
    ),
    "another sender": (lambda told: told.signed(sender=other_signer().address), "sender is not"),
    "aborted": (lambda told: replace(told.signed(), success=False), "aborted"),
    "another package": (lambda told: told.signed(package=OTHER.id), "0 times"),
    "another cluster": (lambda told: told.signed(cluster=OTHER), "0 times"),
    "another seal": (lambda told: told.signed(seal=OTHER), "0 times"),
    "another request": (
        lambda told: told.signed(replace(told.command, request_id=bytes(16))),
        "0 times",
    ),
    "the same request twice": (
        lambda told: told.signed(told.command, replace(told.command, start_by_ms=1)),
        "2 times",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_the_transaction_is_told_from_others(lie: str, told: Told) -> None:
    forge, why = LIES[lie]
    with pytest.raises(WireFormatError, match=why):
        told.read(forge(told))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_key", bytes(32)),
        ("attributes", OnChainAttributes("delete", "", "v1", "pods", "", "default", "db")),
        ("executor", bytes(32)),
        ("start_by_ms", NOW_MS + 1),
        ("finish_by_ms", NOW_MS + 1),
        ("answer_by_ms", NOW_MS + 1),
        ("payload_reference", b"elsewhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_field_is_the_one_that_was_signed(name: str, value: object, told: Told) -> None:
    with pytest.raises(WireFormatError, match=f"the event's {name} is not what the gateway signed"):
        told.read(told.signed(), **{name: value})


def test_a_command_in_another_cluster_is_not_ours_though_all_about_it_is_true() -> None:
    """The same gateway and executor may serve several clusters of one package, whose roles differ."""
    told = Told()
    world = told.world
    envelope = RequestEnvelope("DELETE", POD, "", (), b"", world.reply_key.public_bytes())
    info = request_info(OTHER.id, SEAL_REF.id, told.requested.request_id)
    chunks = split(world.sealing_key.public_key.seal(envelope.encode(), info))
    token = mint(
        world.session, cluster=OTHER.id, seal=SEAL_REF.id, gateway=world.gateway.address, now_ms=NOW_MS
    )
    theirs = replace(
        told.command,
        secret_hash=token.claims.secret_hash,
        claims_signature=token.signature,
        payload=chunks,
    )
    requested = replace(
        told.requested,
        cluster=OTHER.id,
        payload_hash=payload_hash(chunks),
        payload_size=sum(map(len, chunks)),
    )
    event = told.publish(requested, told.signed(theirs, cluster=OTHER))
    assert event.type_tag == event_type(PACKAGE, API_REQUEST)
    with pytest.raises(NotForUsError):
        told.verifier().decode(event)


@pytest.mark.parametrize("minted_ms", [NOW_MS - 700_000, NOW_MS + 61_000], ids=["too late", "too early"])
async def test_claims_count_in_their_window_only(minted_ms: int, told: Told) -> None:
    world = told.world
    token = mint(
        world.session,
        cluster=CLUSTER_REF.id,
        seal=SEAL_REF.id,
        gateway=world.gateway.address,
        now_ms=minted_ms,
    )
    command = replace(
        told.command,
        secret_hash=token.claims.secret_hash,
        not_before_ms=token.claims.not_before_ms,
        token_expires_at_ms=token.claims.expires_at_ms,
        claims_signature=token.signature,
    )
    event = told.publish(told.requested, told.signed(command))
    with pytest.raises(UnbelievableError, match="outside the window of its claims"):
        await told.verifier().verify(event, told.requested)


async def test_who_is_revoked_while_his_body_is_under_way_commands_nothing(told: Told) -> None:
    world, sealed = told.world, b""

    class Blobs:
        async def fetch(self, reference: BlobReference, *, timeout_s: float) -> bytes:
            world.set_seal(revoked=True)
            return sealed

    def payload(request_id: bytes) -> list[bytes]:
        nonlocal sealed
        key, reply_key = world.sealing_key.public_key, world.reply_key.public_bytes()
        info = request_body_info(CLUSTER_REF.id, SEAL_REF.id, request_id)
        sealed = seal_body(key, b"body", info, what="request", limit=4)
        where = reference_to("https://blobs.example/1", sealed)
        envelope = RequestEnvelope("PUT", POD, "", (), b"", reply_key, where)
        return split(key.seal(envelope.encode(), request_info(CLUSTER_REF.id, SEAL_REF.id, request_id)))

    verifier = told.verifier()
    verifier.blobs = cast(BlobClient, Blobs())
    told.requested, told.event = world.command("PUT", POD, payload=payload)
    with pytest.raises(RefusedCommandError) as refused:
        await verifier.verify(told.event, told.requested)
    assert refused.value.status.causes[0].reason == "ESealRevoked"


async def test_a_command_from_the_future_is_not_believed(told: Told) -> None:
    """Its time of acceptance is the endpoint's word, and decides which claims and sessions were valid."""
    told.world.clock.ms = NOW_MS - 61_000
    with pytest.raises(UnbelievableError, match="time of acceptance"):
        await told.verifier().verify(told.event, told.requested)
    told.world.clock.ms = NOW_MS - 59_000
    await told.verifier().verify(told.event, told.requested)


async def test_a_command_accepted_long_before_its_start_by_is_not_believed(told: Told) -> None:
    early = told.requested.start_by_ms - POLICY.max_start_ms
    for accepted_at_ms, believed in ((early, True), (early - 1, False)):
        requested = replace(told.requested, accepted_at_ms=accepted_at_ms)
        if believed:
            await told.verifier().verify(told.event, requested)
            continue
        with pytest.raises(UnbelievableError, match="time of acceptance"):
            await told.verifier().verify(told.event, requested)


@pytest.mark.parametrize("order", [("start_by_ms", "finish_by_ms"), ("finish_by_ms", "answer_by_ms")])
async def test_deadlines_out_of_order_are_not_believed(order: tuple[str, str], told: Told) -> None:
    first, second = order
    changes: dict[str, Any] = {second: getattr(told.requested, first)}
    requested = replace(told.requested, **changes)
    event = told.publish(requested, told.signed(replace(told.command, **changes)))
    with pytest.raises(UnbelievableError, match="out of order"):
        await told.verifier().verify(event, requested)


async def test_a_session_that_had_ended_when_the_command_was_accepted_does_not_count(told: Told) -> None:
    for ends_at_ms, cause in ((NOW_MS + 1, None), (NOW_MS, "ESessionExpired")):
        sessions = {told.world.session_key: SessionState(ends_at_ms, False, ())}
        state = seal_state(sessions=sessions, stake=STAKE, expires_at_ms=NOW_MS + HOUR_MS)
        told.world.ledger.put(seal_object(state))
        if cause is None:
            await told.verifier().verify(told.event, told.requested)
        else:
            assert await _refusal(told) == cause


async def test_the_own_namespace_is_closed_also_if_the_chain_names_another_one() -> None:
    told = Told()
    world = told.world
    world.ledger.put(
        cluster_object(
            cluster_state(
                executors=[announced(world.executor, world.sealing_key)],
                gateways=[world.gateway.address],
                namespace="elsewhere",
                policy=POLICY,
            )
        )
    )
    told.requested, told.event = world.command("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/web")
    assert await _refusal(told) == "EReservedNamespace"
    told.requested, told.event = world.command("DELETE", "/api/v1/namespaces/elsewhere/pods/web")
    assert await _refusal(told) == "EReservedNamespace"


@pytest.mark.parametrize(
    "authorised",
    [
        OnChainAttributes("get", non_resource_url="/openapi/*"),
        OnChainAttributes("post", "", "v1", "pods", non_resource_url="/openapi/*"),
        OnChainAttributes("post", non_resource_url=""),
    ],
    ids=["another verb", "a resource besides", "no path"],
)
async def test_a_path_is_authorised_by_its_verb_and_pattern_alone(
    authorised: OnChainAttributes, told: Told
) -> None:
    told.requested, told.event = told.world.command("POST", "/openapi/v3", authorised=authorised)
    assert await _refusal(told) == "AttributeMismatch"


async def test_the_priority_is_the_roles_as_the_chain_says_whatever_the_event_says(told: Told) -> None:
    requested, verifier = replace(told.requested, priority=9), told.verifier()
    sourced = SourcedEvent(told.event, replayed=False)
    assert ticket_of(sourced, requested, verifier.priority_of).priority == 0
    await verifier.verify(told.event, requested)
    assert ticket_of(sourced, requested, verifier.priority_of).priority == 1


async def _refusal(told: Told) -> str:
    with pytest.raises(RefusedCommandError) as refused:
        await told.verifier().verify(told.event, told.requested)
    return refused.value.status.causes[0].reason
