"""The gateway against the compiled contract in the real Move VM, with a small executor that answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.gateway.messages import HttpReply
from infra.local.sui.rpc.misbehaviour import Failing
from k3s_daas.cli.holder import Holder
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.objects import UsageState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.contract.usage import DAY_MS, command_deposit
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import PtbBuilder
from k3s_daas.sui.wallet import Wallet, object_ref
from tests.integration.gateway_stage import PODS, Stage, gateway_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # Long, so that a test can be sure of a stale view.
    with gateway_stage(tmp_path_factory.mktemp("keys"), admission_ttl_ms=60_000) as stage:
        yield stage


def header(reply: HttpReply, name: str) -> str | None:
    return next((value for key, value in reply.headers if key == name), None)


def status(reply: HttpReply) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(reply.body)
    assert parsed["kind"] == "Status", parsed
    return parsed


def test_a_command_goes_through_the_contract_and_back(stage: Stage) -> None:
    reply = stage.send(f"{PODS}/web", "DELETE")
    assert reply.status == 200, reply.body
    assert json.loads(reply.body) == {"method": "DELETE", "path": f"{PODS}/web"}
    assert header(reply, "X-Daas-Request-Digest") != header(reply, "X-Daas-Response-Digest")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/version"),
        ("GET", "/openapi/v3/apis/apps/v1?hash=1"),
        ("GET", "/api/v1/namespaces?watch=true"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/a/token"),
        ("PATCH", "/apis/example.com/v1/namespaces/default/widgets/a%20b/status"),
        ("DELETE", PODS),
    ],
)
def test_what_admission_lets_through_the_contract_takes(stage: Stage, method: str, target: str) -> None:
    reply = stage.send(target, method)
    assert reply.status == 200, reply.body
    assert stage.executor.ran[-1] == (method, target.partition("?")[0])


def test_the_largest_request_that_is_not_refused_fits_a_transaction(stage: Stage) -> None:
    reply = stage.send(PODS, "POST", os.urandom(95_000))
    assert reply.status == 200, reply.body


def test_a_warm_command_is_two_transactions_and_one_submission_of_ours(stage: Stage) -> None:
    stage.send(PODS)
    before = stage.calls("ExecuteTransaction"), stage.calls("GetEpoch"), stage.calls("GetServiceInfo")
    stage.send(PODS)
    after = stage.calls("ExecuteTransaction"), stage.calls("GetEpoch"), stage.calls("GetServiceInfo")
    # The executor's wallet asks for epoch and chain once per answer; the gateway does not.
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1, 1]


def test_refusals_by_admission_cost_nothing(stage: Stage) -> None:
    before = stage.calls("ExecuteTransaction")
    assert status(stage.send(PODS, "POST", b"{}", holder="small-stake"))["code"] == 403
    assert status(stage.send(f"{PODS}/p", "DELETE", holder="viewer"))["code"] == 403
    assert stage.calls("ExecuteTransaction") == before


def test_a_stale_gas_price_is_refreshed_once_and_the_command_runs_once(stage: Stage) -> None:
    stage.send(PODS)

    async def next_epoch() -> None:
        stage.sui.ledger.advance_epoch(2_000)

    stage.sui_loop.run(next_epoch())
    ran = len(stage.executor.ran)
    reply = stage.send(PODS, "POST", b"{}")
    assert reply.status == 200, reply.body
    assert len(stage.executor.ran) == ran + 1


def test_a_submission_whose_reply_is_lost_runs_once(stage: Stage) -> None:
    stage.send(PODS)
    ran = len(stage.executor.ran)
    stage.misbehave(fail={"ExecuteTransaction": Failing(times=1, after=True)})
    reply = stage.send(PODS, "POST", b"{}")
    assert reply.status == 200, reply.body
    assert len(stage.executor.ran) == ran + 1


def test_a_connection_that_drops_is_made_again(stage: Stage) -> None:
    async def drop() -> None:
        stage.sui.drop_streams(stage.port)

    stage.sui_loop.run(drop())
    assert stage.send(PODS).status == 200


def test_the_chain_counts_what_the_gateway_counts(stage: Stage) -> None:
    before, began = usage(stage, "viewer"), stage.clock.now_ms()
    assert stage.send(PODS, holder="viewer").status == 200
    after = usage(stage, "viewer")
    asked = OnChainAttributes("list", "", "v1", "pods", "", "default")
    expected = command_deposit("viewer", asked)
    assert after.day in (began // DAY_MS, stage.clock.now_ms() // DAY_MS)
    assert after.deposit - (before.deposit if after.day == before.day else 0) == expected
    assert after.commands - (before.commands if after.minute == before.minute else 0) == 1


def test_a_revoked_seal_is_refused_on_chain_whatever_the_cache_says(stage: Stage) -> None:
    assert stage.send(PODS).status == 200
    ran = len(stage.executor.ran)
    seal = Holder.load(stage.chain.holders["operator"]).seal
    revoke(stage, seal)
    reply = stage.send(PODS, "POST", b"{}")
    parsed = status(reply)
    assert parsed["code"] == 403
    # There is a transaction: the gateway's own view still said yes.
    assert {"ESealRevoked", "RequestDigest"} <= {cause["reason"] for cause in parsed["details"]["causes"]}
    assert len(stage.executor.ran) == ran


def test_a_ledger_that_is_gone_is_a_status_and_never_an_answer(stage: Stage) -> None:
    ran = len(stage.executor.ran)
    stage.misbehave(fail={"*": Failing()})
    try:
        for method in ("GET", "POST"):
            reply = stage.send(PODS, method, holder="viewer")
            assert status(reply)["code"] in (503, 504)
    finally:
        stage.misbehave(fail={})
    assert len(stage.executor.ran) == ran


def usage(stage: Stage, holder: str) -> UsageState:
    reader = ContractReader(stage.executor.ledger, stage.chain.roots)
    seal = stage.sui_loop.run(reader.seal(Holder.load(stage.chain.holders[holder]).seal))
    assert seal is not None
    return seal.usage


def revoke(stage: Stage, seal: bytes) -> None:
    roots, ledger = stage.chain.roots, stage.executor.ledger
    wallet = Wallet(ledger, FileSigner.load(stage.keys / "admin.key"))

    async def run() -> None:
        cap_type = f"0x{roots.package_original.hex()}::capability::AccessCap"
        [cap] = await ledger.list_owned_objects(wallet.address, cap_type)
        cluster_object, seal_object = await ledger.get_objects([roots.cluster, seal])
        assert cluster_object is not None
        assert seal_object is not None

        def compose(builder: PtbBuilder) -> None:
            capability = builder.owned(object_ref(cap))
            cluster, target = SharedRef.of(cluster_object), SharedRef.of(seal_object)
            calls.revoke(builder, roots.package_latest, cluster, capability, target, reason="left")

        await wallet.run(compose)

    stage.sui_loop.run(run())
