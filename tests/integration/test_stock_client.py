"""The stock pysui client, unchanged, against the local ledger over TLS.

The client hard-wires TLS against certifi's roots and needs a configuration file with a private key; the test
gives it a file of its own and lets certifi point at the test's authority. It builds, prices (by simulation)
and signs its transactions itself, by its own BCS, so it also checks ours.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import pytest
from pysui import PysuiConfiguration
from pysui.sui.sui_bcs import bcs as pysui_bcs
from pysui.sui.sui_common.config.confgroup import GroupProtocol, NetworkType
from pysui.sui.sui_common.factory import client_factory
from pysui.sui.sui_common.sui_commands import ExecuteTransaction, GetObject, GetTransaction
from pysui.sui.sui_grpc import pgrpc_requests as requests
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from infra.local.certificates import LocalAuthority
from infra.local.sui.compiler import compile_package
from infra.local.sui.keys import ed25519_key
from infra.local.sui.server import LocalSui, tls_context

GALLERY = Path(__file__).parent / "packages" / "gallery"
FUNDS = 10**12
SUI = "0x2::sui::SUI"


@dataclass
class Stock:
    """The stock client and the chain behind it."""

    client: Any
    sui: LocalSui
    address: str

    async def transaction(self) -> Any:
        return await self.client.transaction(initial_sender=self.address)

    async def submit(self, transaction: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Let the client price, sign and send; the executed transaction and what was sent."""
        signed = await transaction.build_and_sign(**options)
        answer = await self.client.execute(command=ExecuteTransaction(**signed))
        assert answer.is_ok(), answer.result_string
        return answer.result_data, signed


def configuration(directory: Path, port: int, key_string: str) -> PysuiConfiguration:
    group = {"name": "local", "make_active": True}
    config = PysuiConfiguration.initialize_config(in_folder=directory, init_groups=[group])
    config.new_group(
        group_name="local_grpc",
        profile_block=[
            {
                "profile_name": "local",
                "url": f"localhost:{port}",
                "network_type": NetworkType.LOCAL,
                "faucet_url": None,
                "faucet_status_url": None,
                "make_active": True,
            }
        ],
        key_block=[{"key_string": key_string, "alias": "tester"}],
        active_address_index=0,
        group_protocol=GroupProtocol.GRPC,
        make_group_active=True,
    )
    return config


@pytest.fixture
async def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stock]:
    authority = LocalAuthority(tmp_path / "tls")
    issued = authority.issue("sui")
    monkeypatch.setattr(certifi, "where", lambda: str(authority.certificate_file))
    key = ed25519_key()
    secret = base64.b64encode(bytes([key.flag]) + key.private_bytes).decode()
    tls = tls_context(issued.certificate, issued.key)
    async with LocalSui(finality_ms=0, checkpoint_ms=0, tls=tls) as sui:
        config = configuration(tmp_path / "pysui", sui.grpc_ports[0], secret)
        address = f"0x{key.address.hex()}"
        assert config.active_address == address
        await sui.faucet(address, FUNDS)
        async with client_factory(config) as client:
            yield Stock(client, sui, address)


def created(executed: Any, name: str) -> str:
    """The id of the one object of type ``…::name`` that a transaction created."""
    found = [
        changed.object_id
        for changed in executed.effects.changed_objects
        if changed.object_type.split("<")[0].endswith(name)
        and changed.id_operation == v2.ChangedObjectIdOperation.CREATED
    ]
    assert len(found) == 1, found
    return str(found[0])


async def publish(stock: Stock) -> tuple[str, str]:
    """Publish the example; the ids of its package and of its shared object.

    The client's own ``publish`` runs the ``sui`` command line; the command here is what it makes of that.
    """
    compiled = compile_package(GALLERY)
    transaction = await stock.transaction()
    cap = transaction.builder.publish(
        [list(module) for module in compiled.modules],
        [pysui_bcs.Address.from_str(f"0x{dependency.hex()}") for dependency in compiled.dependencies],
    )
    await transaction.transfer_objects(transfers=[cap], recipient=stock.address)
    executed, _ = await stock.submit(transaction)
    assert executed.effects.status.success, executed.effects.status.error
    return created(executed, "package"), created(executed, "gallery::Gallery")


