"""Events that no honest gateway caused: they are told, and nothing is run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import PayloadReference
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.payload import split
from k3s_daas.sealing import request_info
from k3s_daas.sui.ledger import ChainEvent
from tests.unit.contract_world import CLUSTER, PACKAGE, SEAL
from tests.unit.listener_world import NOW_MS, World, other_signer, until
from tests.unit.running_listener import listener
from tests.unit.scripted_api_server import ScriptedApiServer

REFERENCE = PayloadReference(b"bucket/key", b"\x09" * 32, 5_000)
POD = "/api/v1/namespaces/default/pods/web"


@pytest.fixture
def world() -> World:
    return World()


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def foreign_payload(world: World) -> list[bytes]:
    """A ciphertext that a genuine request carried, with another request id."""
    info = request_info(CLUSTER, SEAL, bytes(16))
    return split(world.sealing_key.public_key.seal(b"x" * 512, info))


Forge = Callable[[World], tuple[ApiRequested, ChainEvent]]

FORGERIES: dict[str, Forge] = {
    "another package's event": lambda world: world.command(
        "DELETE", POD, type_tag=event_type(hashlib.sha256(b"other").digest(), API_REQUEST)
    ),
    "another event of our package": lambda world: world.command(
        "DELETE", POD, type_tag=event_type(PACKAGE, "K8sRequestProcessed")
    ),
    "missing bytes": lambda world: _with_contents(world.command("DELETE", POD), lambda data: data[:-8]),
    "extra bytes": lambda world: _with_contents(world.command("DELETE", POD), lambda data: data + b"\0"),
    "a changed name": lambda world: world.command(
        "DELETE",
        POD,
        event=lambda made: replace(made, attributes=replace(made.attributes, name="db")),
    ),
    "a later start_by": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, start_by_ms=made.start_by_ms + 1)
    ),
    "another role": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, role="admin")
    ),
    "a reference that was not signed": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, payload_reference=b"elsewhere")
    ),
    "another reference": lambda world: world.command(
        "DELETE", POD, payload=REFERENCE, event=lambda made: replace(made, payload_reference=b"elsewhere")
    ),
    "a reference and another hash": lambda world: world.command(
        "DELETE", POD, payload=REFERENCE, event=lambda made: replace(made, payload_hash=bytes(32))
    ),
    "a reference hidden by an empty one": lambda world: world.command(
        "DELETE", POD, payload=REFERENCE, event=lambda made: replace(made, payload_reference=b"")
    ),
    "another hash": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, payload_hash=flip(made.payload_hash))
    ),
    "another size": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, payload_size=made.payload_size + 1)
    ),
    "another request id": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, request_id=flip(made.request_id))
    ),
    "another session key": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, session_key=flip(made.session_key))
    ),
    "accepted before the claims": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, accepted_at_ms=NOW_MS - 70_000)
    ),
    "signed by another gateway": lambda world: world.command("DELETE", POD, signer=other_signer()),
    "a gateway that is not pinned": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, gateway=bytes(32))
    ),
    "an executor that is not pinned": lambda world: world.command(
        "DELETE", POD, event=lambda made: replace(made, executor=bytes(32))
    ),
    "claims by another session": lambda world: world.command(
        "DELETE", POD, session=Ed25519PrivateKey.generate()
    ),
    "another request's ciphertext": lambda world: world.command(
        "DELETE", POD, payload=foreign_payload(world)
    ),
    "altered transaction bytes": lambda world: world.command(
        "DELETE", POD, transaction=lambda done: replace(done, bcs=flip(done.bcs))
    ),
    "altered signature": lambda world: world.command(
        "DELETE", POD, transaction=lambda done: replace(done, signatures=[flip(done.signatures[0])])
    ),
    "an aborted transaction": lambda world: world.command(
        "DELETE",
        POD,
        transaction=lambda done: replace(done, success=False),
    ),
}


def _with_contents(
    made: tuple[ApiRequested, ChainEvent], change: Callable[[bytes], bytes]
) -> tuple[ApiRequested, ChainEvent]:
    requested, event = made
    return requested, replace(event, contents=change(event.contents))


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_event_is_logged_with_its_position_and_never_run(
    forgery: str,
    world: World,
    api: ScriptedApiServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, forged = FORGERIES[forgery](world)
    genuine, event = world.command()
    async with listener(world, api):
        world.ledger.publish(forged)
        world.ledger.publish(event)
        await until(lambda: genuine.request_id in world.answers())
    assert [seen.method for seen in api.seen] == ["GET"]
    assert set(world.answers()) == {genuine.request_id}
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "event not believed, nothing was run"
    assert vars(record)["transaction"] == forged.transaction_digest


async def test_an_event_for_another_executor_is_left_to_it(
    world: World, api: ScriptedApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    other = other_signer()
    world.roots = replace(
        world.roots,
        executors={
            **world.roots.executors,
            other.address: world.roots.executors[world.executor.address],
        },
    )
    _, theirs = world.command("DELETE", POD, event=lambda made: replace(made, executor=other.address))
    genuine, event = world.command()
    async with listener(world, api):
        world.ledger.publish(theirs)
        world.ledger.publish(event)
        await until(lambda: genuine.request_id in world.answers())
    assert set(world.answers()) == {genuine.request_id}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


MISMATCHES = [
    ("DELETE", POD, "", OnChainAttributes("get", "", "v1", "pods", "", "default", "web")),
    ("GET", POD, "", OnChainAttributes("get", "", "v1", "pods", "", "default", "db")),
    ("GET", "/api/v1/secrets", "", OnChainAttributes("list", "", "v1", "pods")),
    ("GET", "/api/v1/pods", "watch=1", OnChainAttributes("list", "", "v1", "pods")),
    ("GET", "/metrics", "", OnChainAttributes("get", non_resource_url="/openapi/*")),
    ("GET", "/openapi/v3", "", OnChainAttributes("list", "", "v1", "pods")),
    ("GET", POD, "", OnChainAttributes("get", non_resource_url="/openapi/*")),
]


@pytest.mark.parametrize("case", MISMATCHES, ids=lambda case: f"{case[0]} {case[1]}?{case[2]}")
async def test_a_request_other_than_the_authorised_one_is_answered_403_and_not_run(
    case: tuple[str, str, str, OnChainAttributes],
    world: World,
    api: ScriptedApiServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    method, path, query, authorised = case
    requested, event = world.command(method, path, query, authorised=authorised)
    async with listener(world, api):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert api.seen == []
    status, envelope = world.answers()[requested.request_id]
    assert status == 403
    assert json.loads(envelope.body)["details"]["causes"][0]["reason"] == "AttributeMismatch"
    [record] = [record for record in caplog.records if record.message.startswith("command refused")]
    assert vars(record)["transaction"] == event.transaction_digest
