"""The listener process on the local chain with the compiled contract, before the in-memory Kubernetes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.local.kube.decoding import WriteOptions
from infra.local.stack.chain import LISTENER_NAMESPACE
from infra.local.stack.kubeconfigs import token_kubeconfig
from k3s_daas.admin.files import write_new_secret
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import PayloadReference
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.ids import request_id_text, to_hex
from k3s_daas.sui.grpc import GrpcLedger
from listener_service.refusal import ReplyTo
from listener_service.responder import Responder
from tests.integration.listener_stage import Asked, Stage, stage
from tests.unit.scripted_api_server import ScriptedReply, SeenRequest, scripted_api_server
from tests.unit.scripted_leases import ScriptedLeases

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

NAMESPACES = "/api/v1/namespaces"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("listener")) as made:
        yield made


def stored(chain: Stage, name: str) -> bool:
    return chain.cluster.store.get(("", "configmaps"), "default", name) is not None


async def test_commands_pass_through_the_contract_and_the_listener(chain: Stage) -> None:
    async with chain.listener():
        created = await chain.ask("POST", CONFIG_MAPS, "fieldManager=test", body=config_map("first"))
        assert created.status == 201
        assert stored(chain, "first")

        conflict = await chain.ask("POST", CONFIG_MAPS, body=config_map("first"))
        assert conflict.status == 409

        listed = await chain.ask("GET", CONFIG_MAPS, "limit=500", holder="viewer")
        assert listed.status == 200
        assert "first" in [item["metadata"]["name"] for item in json.loads(listed.body)["items"]]

        version = await chain.ask("GET", "/version")
        assert json.loads(version.body)["major"] == "1"
        [asked] = chain.cluster.audit.find(lambda entry: entry["path"] == "/version")
        assert asked["impersonatedUser"]["username"] == "daas:discovery"
        assert asked["impersonatedUser"]["groups"] == ["system:authenticated"]
        assert asked["impersonatedUser"]["extra"]["daas.io/seal"] == [to_hex(chain.holder("operator").seal)]

        who = await chain.ask(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body=b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}',
        )
        user = json.loads(who.body)["status"]["userInfo"]
        assert user["username"] == "sui:" + to_hex(chain.chain.addresses["operator"])
        assert user["groups"] == ["daas:role:operator", "system:authenticated"]
        assert user["extra"]["daas.io/seal"] == [to_hex(chain.holder("operator").seal)]

        deleted = await chain.ask("DELETE", f"{CONFIG_MAPS}/first")
        assert deleted.status == 200
        assert not stored(chain, "first")


async def test_kubernetes_rbac_is_the_second_gate(chain: Stage) -> None:
    """A viewer may read by both; once his binding is gone Kubernetes says no, whatever the contract says."""
    key, name = ("rbac.authorization.k8s.io", "clusterrolebindings"), "daas-role-viewer"
    binding = chain.cluster.store.get(key, "", name)
    assert binding is not None
    async with chain.listener():
        assert (await chain.ask("GET", CONFIG_MAPS, holder="viewer")).status == 200
        deleted = await chain.ask(
            "DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/daas-role-viewer"
        )
        assert deleted.status == 200
        refused = await chain.ask("GET", CONFIG_MAPS, holder="viewer")
        assert refused.status == 403
        assert "sui:0x" in json.loads(refused.body)["message"]


def responder(chain: Stage, ledger: GrpcLedger, *, gas_budget: int = 50_000_000) -> Responder:
    return Responder(
        ledger=ledger, roots=chain.chain.roots, signer=chain.services.executor, gas_budget=gas_budget
    )


def reply_to(asked: Asked, *, public: bool = False) -> ReplyTo:
    key = None if public else asked.reply_key.public_bytes()
    return ReplyTo(asked.seal, asked.request_id, key, time.time_ns() // 1_000_000 + 60_000)


def response(body: str) -> ResponseEnvelope:
    return ResponseEnvelope(200, (), body.encode())


async def test_answers_that_are_ready_together_share_a_transaction_and_a_bad_one_fails_alone(
    chain: Stage,
) -> None:
    """The contract passes over an answer to a closed request, and aborts for a request id that is none."""
    asked = [
        await chain.submit(
            "GET", CONFIG_MAPS, f"limit={number + 1}", holder=("operator", "viewer")[number % 2]
        )
        for number in range(9)
    ]
    closed, *others = asked
    bad = Asked(bytes(15), closed.seal, closed.reply_key)
    responding = responder(chain, chain.ledger)
    await responding.answer(reply_to(closed), response("first"), is_read=True)
    await asyncio.gather(
        responding.answer(reply_to(closed), response("second"), is_read=True),
        responding.answer(reply_to(bad, public=True), response("bad"), is_read=True),
        *(
            responding.answer(reply_to(one), response(f"answer {number}"), is_read=True)
            for number, one in enumerate(others)
        ),
    )
    assert (await chain.answer(closed)).body == b"first"
    bodies = [(await chain.answer(one)).body.decode() for one in others]
    assert bodies == [f"answer {number}" for number in range(len(others))]
    # Looking up two seals takes two turns, so there may be two batches to begin with.
    assert max(responding.answers_per_transaction) >= 4


async def test_answers_whose_fate_nobody_tells_are_executed_once(chain: Stage) -> None:
    """The endpoint executes and then fails to say so, several times."""
    asked = [await chain.submit("GET", CONFIG_MAPS, f"limit={number + 1}") for number in range(6)]
    ledger = GrpcLedger(f"http://127.0.0.1:{chain.sui.grpc_ports[0]}")
    responding, port = responder(chain, ledger), chain.listeners_port
    before = chain.sui.ledger.counters.executed
    failure = {"status": "UNAVAILABLE", "after": True, "times": 12}
    port.misbehaviour.update({"fail": {"ExecuteTransaction": failure}})
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(
                    responding.answer(reply_to(one), response(f"answer {number}"), is_read=True)
                    for number, one in enumerate(asked)
                )
            )
    finally:
        port.misbehaviour.update({"fail": {}})
        await ledger.close()
    bodies = [(await chain.answer(one)).body.decode() for one in asked]
    assert bodies == [f"answer {number}" for number in range(len(asked))]
    transactions = sum(responding.answers_per_transaction.values())
    assert chain.sui.ledger.counters.executed - before == transactions <= len(asked)


async def test_answers_wait_while_another_version_of_the_package_serves_the_cluster(chain: Stage) -> None:
    """Between the new trust roots and `daas cluster migrate`, say."""
    asked = [await chain.submit("GET", CONFIG_MAPS, f"limit={number + 1}") for number in range(2)]
    ledger, cluster = chain.sui.ledger, chain.chain.roots.cluster
    responding = responder(chain, chain.ledger)
    stored_cluster = ledger.final.get(cluster)
    assert stored_cluster is not None
    ours = stored_cluster.contents
    # The version stands behind the id.
    ledger.rewrite_object(cluster, ours[:32] + (2).to_bytes(8, "little") + ours[40:])
    try:
        answering = asyncio.gather(
            *(responding.answer(reply_to(one), response("late"), is_read=True) for one in asked)
        )
        async with asyncio.timeout(20):
            while sum(responding.answers_per_transaction.values()) < 3:  # noqa: ASYNC110  the chain's time
                await asyncio.sleep(0.01)
    finally:
        ledger.rewrite_object(cluster, ours)
    await asyncio.wait_for(answering, 20)
    assert [(await chain.answer(one)).body for one in asked] == [b"late"] * 2


async def test_a_budget_that_is_too_small_is_spent_a_few_times_and_said(
    chain: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    asked = await chain.submit("GET", CONFIG_MAPS)
    responding = responder(chain, chain.ledger, gas_budget=1_000_000)
    await responding.answer(reply_to(asked), response("dear"), is_read=True)
    assert sum(responding.answers_per_transaction.values()) == 3
    told = [vars(line).get("do") for line in caplog.records if line.message == "answers failed on chain"]
    assert told == ["restart the listener with a larger DAAS_GAS_BUDGET"] * 3
    assert "the answer failed on chain and is given up" in caplog.messages
    await responder(chain, chain.ledger).answer(reply_to(asked), response("paid"), is_read=True)
    assert (await chain.answer(asked)).body == b"paid"


async def test_a_watch_ends_by_itself(chain: Stage) -> None:
    async with chain.listener():
        watched = await chain.ask("GET", CONFIG_MAPS, "watch=true&timeoutSeconds=600")
        assert watched.status == 200


async def test_a_request_other_than_the_authorised_one_is_answered_403(chain: Stage) -> None:
    async with chain.listener() as process:
        authorised = OnChainAttributes("get", "", "v1", "configmaps", "", "default", "kept")
        await chain.ask("POST", CONFIG_MAPS, body=config_map("kept"))
        answer = await chain.ask("DELETE", f"{CONFIG_MAPS}/kept", authorised=authorised)
        assert answer.status == 403
        assert stored(chain, "kept")
        assert "command refused, nothing was run" in process.messages()


async def test_another_requests_ciphertext_is_not_run(chain: Stage) -> None:
    async with chain.listener() as process:
        asked = await chain.submit(
            "POST", CONFIG_MAPS, body=config_map("copied"), payload_for=lambda _: bytes(16)
        )
        await chain.ask("GET", NAMESPACES)
        assert (await chain.request(asked)).response is None
        assert not stored(chain, "copied")
        [refused] = [line for line in process.logged if line.get("reason") == "not-openable"]
        assert refused["request_id"] == request_id_text(asked.request_id)


async def test_a_body_that_is_kept_elsewhere_is_answered_501_on_chain(chain: Stage) -> None:
    async with chain.listener():
        kept = PayloadReference(b"bucket/key", bytes(range(32)), 200_000)
        asked = await chain.submit("POST", CONFIG_MAPS, body=config_map("elsewhere"), payload=kept)
        # Another command, so that there has been time.
        await chain.ask("GET", NAMESPACES)
        async with asyncio.timeout(10):
            while (answered := (await chain.request(asked)).response) is None:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.01)
    assert answered.status_code == 501
    assert not stored(chain, "elsewhere")


async def test_another_passphrase_ends_the_start(chain: Stage, tmp_path: Path) -> None:
    other = tmp_path / "passphrase"
    write_new_secret(other, "not the one it was written with")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "listener_service",
        env=chain.environment(DAAS_KEY_PASSPHRASE_FILE=str(other)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (1, b"")
    sentence = err.decode().splitlines()[-1]
    assert sentence.startswith("listener: the sealing key ")
    assert "cannot be opened" in sentence
    assert "passphrase" in sentence


async def test_a_killed_listener_leaves_outcome_unknown_and_its_successor_runs_nothing_twice(
    chain: Stage,
) -> None:
    port = chain.listeners_port
    async with chain.listener(DAAS_LEASE_SECONDS="2") as process:
        await chain.ask("GET", NAMESPACES)
        # It can still run commands, and cannot answer them any more.
        port.misbehaviour.update({"fail": {"ExecuteTransaction": {"status": "UNAVAILABLE"}}})
        asked = await chain.submit("POST", CONFIG_MAPS, body=config_map("survivor"), start_within_ms=4_000)
        async with asyncio.timeout(10):
            while not stored(chain, "survivor"):  # noqa: ASYNC110  another process
                await asyncio.sleep(0.005)
        await process.end(signal.SIGKILL)
    port.misbehaviour.update({"fail": {}})
    stored_before = chain.cluster.store.get(("", "configmaps"), "default", "survivor")
    async with chain.listener():
        answer = await chain.answer(asked)
        assert answer.status == 500
        assert "outcome unknown" in json.loads(answer.body)["message"]
        assert chain.cluster.store.get(("", "configmaps"), "default", "survivor") == stored_before
        assert (await chain.ask("GET", NAMESPACES)).status == 200


async def test_commands_that_came_while_no_listener_ran_are_found(chain: Stage) -> None:
    async with chain.listener():
        await chain.ask("GET", NAMESPACES)
    asked = await chain.submit("POST", CONFIG_MAPS, body=config_map("missed"))
    late = await chain.submit("POST", CONFIG_MAPS, body=config_map("late"), start_within_ms=300)
    await asyncio.sleep(0.4)
    async with chain.listener():
        assert (await chain.answer(asked)).status == 201
        assert (await chain.answer(late)).status == 504
    assert not stored(chain, "late")


async def test_sigterm_drains_and_the_listeners_namespace_stays_closed(chain: Stage) -> None:
    async with chain.listener() as process:
        asked = await chain.submit("GET", NAMESPACES)
        assert (await chain.answer(asked)).status == 200
        authorised = OnChainAttributes("get", "", "v1", "namespaces", "", "default", "default")
        closed = await chain.ask("GET", f"{NAMESPACES}/{LISTENER_NAMESPACE}", authorised=authorised)
        assert closed.status == 403
        assert await process.end(signal.SIGTERM) == 0
        assert process.other_lines == []


async def test_dropped_streams_lose_nothing(chain: Stage) -> None:
    port = chain.listeners_port
    async with chain.listener() as process:
        port.misbehaviour.update({"drop_streams_after": 3, "duplicate_events": True})
        try:
            asked = [await chain.submit("POST", CONFIG_MAPS, body=config_map(f"drop-{n}")) for n in range(6)]
        finally:
            port.misbehaviour.update({"drop_streams_after": None, "duplicate_events": False})
        answers = [await chain.answer(one) for one in asked]
        assert "event stream lost, subscribing again" in process.messages()
    assert [answer.status for answer in answers] == [201] * 6


async def test_an_event_that_the_endpoint_changed_is_not_run(chain: Stage) -> None:
    def rename(event: Any) -> None:
        event.contents.value = event.contents.value.replace(b"kept-1", b"kept-2")

    for name in ("kept-1", "kept-2"):
        chain.cluster.operations.create(
            chain.cluster.registry.builtin("", "configmaps"),
            "default",
            json.loads(config_map(name)),
            WriteOptions("test"),
        )
    async with chain.listener() as process:
        chain.listeners_port.misbehaviour.update({"forge": {"event": rename}})
        try:
            asked = await chain.submit("DELETE", f"{CONFIG_MAPS}/kept-1")
            await chain.ask("GET", NAMESPACES)
        finally:
            chain.listeners_port.misbehaviour.update({"forge": {}})
        [line] = [line for line in process.logged if line.get("reason") == "not-authorised"]
        assert line["request_id"] == request_id_text(asked.request_id)
        assert line["transaction"]
    assert stored(chain, "kept-1")
    assert stored(chain, "kept-2")


async def test_sigterm_does_not_wait_for_an_api_server_that_hangs(chain: Stage, tmp_path: Path) -> None:
    hanging, released = threading.Event(), threading.Event()

    leases = ScriptedLeases()
    leases.secret = chain.keys_secret()

    def hang(request: SeenRequest) -> ScriptedReply:
        if (reply := leases.reply(request)) is not None:
            return reply
        hanging.set()
        released.wait(30)
        return ScriptedReply()

    with scripted_api_server() as api:
        api.reply = hang
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(token_kubeconfig({"server": api.configuration.host}, "listener", "token"))
        # The replay may bring it what a test before has left, a mutation too: it claims that as well.
        limits = {"DAAS_DRAIN_MS": "200", "DAAS_FINISH_MS": "500"}
        async with chain.listener(KUBECONFIG=str(kubeconfig), **limits) as process:
            await chain.submit("GET", NAMESPACES)
            async with asyncio.timeout(10):
                while not hanging.is_set():  # noqa: ASYNC110  another thread
                    await asyncio.sleep(0.01)
            started = time.monotonic()
            assert await process.end(signal.SIGTERM) == 0
            assert time.monotonic() - started < 15
        released.set()


async def test_a_large_reply_is_refused_with_advice(chain: Stage) -> None:
    async with chain.listener():
        for number in range(3):
            body = json.loads(config_map(f"large-{number}")) | {"data": {"noise": os.urandom(35_000).hex()}}
            created = await chain.ask("POST", CONFIG_MAPS, body=json.dumps(body).encode())
            assert created.status == 201
        answer = await chain.ask("GET", CONFIG_MAPS)
        assert answer.status == 413
        assert "--chunk-size" in json.loads(answer.body)["message"]
        assert (await chain.ask("GET", CONFIG_MAPS, "limit=1")).status == 200
