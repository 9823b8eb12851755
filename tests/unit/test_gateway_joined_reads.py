"""What the gateway asks the chain at the same moment goes there in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from chalicelib.chain import ChainView
from chalicelib.joined_reads import JoinedReads

from k3s_daas.contract.objects import GrantState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import ChainObject
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER,
    OWNER,
    PACKAGE,
    SEAL,
    cluster_object,
    cluster_state,
    grant_object,
    seal_object,
    seal_state,
)
from tests.unit.memory_ledger import MemoryLedger

ROOTS = TrustRoots(CHAIN_ID, PACKAGE, PACKAGE, CLUSTER, {}, {})
GRANT = GrantState(OWNER, "operator", 5_000)


@dataclass
class CountedCalls(MemoryLedger):
    """What each call asked for."""

    together: list[list[bytes]] = field(default_factory=list)

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        self.together.append([object_id])
        return await super().get_object(object_id)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        self.together.append(list(object_ids))
        # Others may ask meanwhile.
        await asyncio.sleep(0)
        return [await MemoryLedger.get_object(self, object_id) for object_id in object_ids]


@pytest.fixture
def ledger() -> CountedCalls:
    ledger = CountedCalls()
    ledger.put(cluster_object(cluster_state(executors=[], gateways=[], namespace="own", is_open=False)))
    ledger.put(seal_object(seal_state(sessions={}, stake=1, expires_at_ms=9_000)))
    ledger.put(grant_object(GRANT))
    return ledger


async def test_what_is_asked_at_the_same_moment_is_one_call(ledger: CountedCalls) -> None:
    joined = JoinedReads(ledger)
    cluster, again, nothing = await asyncio.gather(
        *(joined.get_object(one) for one in (CLUSTER, CLUSTER, b"\x01" * 32))
    )
    assert cluster == again == ledger.objects[CLUSTER]
    assert nothing is None
    assert await joined.get_object(SEAL) == ledger.objects[SEAL]
    assert ledger.together == [[CLUSTER, b"\x01" * 32], [SEAL]]


async def test_whoever_shares_a_call_hears_of_its_failure_and_the_next_one_asks_again(
    ledger: CountedCalls,
) -> None:
    joined = JoinedReads(ledger)
    ledger.away = True
    failed: list[Any] = await asyncio.gather(
        *(joined.get_object(one) for one in (CLUSTER, SEAL)), return_exceptions=True
    )
    assert [type(error) for error in failed] == [LedgerUnavailableError] * 2
    ledger.away = False
    assert await joined.get_object(SEAL) == ledger.objects[SEAL]


async def test_who_gives_up_takes_the_answer_from_nobody(ledger: CountedCalls) -> None:
    joined = JoinedReads(ledger)
    impatient, patient = (asyncio.ensure_future(joined.get_object(one)) for one in (SEAL, CLUSTER))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == ledger.objects[CLUSTER]


async def test_cluster_seal_and_grant_are_one_call_once_the_seal_is_known(ledger: CountedCalls) -> None:
    now_s = 0.0
    chain = ChainView(ledger, ContractReader(JoinedReads(ledger), ROOTS), ttl_s=1.0, monotonic=lambda: now_s)
    first = await chain.state(SEAL)
    assert first.grant == GRANT
    ledger.together.clear()
    now_s = 1.0
    second = await chain.state(SEAL)
    assert (second.cluster, second.seal, second.grant) == (first.cluster, first.seal, first.grant)
    assert [len(ids) for ids in ledger.together] == [3]
    assert (second.cluster_read_s, second.seal_read_s, second.grant_read_s) == (1.0, 1.0, 1.0)
    ledger.together.clear()
    assert (await chain.state(SEAL)).grant == GRANT
    assert ledger.together == []


async def test_a_grant_that_was_taken_back_is_missed_at_the_next_reading(ledger: CountedCalls) -> None:
    now_s = 0.0
    chain = ChainView(ledger, ContractReader(JoinedReads(ledger), ROOTS), ttl_s=1.0, monotonic=lambda: now_s)
    assert (await chain.state(SEAL)).grant == GRANT
    del ledger.objects[grant_object(GRANT).id]
    now_s = 1.0
    assert (await chain.state(SEAL)).grant is None
