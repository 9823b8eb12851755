"""Large bodies both ways by an IPFS node, through front door, gateway, ledger, listener and API server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from listener_service.blobs import BlobPlaces
from listener_service.reply_node import NodePlace
from tests.instant.api_server import WireReply
from tests.instant.stack import Extras, InstantStack, instant_stack
from tests.unit.kubo_node import Kubo, kubo_node

PODS = "/api/v1/namespaces/default/pods"
ASKED = json.dumps({"kind": "Pod", "noise": hashlib.shake_256(b"asked").hexdigest(700_000)}).encode()
TOLD = json.dumps({"kind": "Pod", "noise": hashlib.shake_256(b"told").hexdigest(800_000)}).encode()


@pytest.fixture
def kubo() -> Iterator[Kubo]:
    with kubo_node() as node:
        yield node


@pytest.fixture
def stack(kubo: Kubo, tmp_path: Path) -> Iterator[InstantStack]:
    extras = Extras(
        gateway={"DAAS_BLOB_IPFS_API": kubo.url, "DAAS_BLOB_IPFS_GATEWAY": kubo.url},
        listener={
            "blob_places": BlobPlaces(frozenset({f"127.0.0.1:{kubo.port}"}), plain_loopback=True),
            "reply_node": NodePlace("127.0.0.1", kubo.port, tls=False),
        },
    )
    with instant_stack(tmp_path, extras=extras) as made:
        made.api.answer = lambda _: WireReply(201, body=TOLD)
        yield made


def test_large_bodies_go_there_and_back_and_nobody_reads_them(kubo: Kubo, stack: InstantStack) -> None:
    reply = stack.send("POST", PODS, [("Content-Type", "application/json")], ASKED)
    assert (reply.status, reply.body) == (201, TOLD)
    [seen] = stack.api.requests
    assert seen.body == ASKED
    request, told = kubo.blocks.values()
    assert kubo.pinned == {cid for cid, block in kubo.blocks.items() if block == request}
    for block in (request, told):
        assert b"noise" not in block


def test_a_reply_that_the_node_altered_is_not_passed_on(kubo: Kubo, stack: InstantStack) -> None:
    kubo.gives_out = lambda block: bytes([block[0] ^ 1]) + block[1:]
    reply = stack.send("GET", f"{PODS}/large")
    assert reply.status == 502
    status = json.loads(reply.body)
    assert "was run and answered 201" in status["message"]
    assert status["details"]["causes"][0]["message"] == "BlobAlteredError"


def test_a_reply_that_was_collected_is_told(kubo: Kubo, stack: InstantStack) -> None:
    kubo.gives_out = lambda _: None
    reply = stack.send("GET", f"{PODS}/large")
    assert reply.status == 502
    assert "finds no such block" in json.loads(reply.body)["message"]
