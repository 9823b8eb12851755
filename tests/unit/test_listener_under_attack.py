"""What a party that was taken over tries with the listener: to run something and leave no record of how it
ended, or to have a command run after the right to it has ended.
"""

from __future__ import annotations

import json
import threading

import pytest

from k3s_daas.sealing import PUBLIC_KEY_BYTES
from tests.unit.listener_world import NAMESPACE, World, until
from tests.unit.running_listener import listener
from tests.unit.scripted_api_server import ScriptedApiServer, ScriptedReply, SeenRequest

POD = "/api/v1/namespaces/default/pods/web"
LOW_ORDER_POINT = bytes(32)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("reply_key", ["low order", "no lattice point"])
async def test_a_command_that_cannot_be_answered_is_not_run(
    reply_key: str, world: World, api: ScriptedApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    sound = world.reply_key.public_bytes()
    keys = {
        "low order": sound[: -len(LOW_ORDER_POINT)] + LOW_ORDER_POINT,
        "no lattice point": b"\xff" * PUBLIC_KEY_BYTES,
    }
    _, event = world.command("DELETE", POD, reply_key=keys[reply_key])
    genuine, after = world.command()
    async with listener(world, api):
        world.ledger.publish(event)
        world.ledger.publish(after)
        await until(lambda: genuine.request_id in world.answers())
    assert [seen.method for seen in api.seen] == ["GET"]
    [reason] = [vars(record)["reason"] for record in caplog.records if "not believed" in record.message]
    assert reason == "not-openable"


async def test_an_outcome_with_an_impossible_status_is_recorded(world: World, api: ScriptedApiServer) -> None:
    """A pod behind a proxy answers whatever it likes."""
    api.reply = lambda _: ScriptedReply(status=700)
    requested, event = world.command("DELETE", POD)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    status, envelope = world.answers()[requested.request_id]
    assert status == 502
    assert "700" in json.loads(envelope.body)["message"]


@pytest.mark.parametrize("method", ["DELETE", "GET"])
async def test_a_defect_while_a_command_runs_is_answered(
    method: str,
    world: World,
    api: ScriptedApiServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requested, event = world.command(method, POD)
    async with listener(world, api) as running:

        def defect(*_: object) -> None:
            raise ValueError("something that nobody thought of")

        monkeypatch.setattr(running.service.executor._api_server, "send", defect)
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    status, envelope = world.answers()[requested.request_id]
    assert status == 500
    told = "failed inside" if method == "GET" else "outcome unknown"
    assert told in json.loads(envelope.body)["message"]
    assert b"nobody thought of" not in envelope.body


async def test_a_revocation_stops_what_waits_behind_another_command(
    world: World, api: ScriptedApiServer
) -> None:
    revoked = threading.Event()

    def reply(_: SeenRequest) -> ScriptedReply:
        assert revoked.wait(5)
        return ScriptedReply()

    api.reply = reply
    commands = [world.command("PATCH", POD, f"fieldManager=n{number}") for number in range(2)]
    async with listener(world, api) as running:
        for _, event in commands:
            world.ledger.publish(event)
        await until(lambda: len(api.seen) == 1 and running.service.queue.waiting == 1)
        world.set_seal(revoked=True)
        revoked.set()
        await until(lambda: len(world.answers()) == 2)
    assert len(api.seen) == 1
    statuses = [world.answers()[requested.request_id][0] for requested, _ in commands]
    assert statuses == [200, 403]


async def test_secrets_of_the_listeners_namespace_are_not_listed_with_the_others(
    world: World, api: ScriptedApiServer
) -> None:
    requested, event = world.command("GET", "/api/v1/secrets", "limit=500")
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    [seen] = api.seen
    assert seen.target == f"/api/v1/secrets?limit=500&fieldSelector=metadata.namespace%21%3D{NAMESPACE}"
