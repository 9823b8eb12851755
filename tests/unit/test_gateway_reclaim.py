"""Which commands the reclaimer takes up, how it halves what fails, and what it leaves to the next run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from chalicelib.chain import ChainView
from chalicelib.dynamodb_items import record_key
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.leftovers import SETTLED_KEEP_MS, DynamoDbLeftovers, Leftover, Progress
from chalicelib.loop import EventLoopThread
from chalicelib.reclaim import AGES_MINUTES, MINUTE_MS, Reclaimed, Reclaimer
from chalicelib.request_store import NewRequest, RequestState, SignedTransaction
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from infra.local.aws import create_request_table
from k3s_daas.bcs import Reader
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.objects import RequestState as ChainRequest
from k3s_daas.contract.objects import ResponseState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.ids import new_request_id, request_id_time_ms
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import ChainObject, EpochInfo, EventFilter, EventPage, ExecutionOutcome
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import decode_transaction, transaction_digest
from tests.unit.contract_world import (
    CHAIN_ID,
    CLUSTER,
    PACKAGE,
    SEAL,
    cluster_object,
    cluster_state,
    request_object,
    seal_object,
    seal_state,
)
from tests.unit.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# 2026-11-23, at the beginning of a minute.
CAME_MS = 1_795_392_000_000
DUE_MS = CAME_MS + 74 * MINUTE_MS
NOW_MS = CAME_MS + 80 * MINUTE_MS


@dataclass
class ReclaimingChain(MemoryLedger):
    """Deletes what it is told to; whatever has a request id in `poisoned` fails as a whole."""

    poisoned: set[bytes] = field(default_factory=set)
    simulated: list[list[bytes]] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        self.asked("simulate")
        decoded = decode_transaction(transaction)
        if self.prices and decoded.data.gas.price != self.prices[0]:
            raise TransactionRefusedError("gas-price", "the gas price is not the epoch's")
        named = request_ids(transaction)
        self.simulated.append(named)
        failed = not self.poisoned.isdisjoint(named)
        return ExecutionOutcome(
            transaction_digest(transaction), success=not failed, failure="no" if failed else None
        )

    def effect(self, transaction: bytes) -> ExecutionOutcome:
        for request_id in request_ids(transaction):
            del self.objects[object_of(request_id).id]
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        self.asked("list_events")
        yield EventPage((), b"", self.checkpoint, last=True)


def request_ids(transaction: bytes) -> list[bytes]:
    """What the calls of a transaction name, in order."""
    decoded = decode_transaction(transaction)
    named: list[bytes] = []
    for call in decoded.move_calls:
        assert call.function == "reclaim"
        reader = Reader(decoded.resolve_pure(call.arguments[2]))
        ids = reader.vector(Reader.byte_vector)
        assert len(ids) <= 64
        named += ids
    return named


def object_of(
    request_id: bytes, *, expires_at_ms: int = DUE_MS, answer_by_ms: int = CAME_MS, answered: bool = True
) -> ChainObject:
    response = ResponseState(200, bytes(32), 1, b"", CAME_MS) if answered else None
    return request_object(
        ChainRequest(
            request_id=request_id,
            previous_transaction="",
            executor=bytes(32),
            gateway=bytes(32),
            requester=bytes(32),
            role="operator",
            attributes=OnChainAttributes(""),
            priority=0,
            request_hash=bytes(32),
            request_size=1,
            accepted_at_ms=CAME_MS,
            start_by_ms=CAME_MS,
            finish_by_ms=CAME_MS,
            answer_by_ms=answer_by_ms,
            expires_at_ms=expires_at_ms,
            response=response,
        )
    )


@dataclass
class MemoryLeftovers:
    """`Leftovers` without a table; what DynamoDB makes of them is tested below."""

    records: dict[bytes, int] = field(default_factory=dict)
    """Request id -> when it is due."""
    settled: set[bytes] = field(default_factory=set)
    saved: Progress = field(default_factory=lambda: Progress({}, 0))

    def due(self, minute: int, now_ms: int) -> Iterator[Leftover]:
        for request_id, due_ms in self.records.items():
            came = request_id_time_ms(request_id) // MINUTE_MS
            if came == minute and due_ms <= now_ms and request_id not in self.settled:
                yield Leftover(SEAL, request_id)

    def settle(self, request_id: bytes, now_ms: int) -> None:
        self.settled.add(request_id)

    def progress(self) -> Progress:
        return self.saved

    def save_progress(self, progress: Progress) -> None:
        self.saved = progress


class Stage:
    """Records, a chain with requests, and the reclaimer between them."""

    def __init__(self, loop: EventLoopThread) -> None:
        self.chain = ReclaimingChain(timestamp_ms=NOW_MS)
        self.leftovers = MemoryLeftovers()
        self.logged: list[dict[str, object]] = []
        self.clock_s = 0.0
        signer = FileSigner(Ed25519PrivateKey.generate())
        roots = TrustRoots(CHAIN_ID, PACKAGE, PACKAGE, CLUSTER, {}, {})
        reader = ContractReader(self.chain, roots)
        self.reclaimer = Reclaimer(
            leftovers=self.leftovers,
            ledger=self.chain,
            reader=reader,
            chain=ChainView(self.chain, reader, ttl_s=60),
            loop=loop,
            signer=signer,
            roots=roots,
            gas_budget=1_000_000,
            log=lambda line: self.logged.append(json.loads(line)),
            monotonic=lambda: self.clock_s,
        )
        self.chain.put(cluster_object(cluster_state(executors=[], gateways=[signer.address], namespace="x")))
        self.chain.put(seal_object(seal_state(sessions={}, stake=1, expires_at_ms=0)))

    def command(self, *, due_ms: int = DUE_MS, came_ms: int = CAME_MS) -> bytes:
        """A record as the gateway leaves it; the chain's part is a test's own."""
        request_id = new_request_id(came_ms)
        self.leftovers.records[request_id] = due_ms
        return request_id

    def accepted(self, **terms: Any) -> bytes:
        """A command whose request is on chain."""
        request_id = self.command()
        self.chain.put(object_of(request_id, **terms))
        return request_id

    def settled(self, request_id: bytes) -> bool:
        return request_id in self.leftovers.settled


@pytest.fixture
def stage() -> Iterator[Stage]:
    loop = EventLoopThread()
    yield Stage(loop)
    loop.close()


def test_what_is_due_goes_in_one_transaction_and_its_record_is_settled(stage: Stage) -> None:
    commands = sorted(stage.accepted() for _ in range(70))
    assert stage.reclaimer.reclaim() == Reclaimed(found=70, reclaimed=70)
    assert stage.chain.calls["execute"] == 1
    assert request_ids(stage.chain.executed[0]) == commands
    assert all(map(stage.settled, commands))
    assert stage.logged == [
        {"event": "reclaim", "found": 70, "reclaimed": 70, "gone": 0, "waiting": 0, "failed": 0}
    ]


def test_what_the_chain_does_not_have_is_settled_and_asked_for_no_more(stage: Stage) -> None:
    command = stage.command()
    assert stage.reclaimer.reclaim() == Reclaimed(found=1, gone=1)
    assert stage.settled(command)
    stage.chain.timestamp_ms = CAME_MS + 113 * MINUTE_MS + MINUTE_MS
    assert stage.reclaimer.reclaim() == Reclaimed()


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_at_ms": NOW_MS + 1},
        {"answered": False, "expires_at_ms": 0, "answer_by_ms": NOW_MS},
    ],
    ids=["kept longer by a new policy", "could still be answered"],
)
def test_what_is_not_ripe_waits_for_the_next_age(stage: Stage, terms: dict[str, Any]) -> None:
    command = stage.accepted(**terms)
    assert stage.reclaimer.reclaim() == Reclaimed(found=1, waiting=1)
    assert (stage.settled(command), stage.chain.simulated) == (False, [])
    assert stage.reclaimer.reclaim() == Reclaimed()
    stage.chain.timestamp_ms = CAME_MS + (AGES_MINUTES[1] + 1) * MINUTE_MS
    assert stage.reclaimer.reclaim() == Reclaimed(found=1, reclaimed=1)


def test_one_that_fails_is_found_by_halving_and_costs_no_gas(stage: Stage) -> None:
    commands = sorted(stage.accepted() for _ in range(16))
    stage.chain.poisoned = {commands[5]}
    assert stage.reclaimer.reclaim() == Reclaimed(found=16, reclaimed=15, failed=1)
    assert not stage.settled(commands[5])
    # 16, then two of each size: 8, 4, 2, 1.
    assert len(stage.chain.simulated) == 9
    assert all(stage.chain.poisoned.isdisjoint(request_ids(sent)) for sent in stage.chain.executed)
    assert len(stage.chain.executed) == 4


def test_a_stale_gas_price_is_read_again_once(stage: Stage) -> None:
    stage.accepted()
    stage.reclaimer.reclaim()
    stage.accepted()
    stage.chain.epoch_info, stage.chain.prices = EpochInfo(8, 2_000), [2_000]
    stage.leftovers.save_progress(Progress({}, 0))
    assert stage.reclaimer.reclaim().reclaimed == 1
    stage.chain.prices = [3_000]
    stage.accepted()
    stage.leftovers.save_progress(Progress({}, 0))
    with pytest.raises(TransactionRefusedError):
        stage.reclaimer.reclaim()


@pytest.mark.parametrize("method", ["service_info", "list_events", "get_object", "simulate", "execute"])
def test_a_run_that_breaks_off_is_made_up_for(
    stage: Stage, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [stage.accepted() for _ in range(3)]
    asked = stage.chain.asked

    def broken(name: str) -> None:
        if name == method:
            raise LedgerUnavailableError("broken off")
        asked(name)

    with monkeypatch.context() as patched:
        patched.setattr(stage.chain, "asked", broken)
        with pytest.raises(LedgerUnavailableError):
            stage.reclaimer.reclaim()
    assert not any(map(stage.settled, commands))
    assert stage.reclaimer.reclaim() == Reclaimed(found=3, reclaimed=3)


def test_death_between_the_chain_and_the_record_only_costs_a_look(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [stage.accepted() for _ in range(3)]
    left = [2]

    def mortal(request_id: bytes, now_ms: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise SystemExit
        settle(request_id, now_ms)

    settle = stage.leftovers.settle
    with monkeypatch.context() as patched:
        patched.setattr(stage.leftovers, "settle", mortal)
        with pytest.raises(SystemExit):
            stage.reclaimer.reclaim()
    assert stage.reclaimer.reclaim() == Reclaimed(found=2, gone=2)
    assert (len(stage.chain.executed), all(map(stage.settled, commands))) == (1, True)


def test_after_an_outage_the_minutes_between_are_looked_through(stage: Stage) -> None:
    stage.chain.timestamp_ms = NOW_MS - 40 * MINUTE_MS
    assert stage.reclaimer.reclaim() == Reclaimed()
    commands = [
        stage.command(came_ms=CAME_MS + n * MINUTE_MS, due_ms=DUE_MS + n * MINUTE_MS) for n in (0, 20)
    ]
    stage.chain.timestamp_ms = NOW_MS + 60 * MINUTE_MS
    assert stage.reclaimer.reclaim() == Reclaimed(found=2, gone=2)
    assert all(map(stage.settled, commands))


def test_a_run_ends_before_its_function_does(stage: Stage) -> None:
    for _ in range(3):
        stage.accepted()
    look = stage.chain.get_objects

    async def slow(object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        stage.clock_s += 100.0
        return await look(object_ids)

    stage.chain.get_objects = slow  # type: ignore[method-assign] # the script of this test
    for _ in range(200):
        stage.command()
    with pytest.raises(LedgerUnavailableError, match="the next run goes on"):
        stage.reclaimer.reclaim()
    stage.clock_s = 0.0
    stage.chain.get_objects = look  # type: ignore[method-assign] # back to its own
    assert stage.reclaimer.reclaim().found == 203 - 128


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client(
            "dynamodb", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        create_request_table(client, "requests")
        yield client


def on_record(client: DynamoDBClient, *, due_ms: int = DUE_MS, signed: bool = True) -> bytes:
    store, request_id = DynamoDbRequestStore(client, "requests"), new_request_id(CAME_MS)
    new = NewRequest(request_id, SEAL, CAME_MS, CAME_MS, CAME_MS, CAME_MS, due_ms, b"wrapped")
    reservation = store.reserve(new)
    if signed:
        store.record_signed(reservation, SignedTransaction(b"t", b"s", "D"))
    return request_id


def test_the_table_finds_by_minute_what_was_signed_and_must_be_due(client: DynamoDBClient) -> None:
    leftovers = DynamoDbLeftovers(client, "requests")
    found = {on_record(client) for _ in range(6)}
    on_record(client, due_ms=NOW_MS + 1)
    on_record(client, signed=False)
    minute = CAME_MS // MINUTE_MS
    assert set(leftovers.due(minute, NOW_MS)) == {Leftover(SEAL, request_id) for request_id in found}
    assert list(leftovers.due(minute + 1, NOW_MS)) == []


def test_a_settled_record_keeps_its_state_and_loses_its_reply_key(client: DynamoDBClient) -> None:
    leftovers, store = DynamoDbLeftovers(client, "requests"), DynamoDbRequestStore(client, "requests")
    request_id = on_record(client)
    for _ in range(2):
        leftovers.settle(request_id, NOW_MS)
    assert list(leftovers.due(CAME_MS // MINUTE_MS, NOW_MS)) == []
    record = store.get(request_id)
    assert record is not None
    assert (record.state, record.fence, record.request.wrapped_reply_key) == (RequestState.SIGNED, 2, b"")
    item = client.get_item(TableName="requests", Key=record_key(request_id))["Item"]
    assert int(item["expires_at"]["N"]) == (NOW_MS + SETTLED_KEEP_MS) // 1000
    # A function that comes late can still write its last word.
    store.record_submitted(record.reservation)


def test_what_the_table_has_forgotten_is_not_made_anew(client: DynamoDBClient) -> None:
    request_id = new_request_id(CAME_MS)
    DynamoDbLeftovers(client, "requests").settle(request_id, NOW_MS)
    assert "Item" not in client.get_item(TableName="requests", Key=record_key(request_id))


def test_progress_is_kept_for_the_next_run(client: DynamoDBClient) -> None:
    leftovers = DynamoDbLeftovers(client, "requests")
    assert leftovers.progress() == Progress({}, 0)
    leftovers.save_progress(Progress({75: 3, 112: 4}, 17))
    assert leftovers.progress() == Progress({75: 3, 112: 4}, 17)