async def test_the_stock_client_publishes_calls_aborts_reads_back_and_replays(stock: Stock) -> None:
    package, gallery = await publish(stock)

    hang = await stock.transaction()
    await hang.move_call(target=f"{package}::gallery::hang", arguments=[gallery, "mona", 500, "0x6"])
    hung, signed = await stock.submit(hang)
    assert hung.effects.status.success, hung.effects.status.error
    [event] = hung.events.events
    assert event.event_type == f"{package}::gallery::Hung"
    assert event.json.to_dict()["title"] == "mona"

    again = await stock.transaction()
    await again.move_call(target=f"{package}::gallery::hang", arguments=[gallery, "mona", 1, "0x6"])
    aborted, _ = await stock.submit(again, gas_budget=50_000_000)
    failure = aborted.effects.status.error
    assert failure.kind == v2.ExecutionErrorExecutionErrorKind.MOVE_ABORT
    assert (failure.abort.abort_code, failure.abort.location.module) == (2, "gallery")

    answer = await stock.client.execute(command=GetObject(object_id=gallery))
    assert answer.result_data.previous_transaction == aborted.digest
    answer = await stock.client.execute(command=GetTransaction(digest=hung.digest))
    assert base64.b64encode(answer.result_data.transaction.bcs.value).decode() == signed["tx_bytestr"]

    before = stock.sui.ledger.counters.executed
    replayed = await stock.client.execute(command=ExecuteTransaction(**signed))
    assert replayed.result_data.effects.digest == hung.effects.digest
    assert stock.sui.ledger.counters.executed == before


async def test_the_stock_client_pays_from_an_address_balance(stock: Stock) -> None:
    await stock.sui.faucet(stock.address, FUNDS, coins=0)
    package, gallery = await publish(stock)
    call = await stock.transaction()
    await call.move_call(target=f"{package}::gallery::hang", arguments=[gallery, "mona", 500, "0x6"])
    executed, _ = await stock.submit(call, use_account_for_gas=True)
    assert executed.effects.status.success, executed.effects.status.error
    assert executed.transaction.gas_payment.objects == []
    answer = await stock.client.execute_grpc_request(
        request=requests.GetAddressCoinBalance(owner=stock.address, coin_type=SUI)
    )
    gas = executed.effects.gas_used
    paid = gas.computation_cost + gas.storage_cost - gas.storage_rebate
    assert answer.result_data.balance.address_balance == FUNDS - paid


async def test_the_stock_client_lists_events(stock: Stock) -> None:
    package, gallery = await publish(stock)
    call = await stock.transaction()
    for title in ("one", "two"):
        await call.move_call(target=f"{package}::gallery::hang", arguments=[gallery, title, 5, "0x6"])
    executed, _ = await stock.submit(call)
    answer = await stock.client.execute_grpc_request(request=requests.ListEvents())
    frames = [frame async for frame in answer.result_data]
    titles = [frame.event.json.to_dict()["title"] for frame in frames if frame.event is not None]
    assert titles == ["one", "two"]
    assert {frame.event.transaction_digest for frame in frames if frame.event} == {executed.digest}
    assert frames[-1].end.reason == v2.QueryEndReason.LEDGER_TIP


async def test_the_clients_own_publish_wants_a_command_line(stock: Stock) -> None:
    """The one thing that cannot work here: ``publish`` of the stock client runs ``sui move build``."""
    if shutil.which("sui"):
        pytest.skip("there is a sui command line, so the client's own publish can work")
    transaction = await stock.transaction()
    with pytest.raises(PermissionError):
        await transaction.publish(project_path=str(GALLERY))
