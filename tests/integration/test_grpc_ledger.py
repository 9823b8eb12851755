"""The adapter on the local chain: an unrelated package published, called, aborted, read back and replayed."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.local.certificates import LocalAuthority
from infra.local.sui.compiler import compile_package
from infra.local.sui.genesis import framework_packages
from infra.local.sui.server import LocalSui, tls_context
from infra.local.sui.vm import SandboxVm
from k3s_daas.bcs import Reader, Writer
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.grpc_channel import Keepalive
from k3s_daas.sui.ledger import (
    ChainEvent,
    EventFilter,
    EventFrame,
    ExecutionOutcome,
    ForgedReplyError,
    SignedTransaction,
)
from k3s_daas.sui.signers import FileSigner, verify_signature
from k3s_daas.sui.transactions import (
    GAS_COIN,
    AddressBalanceGas,
    CoinGas,
    ObjectRef,
    PtbBuilder,
    transaction_digest,
)
from k3s_daas.sui.type_tags import StructTag

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGES = Path(__file__).parent / "packages"
SUI = 1_000_000_000
BUDGET = SUI // 2


@dataclass
class Stage:
    """A chain with two ports, one funded sender, and a published counter."""

    sui: LocalSui
    ledger: GrpcLedger
    signer: FileSigner
    package: bytes = b""
    counter: SharedRef = SharedRef(bytes(32), 0)  # noqa: RUF009 - frozen
    ticket: bytes = b""
    nonce: int = 0

    @property
    def events(self) -> EventFilter:
        return EventFilter((str(StructTag(self.package, "counter", "Advanced")),))

    async def signed(self, builder: PtbBuilder, *, price: int | None = None) -> tuple[bytes, bytes]:
        epoch = await self.ledger.epoch()
        self.nonce += 1
        gas = AddressBalanceGas(
            BUDGET, price or epoch.reference_gas_price, epoch.epoch, self.sui.chain_id, self.nonce
        )
        transaction = builder.build(self.signer.address, gas=gas)
        return transaction, self.signer.sign(transaction)

    async def execute(self, builder: PtbBuilder) -> ExecutionOutcome:
        return await self.ledger.execute(*await self.signed(builder))

    async def advancing(self, note: bytes) -> PtbBuilder:
        ticket = await self.ledger.get_object(self.ticket)
        assert ticket is not None
        builder = PtbBuilder()
        arguments = [
            builder.shared(self.counter.id, self.counter.initial_version, mutable=True),
            builder.owned(ObjectRef(ticket.id, ticket.version, ticket.digest)),
            builder.pure(Writer().byte_vector(note).finish()),
        ]
        builder.move_call(self.package, "counter", "advance", arguments)
        return builder

    @asynccontextmanager
    async def other_port(self, **settings: Any) -> AsyncIterator[GrpcLedger]:
        """A ledger of its own on the port that tests may spoil."""
        ledger = GrpcLedger(f"http://127.0.0.1:{self.sui.grpc_ports[1]}", **settings)
        try:
            yield ledger
        finally:
            await ledger.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    signer = FileSigner.generate(tmp_path_factory.mktemp("keys") / "sender")
    local = LocalSui(
        vm=SandboxVm(workers=1), packages=framework_packages(), ports=2, finality_ms=0, checkpoint_ms=20
    )
    async with local as sui:
        ledger = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[0]}")
        try:
            stage = Stage(sui, ledger, signer)
            await _publish(stage)
            yield stage
        finally:
            await ledger.close()


async def _publish(stage: Stage) -> None:
    await stage.sui.faucet(stage.signer.address, 100 * SUI, coins=0)
    compiled = compile_package(PACKAGES / "counter")
    builder = PtbBuilder()
    builder.transfer([builder.publish(compiled.modules, compiled.dependencies)], stage.signer.address)
    published = await stage.execute(builder)
    assert published.success, published.failure
    [stage.package] = [created.id for created in published.created if created.type_tag == "package"]
    builder = PtbBuilder()
    uses = builder.pure(Writer().u64(12).finish())
    builder.transfer([builder.move_call(stage.package, "counter", "open", [uses])], stage.signer.address)
    opened = await stage.execute(builder)
    assert opened.success, opened.failure
    ids = {created.type_tag.rpartition("::")[2]: created.id for created in opened.created}
    counter = await stage.ledger.get_object(ids["Counter"])
    assert counter is not None
    stage.counter, stage.ticket = SharedRef.of(counter), ids["Ticket"]


@pytest.fixture(autouse=True)
def honest(stage: Stage) -> None:
    stage.sui.behave(stage.sui.grpc_ports[1])


async def listed(ledger: GrpcLedger, events: EventFilter, start: int = 0) -> list[ChainEvent]:
    found: list[ChainEvent] = []
    async with aclosing(ledger.list_events(events, start)) as pages:
        async for page in pages:
            found.extend(page.events)
    return found


async def in_checkpoint(ledger: GrpcLedger, digest: str) -> int:
    async with asyncio.timeout(10):
        while True:
            found = await ledger.get_transaction(digest)
            if found is not None and found.checkpoint is not None:
                return found.checkpoint
            await asyncio.sleep(0.01)


async def value_of(stage: Stage) -> int:
    counter = await stage.ledger.get_object(stage.counter.id)
    assert counter is not None
    reader = Reader(counter.contents)
    assert reader.address() == counter.id
    value = reader.u64()
    reader.finish()
    return value


async def test_a_call_changes_two_objects_and_can_be_read_back(stage: Stage) -> None:
    before = await value_of(stage)
    transaction, signature = await stage.signed(await stage.advancing(b"read back"))
    outcome = await stage.ledger.execute(transaction, signature)
    assert (outcome.success, outcome.abort, outcome.failure) == (True, None, None)
    assert outcome.gas_used != 0
    assert await value_of(stage) == before + 1
    counter, ticket, nothing = await stage.ledger.get_objects([stage.counter.id, stage.ticket, b"\x63" * 32])
    assert nothing is None
    assert counter is not None
    assert ticket is not None
    assert counter.previous_transaction == ticket.previous_transaction == outcome.digest
    assert (ticket.owner.kind, ticket.owner.address) == ("address", stage.signer.address)
    await in_checkpoint(stage.ledger, outcome.digest)
    found = await stage.ledger.get_transaction(outcome.digest)
    assert found is not None
    assert (found.bcs, list(found.signatures)) == (transaction, [signature])
    verify_signature(found.bcs, found.signatures[0], stage.signer.public_key)
    [event] = found.events
    assert event.contents == stage.counter.id + (before + 1).to_bytes(8, "little") + b"\x09read back"
    assert event.sender == stage.signer.address
    assert found.timestamp_ms is not None
    lean = await stage.ledger.get_signed_transaction(outcome.digest)
    assert lean == SignedTransaction(outcome.digest, transaction, [signature], success=True)


async def test_sending_the_same_bytes_again_gives_the_old_effects(stage: Stage) -> None:
    transaction, signature = await stage.signed(await stage.advancing(b"once"))
    first = await stage.ledger.execute(transaction, signature)
    after = await value_of(stage)
    again = await stage.ledger.execute(transaction, signature)
    assert first.success
    assert (again.digest, again.success, again.gas_used) == (first.digest, True, first.gas_used)
    assert await value_of(stage) == after


async def test_an_abort_names_module_and_code(stage: Stage) -> None:
    builder = PtbBuilder()
    uses = builder.pure(Writer().u64(0).finish())
    ticket = builder.move_call(stage.package, "counter", "open", [uses])
    note = builder.pure(b"\x00")
    counter = builder.shared(stage.counter.id, stage.counter.initial_version, mutable=True)
    builder.move_call(stage.package, "counter", "advance", [counter, ticket, note])
    builder.transfer([ticket], stage.signer.address)
    before = await value_of(stage)
    outcome = await stage.execute(builder)
    assert outcome.success is False
    assert outcome.abort is not None
    assert (outcome.abort.module, outcome.abort.code, outcome.abort.command) == ("counter", 7, 1)
    assert outcome.abort.package == stage.package
    assert outcome.gas_used > 0
    assert await value_of(stage) == before


async def test_a_simulation_changes_nothing(stage: Stage) -> None:
    before = await value_of(stage)
    transaction, _ = await stage.signed(await stage.advancing(b"what if"))
    outcome = await stage.ledger.simulate(transaction)
    assert outcome.success
    assert outcome.digest == transaction_digest(transaction)
    assert await value_of(stage) == before


async def test_refusals_before_execution_are_definite_and_free(stage: Stage) -> None:
    balance = await stage.ledger.balance(stage.signer.address)
    transaction, signature = await stage.signed(await stage.advancing(b"refused"), price=1)
    with pytest.raises(TransactionRefusedError) as caught:
        await stage.ledger.execute(transaction, signature)
    assert caught.value.kind == "gas-price"
    transaction, signature = await stage.signed(await stage.advancing(b"refused"))
    with pytest.raises(TransactionRefusedError):
        await stage.ledger.execute(transaction, signature[:5] + bytes([signature[5] ^ 1]) + signature[6:])
    with pytest.raises(TransactionRefusedError):
        await stage.ledger.execute(transaction[:-1], signature)
    assert await stage.ledger.balance(stage.signer.address) == balance
    assert await stage.ledger.get_transaction(transaction_digest(transaction)) is None


async def test_a_stale_object_version_is_refused_with_its_kind(stage: Stage) -> None:
    stale = await stage.signed(await stage.advancing(b"too late"))
    assert (await stage.execute(await stage.advancing(b"first"))).success
    with pytest.raises(TransactionRefusedError) as caught:
        await stage.ledger.execute(*stale)
    assert caught.value.kind == "stale-object"


async def test_coins_pay_until_the_address_balance_does(stage: Stage, tmp_path: Path) -> None:
    signer = FileSigner.generate(tmp_path / "newcomer")
    await stage.sui.faucet(signer.address, 5 * SUI)
    [coin] = await stage.ledger.list_owned_objects(signer.address, str(calls.SUI_COIN_TYPE))
    assert await stage.ledger.balance(signer.address) == 0
    builder = PtbBuilder()
    calls.deposit_to_address_balance(builder, coin=GAS_COIN, recipient=signer.address, amount=2 * SUI)
    price = (await stage.ledger.epoch()).reference_gas_price
    gas = CoinGas(BUDGET, price, (ObjectRef(coin.id, coin.version, coin.digest),))
    transaction = builder.build(signer.address, gas=gas)
    outcome = await stage.ledger.execute(transaction, signer.sign(transaction))
    assert outcome.success, outcome.failure
    assert await stage.ledger.balance(signer.address) == 2 * SUI


async def test_past_events_are_replayed_in_order_from_a_checkpoint_and_a_cursor(stage: Stage) -> None:
    digests = [(await stage.execute(await stage.advancing(bytes([n])))).digest for n in range(3)]
    first = await in_checkpoint(stage.ledger, digests[0])
    await in_checkpoint(stage.ledger, digests[-1])
    events = await listed(stage.ledger, stage.events, first)
    assert [event.transaction_digest for event in events][-3:] == digests
    assert all(event.checkpoint is not None and event.checkpoint >= first for event in events)
    pages = stage.ledger.list_events(stage.events, None)
    async with aclosing(pages):
        page = await anext(pages)
    assert page.last
    after = (await stage.execute(await stage.advancing(b"after"))).digest
    await in_checkpoint(stage.ledger, after)
    async with aclosing(stage.ledger.list_events(stage.events, None, after=page.cursor)) as resumed:
        found = [event.transaction_digest async for more in resumed for event in more.events]
    assert found == [after]


async def test_a_foreign_type_has_no_events(stage: Stage) -> None:
    assert await listed(stage.ledger, EventFilter(("0x2::counter::Advanced",))) == []


async def next_event(frames: AsyncIterator[EventFrame]) -> ChainEvent:
    async with asyncio.timeout(10):
        async for frame in frames:
            if frame.event is not None:
                return frame.event
    raise AssertionError("a subscription does not end")


async def test_live_events_arrive_after_a_first_frame_with_the_position(stage: Stage) -> None:
    async with aclosing(stage.ledger.subscribe_events(stage.events)) as frames:
        first = await anext(frames)
        assert first.event is None
        assert first.checkpoint is not None
        outcome = await stage.execute(await stage.advancing(b"live"))
        event = await next_event(frames)
    assert event.position == (outcome.digest, 0)
    assert event.checkpoint is not None
    assert event.checkpoint > first.checkpoint


async def test_dropped_connections_raise_and_a_new_subscription_works(stage: Stage) -> None:
    async with stage.other_port() as ledger:
        frames = ledger.subscribe_events(stage.events)
        await anext(frames)
        stage.sui.drop_streams(stage.sui.grpc_ports[1])
        with pytest.raises(LedgerUnavailableError):
            await next_event(frames)
        async with aclosing(ledger.subscribe_events(stage.events)) as again:
            assert (await anext(again)).event is None
        assert (await ledger.service_info()).chain_id == stage.sui.chain_id


async def test_a_frozen_endpoint_is_noticed_by_calls_and_by_streams(stage: Stage) -> None:
    async with stage.other_port(
        keepalive=Keepalive(interval_s=0.05, timeout_s=0.2), timeout_s=0.3, idle_timeout_s=60
    ) as ledger:
        frames = ledger.subscribe_events(stage.events)
        await anext(frames)
        stage.sui.misbehave(stage.sui.grpc_ports[1], frozen=True)
        with pytest.raises(LedgerUnavailableError):
            await next_event(frames)
        with pytest.raises(LedgerUnavailableError):
            await ledger.service_info()
        stage.sui.behave(stage.sui.grpc_ports[1])
        assert (await ledger.service_info()).chain_id == stage.sui.chain_id


async def test_an_answer_lost_after_execution_is_found_by_sending_again(stage: Stage) -> None:
    async with stage.other_port() as ledger:
        transaction, signature = await stage.signed(await stage.advancing(b"lost"))
        failing = {"ExecuteTransaction": {"status": "UNAVAILABLE", "times": 1, "after": True}}
        stage.sui.misbehave(stage.sui.grpc_ports[1], fail=failing)
        before = await value_of(stage)
        with pytest.raises(LedgerUnavailableError):
            await ledger.execute(transaction, signature)
        assert (await ledger.execute(transaction, signature)).success
        assert await value_of(stage) == before + 1


async def test_forged_transactions_and_effects_are_not_believed(stage: Stage) -> None:
    async with stage.other_port() as ledger:
        transaction, signature = await stage.signed(await stage.advancing(b"honest"))
        digest = (await stage.ledger.execute(transaction, signature)).digest
        stage.sui.misbehave(
            stage.sui.grpc_ports[1], forge={"transaction": {"transaction.bcs.value": transaction[::-1].hex()}}
        )
        with pytest.raises(ForgedReplyError):
            await ledger.get_transaction(digest)
        stage.sui.behave(stage.sui.grpc_ports[1])
        other = transaction_digest(b"another transaction")
        stage.sui.misbehave(stage.sui.grpc_ports[1], forge={"effects": {"transaction_digest": other}})
        with pytest.raises(ForgedReplyError):
            await ledger.execute(transaction, signature)


async def test_a_stopped_endpoint_is_unavailable(stage: Stage) -> None:
    async with LocalSui(vm=SandboxVm(workers=1), finality_ms=0, checkpoint_ms=20) as sui:
        ledger = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[0]}")
        frames = ledger.subscribe_events(stage.events)
        await anext(frames)
    with pytest.raises(LedgerUnavailableError):
        await next_event(frames)
    with pytest.raises(LedgerUnavailableError):
        await ledger.service_info()
    await ledger.close()


async def test_tls_is_used_only_with_a_certificate_that_verifies(tmp_path: Path) -> None:
    authority, stranger = LocalAuthority(tmp_path / "ours"), LocalAuthority(tmp_path / "strangers")
    server = authority.issue("endpoint")
    tls = tls_context(server.certificate, server.key)
    local = LocalSui(vm=SandboxVm(workers=1), finality_ms=0, checkpoint_ms=20, tls=tls)
    async with local as sui:
        url = f"https://127.0.0.1:{sui.grpc_ports[0]}"
        trusting = GrpcLedger(url, tls=ssl.create_default_context(cafile=str(authority.certificate_file)))
        assert (await trusting.service_info()).chain_id == sui.chain_id
        await trusting.close()
        for foreign in (None, ssl.create_default_context(cafile=str(stranger.certificate_file))):
            wary = GrpcLedger(url, tls=foreign)
            with pytest.raises(LedgerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await wary.service_info()
            await wary.close()
