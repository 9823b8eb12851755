"""What the listener does with events: genuine, late, repeated, and across a restart."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable

import pytest

from k3s_daas.contract.calls import PayloadReference
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.rbac import Rule
from k3s_daas.sui.ledger import Abort, ExecutionOutcome
from k3s_daas.sui.transactions import transaction_digest
from listener_service.counts import Tally
from tests.unit.contract_world import SEAL
from tests.unit.listener_world import NAMESPACE, NOW_MS, World, until
from tests.unit.running_listener import listener
from tests.unit.scripted_api_server import ScriptedApiServer, ScriptedReply, scripted_api_server

REFERENCE = PayloadReference(b"bucket/key", b"\x09" * 32, 5_000)
POD = "/api/v1/namespaces/default/pods/web"


@pytest.fixture
def world() -> World:
    return World()


async def test_a_read_is_run_as_the_holder_and_answered(world: World, api: ScriptedApiServer) -> None:
    requested, event = world.command(query="limit=500")
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    [seen] = api.seen
    assert (seen.method, seen.target) == ("GET", "/api/v1/namespaces/default/pods?limit=500")
    assert seen.header("Impersonate-User") == "sui:0x" + requested.requester.hex()
    assert seen.header("Impersonate-Group") == "daas:role:operator"
    assert seen.header("Impersonate-Extra-daas.io%2Fseal") == "0x" + SEAL.hex()
    assert seen.header("Impersonate-Extra-daas.io%2Frequest-id") == requested.request_id.hex()
    status, envelope = world.answers()[requested.request_id]
    assert (status, envelope.status, envelope.body) == (200, 200, b'{"kind":"PodList"}')
    assert ("Content-Type", "application/json") in envelope.headers


async def test_discovery_is_run_as_one_user_for_all_in_no_group(world: World, api: ScriptedApiServer) -> None:
    requested, event = world.command("GET", "/openapi/v3/apis/apps/v1")
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    [seen] = api.seen
    assert seen.target == "/openapi/v3/apis/apps/v1"
    assert seen.header("Impersonate-User") == "daas:discovery"
    assert seen.header("Impersonate-Group") is None
    assert seen.header("Impersonate-Extra-daas.io%2Frequest-id") == requested.request_id.hex()


async def test_a_mutation_passes_through_untouched(
    world: World, api: ScriptedApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    body = bytes(range(256))
    requested, event = world.command(
        "POST",
        "/apis/apps/v1/namespaces/default/deployments",
        "fieldManager=kubectl-create&dryRun=All",
        headers=[("Content-Type", "application/vnd.kubernetes.protobuf"), ("Accept", "application/json")],
        body=body,
    )
    api.reply = lambda _: ScriptedReply(
        409,
        [("Content-Type", "application/json"), ("X-Secret", "s"), ("Warning", '299 - "old"')],
        b"conflict",
    )
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    [seen] = api.seen
    assert seen.body == body
    assert seen.target.endswith("?fieldManager=kubectl-create&dryRun=All")
    assert seen.header("Content-Type") == "application/vnd.kubernetes.protobuf"
    _, envelope = world.answers()[requested.request_id]
    assert (envelope.status, envelope.body) == (409, b"conflict")
    assert dict(envelope.headers) == {"Content-Type": "application/json", "Warning": '299 - "old"'}


STANDINGS: dict[str, tuple[Callable[[World], None], int, str]] = {
    "paused": (lambda world: world.set_cluster(paused=True), 503, "EClusterPaused"),
    "gateway removed": (lambda world: world.set_cluster(gateways=[]), 502, "EUnknownGateway"),
    "revoked": (lambda world: world.set_seal(revoked=True), 403, "ESealRevoked"),
    "expired": (lambda world: world.set_seal(expires_at_ms=NOW_MS), 403, "ESealExpired"),
    "session closed": (lambda world: world.set_seal(sessions=False), 401, "EUnknownSession"),
    "session read-only": (lambda world: world.set_seal(read_only=True), 403, "ESessionReadOnly"),
    "session elsewhere": (
        lambda world: world.set_seal(namespaces=("staging",)),
        403,
        "ESessionNamespace",
    ),
    "given away": (lambda world: world.set_seal(owner=bytes(32), sessions=False), 403, "NewOwner"),
    "stake withdrawn": (lambda world: world.set_seal(stake=999), 403, "EStakeTooLow"),
    "role asks for more": (lambda world: world.set_cluster(role_stake=10_000), 403, "EStakeTooLow"),
    "grant removed": (lambda world: world.set_grant(None), 403, "ENotGranted"),
    "grant expired": (lambda world: world.set_grant(NOW_MS), 403, "EGrantExpired"),
    "role narrowed": (
        lambda world: world.set_cluster(rules=(Rule(("get",), ("*",), ("*",)),)),
        403,
        "EForbiddenByRole",
    ),
}


@pytest.mark.parametrize("standing", STANDINGS)
async def test_what_changed_since_acceptance_stops_a_command(
    standing: str, world: World, api: ScriptedApiServer
) -> None:
    change, code, abort = STANDINGS[standing]
    change(world)
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    status, envelope = world.answers()[requested.request_id]
    assert status == code
    assert json.loads(envelope.body)["details"]["causes"][0]["reason"] == abort


async def test_a_session_for_namespaces_reaches_them_and_discovery(
    world: World, api: ScriptedApiServer
) -> None:
    world.set_seal(namespaces=("staging", "default"))
    inside, event = world.command("DELETE", POD)
    discovery, other = world.command("GET", "/openapi/v3")
    cluster_wide, third = world.command("GET", "/api/v1/nodes")
    async with listener(world, api):
        for one in (event, other, third):
            world.ledger.publish(one)
        await until(lambda: len(world.answers()) == 3)
    codes = {request_id: code for request_id, (code, _) in world.answers().items()}
    assert codes == {inside.request_id: 200, discovery.request_id: 200, cluster_wide.request_id: 403}


async def test_a_body_that_is_kept_elsewhere_is_answered_501_in_the_open(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD, payload=REFERENCE)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: bool(world.ledger.executed))
    assert api.seen == []
    [(request_id, status, body)] = world.stored()
    assert (request_id, status) == (requested.request_id, 501)
    answer = ResponseEnvelope.decode(body)
    assert json.loads(answer.body)["details"]["causes"][0]["reason"] == "PayloadByReference"
    assert b"payload by reference" in answer.body


async def test_the_listeners_own_namespace_is_closed_to_everybody(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/keys")
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    assert world.answers()[requested.request_id][0] == 403


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ([("Impersonate-User", "admin")], (403, "identity-header")),
        ([("X-Remote-Group", "system:masters")], (403, "identity-header")),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], (403, "identity-header")),
        ([("Content-Type", "a/b"), ("Content-Type", "c/d")], (400, "malformed-request")),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_headers_that_choose_an_identity_are_refused_and_counted_before_a_claim(
    headers: list[tuple[str, str]],
    refusal: tuple[int, str],
    method: str,
    world: World,
    api: ScriptedApiServer,
) -> None:
    code, reason = refusal
    requested, event = world.command(method, POD, headers=[("Accept", "*/*"), *headers])
    async with listener(world, api) as running:
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    assert world.leases.claims == []
    assert world.answers()[requested.request_id][0] == code
    assert isinstance(running.service.counts, Tally)
    assert running.service.counts.by_reason == {reason: 1}


async def test_a_command_whose_start_by_has_passed_is_answered_504_and_not_run(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("DELETE", POD)
    world.clock.ms = requested.start_by_ms + 1
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    assert world.answers()[requested.request_id][0] == 504


async def test_after_answer_by_nothing_is_run_or_answered(world: World, api: ScriptedApiServer) -> None:
    requested, event = world.command("DELETE", POD)
    world.clock.ms = requested.answer_by_ms + 1
    async with listener(world, api) as running:
        world.ledger.publish(event)
        world.ledger.progress()
        await until(lambda: running.service._frontier.watermark == world.ledger.checkpoint)
    assert api.seen == []
    assert world.ledger.executed == []


async def test_an_answered_command_is_logged_with_what_is_public(
    world: World, api: ScriptedApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    [line] = [record for record in caplog.records if record.message == "command answered"]
    assert vars(line)["request"]["name"] == "web"
    assert vars(line)["status"] == 200


async def test_a_dropped_stream_loses_nothing_and_runs_nothing_twice(
    world: World, api: ScriptedApiServer
) -> None:
    commands = [world.command("DELETE", f"{POD}-{number}") for number in range(6)]
    async with listener(world, api):
        world.ledger.publish(commands[0][1])
        world.ledger.publish(commands[1][1])
        await until(lambda: len(world.answers()) == 2)
        world.ledger.drop_streams()
        world.ledger.publish(commands[2][1], live=False)
        world.ledger.publish(commands[3][1], live=False)
        await until(lambda: len(world.ledger.subscriptions) == 1)
        world.ledger.publish(commands[3][1])
        world.ledger.publish(commands[4][1])
        world.ledger.publish(commands[0][1])
        world.ledger.publish(commands[5][1])
        await until(lambda: len(world.answers()) == 6)
    assert sorted(seen.target for seen in api.seen) == [f"{POD}-{number}" for number in range(6)]
    assert len(world.stored()) == 6


async def test_a_restart_resumes_after_the_watermark_and_runs_nothing_twice(
    world: World, api: ScriptedApiServer
) -> None:
    first, first_event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(first_event)
        await until(lambda: first.request_id in world.answers())
    resumed_at = world.ledger.checkpoint + 1
    second, second_event = world.command("DELETE", POD)
    world.ledger.publish(second_event)
    async with listener(world, api):
        await until(lambda: second.request_id in world.answers())
    assert world.ledger.listed_from[-1] == resumed_at
    assert len(api.seen) == 2


async def test_replayed_requests_that_the_chain_shows_answered_are_skipped(
    world: World, api: ScriptedApiServer
) -> None:
    done, done_event = world.command()
    world.answered_on_chain(done)
    world.ledger.publish(done_event)
    open_, open_event = world.command()
    world.ledger.publish(open_event)
    async with listener(world, api):
        await until(lambda: open_.request_id in world.answers())
    assert set(world.answers()) == {open_.request_id}
    assert len(api.seen) == 1


async def test_an_unreachable_api_server_is_answered_503(world: World, api: ScriptedApiServer) -> None:
    requested, event = world.command("DELETE", POD)
    # A port that nobody listens on: taken and given back.
    with scripted_api_server() as gone:
        pass
    async with listener(world, gone):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    status, envelope = world.answers()[requested.request_id]
    assert status == 503
    assert "nothing was run" in json.loads(envelope.body)["message"]


@pytest.mark.parametrize(("method", "code"), [("GET", 502), ("DELETE", 500)])
async def test_a_connection_that_breaks_after_sending_is_never_tried_again(
    method: str, code: int, world: World, api: ScriptedApiServer
) -> None:
    api.reply = lambda _: ScriptedReply(hang_up=True)
    requested, event = world.command(method, POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert len(api.seen) == 1
    assert world.answers()[requested.request_id][0] == code


async def test_mutations_of_one_object_run_in_the_chains_order(world: World, api: ScriptedApiServer) -> None:
    commands = [world.command("PATCH", POD, f"fieldManager=n{number}") for number in range(8)]
    async with listener(world, api):
        for _, event in commands:
            world.ledger.publish(event)
        await until(lambda: len(world.answers()) == len(commands))
    assert [seen.target.rpartition("n")[2] for seen in api.seen] == [str(number) for number in range(8)]


async def test_a_full_listener_reads_on_when_places_are_free_again(
    world: World, api: ScriptedApiServer
) -> None:
    commands = [world.command(query=f"limit={number}") for number in range(1, 12)]
    async with listener(world, api, concurrency=2):
        for _, event in commands:
            world.ledger.publish(event)
        await until(lambda: len(world.answers()) == len(commands))
    assert len(api.seen) == len(commands)


async def test_a_reply_that_fits_no_answer_becomes_a_413_that_says_what_to_do(
    world: World, api: ScriptedApiServer
) -> None:
    noise = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(4_000))
    api.reply = lambda _: ScriptedReply(body=noise)
    requested, event = world.command()
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    status, envelope = world.answers()[requested.request_id]
    assert status == 413
    assert "--chunk-size" in json.loads(envelope.body)["message"]


async def test_an_answer_refused_for_its_epoch_is_built_anew(world: World, api: ScriptedApiServer) -> None:
    def refuse_once(transaction: bytes) -> ExecutionOutcome:
        world.ledger.on_execute = None
        raise TransactionRefusedError("expired", "the epoch has passed")

    world.ledger.on_execute = refuse_once
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: len(world.ledger.executed) == 2)
    assert world.answers()[requested.request_id][0] == 200
    assert len(api.seen) == 1


async def test_an_answer_without_reply_from_the_chain_is_sent_again_with_the_same_bytes(
    world: World, api: ScriptedApiServer
) -> None:
    def lose_twice(transaction: bytes) -> ExecutionOutcome:
        if len(world.ledger.executed) < 3:
            raise LedgerUnavailableError("no reply")
        return ExecutionOutcome(transaction_digest(transaction), success=True)

    world.ledger.on_execute = lose_twice
    _, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: len(world.ledger.executed) == 3)
    assert len(set(world.ledger.executed)) == 1


async def test_an_answer_that_the_contract_finds_too_large_becomes_a_413(
    world: World, api: ScriptedApiServer
) -> None:
    def too_large_once(transaction: bytes) -> ExecutionOutcome:
        world.ledger.on_execute = None
        abort = Abort("k8s_gateway", "store_k8s_response", 406, 1)
        return ExecutionOutcome(transaction_digest(transaction), success=False, abort=abort)

    world.ledger.on_execute = too_large_once
    requested, event = world.command()
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: len(world.ledger.executed) == 2)
    assert world.answers()[requested.request_id][0] == 413


async def test_an_endpoint_that_is_away_for_a_moment_is_asked_again(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command()
    async with listener(world, api):
        world.ledger.away = True
        world.ledger.publish(event)
        await asyncio.sleep(0.02)
        world.ledger.away = False
        await until(lambda: requested.request_id in world.answers())
    assert world.answers()[requested.request_id][0] == 200


async def test_no_log_line_holds_a_body_a_query_or_a_hidden_path(
    world: World, api: ScriptedApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.reply = lambda _: ScriptedReply(body=b"hidden-reply")
    _, write = world.command(
        "POST", "/api/v1/namespaces/default/secrets", "x=hidden-query", body=b"hidden-body"
    )
    _, read = world.command("GET", "/openapi/hidden-path")
    async with listener(world, api):
        world.ledger.publish(write)
        world.ledger.publish(read)
        await until(lambda: len(world.answers()) == 2)
    listeners = [record for record in caplog.records if record.name.startswith("listener_service")]
    assert len(listeners) >= 2
    assert "hidden" not in "".join(str(vars(record)) for record in listeners)
