"""Package upgrades as a client over gRPC sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpclib.client import Channel
from pysui.sui.sui_grpc.suimsgs.google.protobuf import FieldMask
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from infra.local.sui.builder import TransactionBuilder
from infra.local.sui.keys import ed25519_key
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import hex_address
from infra.local.sui.ledger.transactions import Argument
from infra.local.sui.server import LocalSui
from tests.integration.upgrade_stage import FRAMEWORK, Stage, changed_workshop, workshop

FUNDS = 10**12


class Client:
    def __init__(self, stage: Stage, port: int) -> None:
        self.stage = stage
        self.channel = Channel("127.0.0.1", port)
        self.execution = v2.TransactionExecutionServiceStub(self.channel)
        self.packages = v2.MovePackageServiceStub(self.channel)
        self.ledger = v2.LedgerServiceStub(self.channel)

    async def execute(self, transaction: TransactionBuilder) -> Any:
        encoded, signature = self.stage.sign(transaction)
        request = v2.ExecuteTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=encoded)),
            signatures=[v2.UserSignature(bcs=v2.Bcs(value=signature))],
            read_mask=FieldMask(paths=["*"]),
        )
        return (await self.execution.execute_transaction(request)).transaction

    async def package(self, package: bytes) -> Any:
        request = v2.GetPackageRequest(package_id=hex_address(package))
        return (await self.packages.get_package(request)).package


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with LocalSui(clock=ManualClock(1), finality_ms=0, checkpoint_ms=0) as sui:
        key = ed25519_key()
        await sui.faucet(hex_address(key.address), FUNDS, coins=0)
        client = Client(Stage(sui.ledger, key), sui.grpc_ports[0])
        yield client
        client.channel.close()


async def test_an_upgrade_is_executed_and_its_versions_are_listed(client: Client) -> None:
    stage = client.stage
    first = await stage.publish(workshop(1))
    executed = await client.execute(stage.upgrading(first.package, first.cap, workshop(2)))
    assert executed.effects.status.success, executed.effects.status.error
    [written] = [c for c in executed.effects.changed_objects if c.object_type == "package"]
    assert (written.output_version, written.id_operation) == (2, v2.ChangedObjectIdOperation.CREATED)
    second = bytes.fromhex(written.object_id.removeprefix("0x"))

    for asked in (first.package, second):
        request = v2.ListPackageVersionsRequest(package_id=hex_address(asked))
        versions = (await client.packages.list_package_versions(request)).versions
        assert [(one.package_id, one.version) for one in versions] == [
            (hex_address(first.package), 1),
            (hex_address(second), 2),
        ]
    package = await client.package(second)
    assert (package.storage_id, package.original_id, package.version) == (
        hex_address(second),
        hex_address(first.package),
        2,
    )
    origins = {(one.module_name, one.datatype_name): one.package_id for one in package.type_origins}
    assert origins["machine", "Machine"] == hex_address(first.package)
    assert origins["machine", "Plate"] == hex_address(second)
    assert {one.upgraded_id for one in package.linkage} == {
        hex_address(bytes(31) + bytes([n])) for n in (1, 2)
    }

    asked_function = v2.GetFunctionRequest(
        package_id=hex_address(second), module_name="machine", name="label"
    )
    described = (await client.packages.get_function(asked_function)).function
    assert described.parameters[0].body.type_name == f"{hex_address(first.package)}::machine::Machine"
    assert described.returns[0].body.type_name == f"{hex_address(second)}::machine::Plate"
    asked_type = v2.GetDatatypeRequest(package_id=hex_address(second), module_name="machine", name="Turned")
    datatype = (await client.packages.get_datatype(asked_type)).datatype
    assert datatype.defining_id == hex_address(first.package)

    turned = TransactionBuilder()
    turned.call(second, "machine::turn", turned.shared(stage.live(first.machine)))
    [event] = (await client.execute(turned)).events.events
    assert event.event_type == f"{hex_address(first.package)}::machine::Turned"
    assert event.package_id == hex_address(second)


async def test_a_refused_upgrade_says_why(client: Client) -> None:
    stage = client.stage
    first = await stage.publish(workshop(1))
    changed = changed_workshop("public fun version(): u64 { 1 }", "public fun version(): u8 { 1 }")
    executed = await client.execute(stage.upgrading(first.package, first.cap, changed))
    error = executed.effects.status.error
    assert error.kind == v2.ExecutionErrorExecutionErrorKind.PACKAGE_UPGRADE_ERROR
    kinds = v2.PackageUpgradeErrorPackageUpgradeErrorKind
    assert error.package_upgrade_error.kind == kinds.INCOMPATIBLE_UPGRADE
    assert "public function machine::version changes its return values" in error.description
    versions = await client.packages.list_package_versions(
        v2.ListPackageVersionsRequest(package_id=hex_address(first.package))
    )
    assert len(versions.versions) == 1


async def test_an_upgrade_that_comes_as_a_message_can_be_simulated(client: Client) -> None:
    stage = client.stage
    first = await stage.publish(workshop(1))
    compiled = workshop(2)
    program = stage.upgrading(first.package, first.cap, compiled)
    messages = v2.ProgrammableTransaction(
        inputs=[
            v2.Input(
                kind=v2.InputInputKind.IMMUTABLE_OR_OWNED,
                object_id=hex_address(first.cap),
                version=stage.live(first.cap).version,
                digest=(
                    await client.ledger.get_object(v2.GetObjectRequest(object_id=hex_address(first.cap)))
                ).object.digest,
            ),
            *(v2.Input(kind=v2.InputInputKind.PURE, pure=one.value) for one in program.inputs[1:]),  # type: ignore[union-attr]  # all others are pure
        ],
        commands=[
            _call("authorize_upgrade", Argument("input", 0), Argument("input", 1), Argument("input", 2)),
            v2.Command(
                upgrade=v2.Upgrade(
                    modules=list(compiled.modules),
                    dependencies=[hex_address(one) for one in compiled.dependencies],
                    package=hex_address(first.package),
                    ticket=_argument(Argument("result", 0)),
                )
            ),
            _call("commit_upgrade", Argument("input", 0), Argument("result", 1)),
        ],
    )
    kind = v2.TransactionKind(
        kind=v2.TransactionKindKind.PROGRAMMABLE_TRANSACTION, programmable_transaction=messages
    )
    sender = hex_address(stage.key.address)
    request = v2.SimulateTransactionRequest(transaction=v2.Transaction(kind=kind, sender=sender))
    simulated = (await client.execution.simulate_transaction(request)).transaction
    assert simulated.effects.status.success, simulated.effects.status.error


def _argument(argument: Argument) -> Any:
    kinds = v2.ArgumentArgumentKind
    if argument.kind == "input":
        return v2.Argument(kind=kinds.INPUT, input=argument.index)
    return v2.Argument(kind=kinds.RESULT, result=argument.index)


def _call(function: str, *arguments: Argument) -> Any:
    call = v2.MoveCall(
        package=hex_address(FRAMEWORK),
        module="package",
        function=function,
        arguments=list(map(_argument, arguments)),
    )
    return v2.Command(move_call=call)
