"""The listener's own IPFS node: what it is given, what it is believed, and where it may be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from k3s_daas.blobs.bodies import open_body
from k3s_daas.blobs.ipfs import IpfsBlobStore
from k3s_daas.blobs.kubo import content_id
from k3s_daas.blobs.store import OWN_IPFS_NODE, BlobAlteredError, BlobUnavailableError, reference_to
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.errors import ConfigurationError
from k3s_daas.sealing import response_body_info
from listener_service.checked_addresses import AddressRefusedError
from listener_service.refusal import ReplyTo
from listener_service.reply_node import NodePlace, ReplyNode
from listener_service.responder import Responder
from listener_service.settings import _Environment
from tests.unit.contract_world import CLUSTER, HOUR_MS, SEAL
from tests.unit.kubo_node import Kubo, kubo_node
from tests.unit.listener_world import World

BODY = hashlib.shake_256(b"a reply").digest(1_500_000)
REQUEST_ID = bytes(range(16))


@pytest.fixture
def kubo() -> Iterator[Kubo]:
    with kubo_node() as node:
        yield node


@pytest.fixture
async def node(kubo: Kubo) -> AsyncIterator[ReplyNode]:
    made = ReplyNode(NodePlace("127.0.0.1", kubo.port, tls=False), clock=World().clock)
    yield made
    made.close()


async def test_bytes_are_kept_unpinned_under_their_content_id(kubo: Kubo, node: ReplyNode) -> None:
    await node.keep(BODY, timeout_s=10)
    assert kubo.blocks == {content_id(hashlib.sha256(BODY).digest()): BODY}
    assert kubo.pinned == set()


async def test_a_node_that_breaks_off_is_asked_again(kubo: Kubo, node: ReplyNode) -> None:
    kubo.failures = 2
    await node.keep(BODY, timeout_s=10)
    assert list(kubo.blocks.values()) == [BODY]


@pytest.mark.parametrize("status", [301, 403, 500])
async def test_what_was_not_stored_is_told(kubo: Kubo, node: ReplyNode, status: int) -> None:
    kubo.forced_status = status
    with pytest.raises(BlobUnavailableError, match=str(status)):
        await node.keep(BODY, timeout_s=10)
    assert {path.partition("?")[0] for _, path in kubo.asked} == {"/api/v0/block/put"}


async def test_another_content_id_is_not_believed(kubo: Kubo, node: ReplyNode) -> None:
    kubo.forced_key = content_id(bytes(32))
    with pytest.raises(BlobAlteredError, match="CID"):
        await node.keep(BODY, timeout_s=10)


async def test_a_name_for_an_address_of_this_network_is_refused_unless_it_is_meant() -> None:
    node = ReplyNode(NodePlace("localhost", 1, tls=True))
    with pytest.raises(AddressRefusedError, match="DAAS_BLOB_PRIVATE_ADDRESSES"):
        await node.keep(BODY, timeout_s=10)
    node.close()


class Scene:
    """A responder, with a node or without, and a request that says where its reply belongs."""

    def __init__(self, node: ReplyNode | None) -> None:
        self.world = World()
        self.responder = Responder(
            ledger=self.world.ledger,
            roots=self.world.roots,
            signer=self.world.executor,
            gas_budget=50_000_000,
            clock=self.world.clock,
            reply_node=node,
        )

    async def answer(self, upload_url: str = OWN_IPFS_NODE, *, body: bytes = BODY) -> ResponseEnvelope:
        answer_by_ms = self.world.clock.now_ms() + HOUR_MS
        reply_key = self.world.reply_key.public_bytes()
        reply_to = ReplyTo(SEAL, REQUEST_ID, reply_key, answer_by_ms, upload_url)
        await self.responder.answer(reply_to, ResponseEnvelope(200, (), body), is_read=True)
        [(_, answer)] = self.world.answers().values()
        return answer


async def test_a_large_answer_is_found_by_the_hash_that_it_names(kubo: Kubo, node: ReplyNode) -> None:
    scene = Scene(node)
    answer = await scene.answer()
    blob = answer.body_blob
    assert blob is not None
    assert (answer.status, answer.body, blob.url) == (200, b"", "")
    sealed = IpfsBlobStore(kubo.url, kubo.url).get("", blob)
    assert blob == reference_to("", sealed)
    info = response_body_info(CLUSTER, SEAL, REQUEST_ID)
    assert open_body(scene.world.reply_key, sealed, info, limit=len(BODY)) == BODY


async def test_what_fits_stays_on_the_chain(kubo: Kubo, node: ReplyNode) -> None:
    assert (await Scene(node).answer(body=b"small")).body == b"small"
    assert kubo.asked == []


@pytest.mark.parametrize("upload_url", ["", "https://blobs.example/replies/1"])
async def test_no_node_is_used_that_the_request_does_not_ask_for(
    kubo: Kubo, node: ReplyNode, upload_url: str
) -> None:
    assert (await Scene(node).answer(upload_url)).status == 413
    assert kubo.asked == []


async def test_without_a_node_the_reply_is_too_large() -> None:
    answer = await Scene(None).answer()
    assert answer.status == 413
    assert "ask for less" in json.loads(answer.body)["message"]


async def test_a_node_that_is_away_is_told(kubo: Kubo, node: ReplyNode) -> None:
    kubo.failures = 1_000
    answer = await Scene(node).answer()
    assert answer.status == 502
    assert "did not take it" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    ("url", "private", "place"),
    [
        ("", "", None),
        ("http://127.0.0.1:5001", "", NodePlace("127.0.0.1", 5001, tls=False)),
        ("https://kubo.example", "", NodePlace("kubo.example", 443, tls=True)),
        ("https://kubo.example:5001/", "allow", NodePlace("kubo.example", 5001, True, True)),
    ],
)
def test_the_nodes_place_is_read(url: str, private: str, place: NodePlace | None) -> None:
    environment = {"DAAS_BLOB_IPFS_API": url, "DAAS_BLOB_PRIVATE_ADDRESSES": private}
    assert _Environment(environment).reply_node() == place


@pytest.mark.parametrize(
    "url",
    [
        "http://kubo.example:5001",
        "http://10.0.0.5:5001",
        "http://127.0.0.2:5001",
        "ftp://127.0.0.1:5001",
        "https://user:secret@kubo.example",
        "https://kubo.example/api/v0",
        "https://kubo.example?x=1",
        "https://kubo.example:70000",
        "127.0.0.1:5001",
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DAAS_BLOB_IPFS_API") as refused:
        _Environment({"DAAS_BLOB_IPFS_API": url}).reply_node()
    assert "secret" not in str(refused.value)
