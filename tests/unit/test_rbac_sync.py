"""Whom the listener may impersonate, from the chain: found by events from several endpoints, decided by the
seals, and noted in the ClusterRole for the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from k3s_daas.admin.listener_rbac import impersonator
from k3s_daas.admin.rbac_sync import (
    SEALS_ANNOTATION,
    UNTIL_ANNOTATION,
    difference,
    known_history,
    wanted_role,
)
from k3s_daas.admin.seal_owners import SealHistory, SealOwners, find_owners
from k3s_daas.bcs import Writer
from k3s_daas.contract.events import event_type
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, LedgerError, LedgerUnavailableError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import ChainEvent, EventFilter, EventPage, ForgedReplyError
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER,
    HOUR_MS,
    PACKAGE,
    cluster_state,
    seal_object,
    seal_state,
)
from tests.unit.memory_ledger import MemoryLedger

NOW_MS = 1_800_000_000_000
ROOTS = TrustRoots(CHAIN_ID, PACKAGE, PACKAGE, CLUSTER, {}, {})


def named(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@dataclass
class EventLedger(MemoryLedger):
    """Delivers `history`, a page for each event, from where it is asked to."""

    history: list[ChainEvent] = field(default_factory=list)
    listed_from: list[int | None] = field(default_factory=list)

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        self.asked("list_events")
        self.listed_from.append(start_checkpoint)
        for event in self.history:
            if (event.checkpoint or 0) >= (start_checkpoint or 0) and event.type_tag in event_filter.types:
                yield EventPage([event], b"c", None, last=False)
        yield EventPage([], b"c", self.checkpoint, last=True)


def event(name: str, *ids: bytes, checkpoint: int = 5, package: bytes = PACKAGE) -> ChainEvent:
    writer = Writer()
    for one in ids:
        writer.address(one)
    contents = writer.finish() + b"the rest"
    return ChainEvent(
        package, "events", event_type(package, name), bytes(32), contents, "digest", 0, checkpoint
    )


CREATED = event("ClusterCreated", CLUSTER, checkpoint=3)


def staked(seal: str, cluster: bytes = CLUSTER, checkpoint: int = 5) -> ChainEvent:
    return event("SealStaked", cluster, named(seal), checkpoint=checkpoint)


def ledger(*history: ChainEvent, **terms: Any) -> EventLedger:
    return EventLedger(history=list(history), **terms)


def put(chain: MemoryLedger, seal: str, owner: str, **terms: Any) -> None:
    state = seal_state(
        sessions={}, stake=1, owner=named(owner), **{"expires_at_ms": NOW_MS + HOUR_MS, **terms}
    )
    found = seal_object(state)
    chain.put(replace(found, id=named(seal), contents=named(seal) + found.contents[32:]))


def cluster() -> ClusterState:
    return cluster_state(executors=[], gateways=[], namespace="daas-system")


async def found(
    voice: MemoryLedger, *sources: MemoryLedger, needed: int = 1, known: SealHistory | None = None
) -> SealOwners:
    reader = ContractReader(voice, ROOTS)
    return await find_owners(
        reader, sources or (voice,), needed, ROOTS, cluster(), known=known, now_ms=NOW_MS
    )


async def test_owners_of_live_seals_are_found_and_nobody_else() -> None:
    chain = ledger(
        CREATED,
        *(staked(name) for name in ("live", "given away", "revoked", "expired", "role gone", "deleted")),
        staked("other cluster", cluster=named("another")),
        staked("lies about its cluster"),
    )
    put(chain, "live", "alice")
    put(chain, "given away", "bob")
    put(chain, "revoked", "carol", revoked=True)
    put(chain, "expired", "dave", expires_at_ms=NOW_MS)
    put(chain, "role gone", "erin", role="retired")
    put(chain, "other cluster", "frank", cluster=named("another"))
    put(chain, "lies about its cluster", "grace", cluster=named("another"))
    result = await found(chain)
    assert result.owners == {named("alice"), named("bob")}
    assert result.history == SealHistory(frozenset({named("live"), named("given away")}), 100)


async def test_events_of_another_package_name_no_seal() -> None:
    foreign = event("SealStaked", CLUSTER, named("live"), package=named("foreign"))
    chain = ledger(CREATED, replace(foreign, type_tag=event_type(PACKAGE, "SealStaked") + "2"))
    chain.history.append(foreign)
    put(chain, "live", "alice")
    assert (await found(chain)).owners == set()


async def test_the_next_run_reads_on_from_where_the_last_one_ended() -> None:
    chain = ledger(CREATED, staked("first"), staked("second", checkpoint=60))
    put(chain, "first", "alice")
    put(chain, "second", "bob")
    known = SealHistory(frozenset({named("first")}), 50)
    result = await found(chain, known=known)
    assert chain.listed_from == [51]
    assert result.owners == {named("alice"), named("bob")}


async def test_a_seal_that_one_endpoint_hides_is_found_by_another() -> None:
    voice = ledger()
    put(voice, "first", "alice")
    hiding, honest = ledger(CREATED), ledger(CREATED, staked("first"))
    result = await found(voice, hiding, honest, needed=2)
    assert result.owners == {named("alice")}


async def test_what_a_lagging_endpoint_has_not_reached_is_read_again() -> None:
    voice = ledger()
    sources = [ledger(CREATED, checkpoint=number) for number in (10, 90, 80)]
    assert (await found(voice, *sources, needed=2)).history.until == 80


async def test_too_few_endpoints_are_not_enough() -> None:
    voice, away, forging = ledger(), ledger(CREATED, away=True), ledger(event("SealStaked"))
    with pytest.raises(LedgerUnavailableError):
        await found(voice, ledger(CREATED), away, needed=2)
    with pytest.raises(ForgedReplyError):
        await found(voice, ledger(CREATED), forging, needed=2)
    assert (await found(voice, ledger(CREATED), away, needed=1)).owners == set()


async def test_a_pruned_history_is_said_and_not_taken_for_no_seals() -> None:
    with pytest.raises(ConfigurationError, match="the whole history"):
        await found(ledger(staked("first"), lowest=4))
    with pytest.raises(ConfigurationError, match="checkpoint 51"):
        await found(ledger(CREATED, lowest=52), known=SealHistory(frozenset(), 50))
    assert (await found(ledger(lowest=51), known=SealHistory(frozenset(), 50))).owners == set()


async def test_another_chain_is_refused() -> None:
    with pytest.raises((ConfigurationError, LedgerError), match="chain"):
        await found(ledger(CREATED, chain_id="another"))


def result_of(*owners: str, until: int = 100) -> SealOwners:
    seals = frozenset(named(f"seal of {owner}") for owner in owners)
    return SealOwners(frozenset(map(named, owners)), SealHistory(seals, until))


def test_the_note_is_read_back() -> None:
    result = result_of("alice", "bob")
    assert known_history(wanted_role(result, ["operator"])) == result.history
    assert known_history(wanted_role(result_of(), [])) == SealHistory(frozenset(), 100)


@pytest.mark.parametrize(
    "notes",
    [
        None,
        {},
        {UNTIL_ANNOTATION: "5"},
        {SEALS_ANNOTATION: "", UNTIL_ANNOTATION: "-1"},
        {SEALS_ANNOTATION: "", UNTIL_ANNOTATION: ""},
        {SEALS_ANNOTATION: "AAAA", UNTIL_ANNOTATION: "5"},
        {SEALS_ANNOTATION: "%", UNTIL_ANNOTATION: "5"},
    ],
)
def test_a_damaged_note_means_reading_everything(notes: dict[str, str] | None) -> None:
    manifest = impersonator([], [])
    manifest["metadata"]["annotations"] = notes
    assert known_history(manifest) is None
    assert known_history(None) is None


def test_more_seals_than_fit_leave_no_note() -> None:
    many = SealHistory(frozenset(number.to_bytes(32, "big") for number in range(6_000)), 1)
    manifest = wanted_role(SealOwners(frozenset(), many), [])
    assert "annotations" not in manifest["metadata"]


def test_a_difference_names_who_comes_and_who_goes() -> None:
    before = wanted_role(result_of("alice", "bob"), ["operator", "viewer"])
    after = wanted_role(result_of("bob", "carol"), ["operator"])
    change = difference(before, after)
    assert change.needed
    assert change.lines() == [
        f"+ user sui:0x{named('carol').hex()}",
        "- group daas:role:viewer",
        f"- user sui:0x{named('alice').hex()}",
    ]


def test_nothing_is_written_for_a_few_checkpoints() -> None:
    before = wanted_role(result_of("alice", until=100), ["operator"])
    assert not difference(before, wanted_role(result_of("alice", until=50_099), ["operator"])).needed
    assert difference(before, wanted_role(result_of("alice", until=50_100), ["operator"])).needed
    assert difference(None, before).needed


def test_what_somebody_added_by_hand_is_seen() -> None:
    wanted = wanted_role(result_of("alice"), ["operator"])
    edited = wanted_role(result_of("alice"), ["operator"])
    edited["rules"].append({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]})
    change = difference(edited, wanted)
    assert change.needed
    assert change.lines() == ["- user (any)"]


@pytest.mark.parametrize("role", ["viewer\r\nImpersonate-Group: system:masters", "system:masters", ""])
def test_a_role_that_the_contract_has_not_reaches_no_cluster(role: str) -> None:
    with pytest.raises(ForgedReplyError, match="does not have"):
        wanted_role(result_of("alice"), ["operator", role])
