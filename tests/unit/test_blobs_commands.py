"""Large bodies through gateway and listener: who decides, what is stored, and what each failure says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import boto3
import pytest
from chalicelib.runtime import S3_CONFIG

from infra.local.aws import create_blob_bucket
from k3s_daas.blobs.bodies import open_body, seal_body
from k3s_daas.blobs.s3 import S3BlobStore
from k3s_daas.blobs.store import (
    BlobAlteredError,
    BlobError,
    BlobMissingError,
    BlobUnavailableError,
    reference_to,
)
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import MAX_RESPONSE_BODY_BYTES, BlobReference, RequestEnvelope, ResponseEnvelope
from k3s_daas.payload import split
from k3s_daas.sealing import SealingPublicKey, request_body_info, request_info, response_body_info
from k3s_daas.sui.transactions import decode_transaction
from listener_service.blobs import BlobClient, BlobRefusedError, BlobTooLargeError
from listener_service.keys.keyring import Keyring
from listener_service.refusal import RefusedCommandError
from listener_service.responder import Responder
from listener_service.verification import Verifier
from tests.unit import gateway_world, listener_world
from tests.unit.contract_world import CLUSTER, POLICY, SEAL
from tests.unit.gateway_world import MakeWorld, status

BUCKET = "blobs-of-the-test"
PODS = "/api/v1/namespaces/default/pods"


def noise(size: int) -> bytes:
    return hashlib.shake_256(b"noise").digest(size)


# The gateway.


class Shelf:
    """The gateway's store, and the listener's view of it: by URL and without credentials."""

    def __init__(self) -> None:
        self.client = boto3.session.Session("local", "local", region_name="us-east-1").client(
            "s3", config=S3_CONFIG
        )
        if not any(found["Name"] == BUCKET for found in self.client.list_buckets()["Buckets"]):
            create_blob_bucket(self.client, BUCKET)
        self.store = S3BlobStore(self.client, BUCKET)

    def object_of(self, url: str) -> str:
        assert url.startswith(f"https://{BUCKET}.s3.us-east-1.amazonaws.com/"), "the bucket's own host"
        assert "X-Amz-Signature=" in url
        return url.partition(".com/")[2].partition("?")[0]

    def read(self, url: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=self.object_of(url))["Body"].read()

    def write(self, url: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=self.object_of(url), Body=data)


@dataclass
class Scene:
    world: gateway_world.World
    shelf: Shelf
    requests: list[tuple[RequestEnvelope, bytes]] = field(default_factory=list)

    def with_large_reply(
        self, body: bytes, spoil: Callable[[BlobReference], BlobReference] = lambda blob: blob
    ) -> None:
        """The listener answers with this body, by way of the shelf."""
        chain = self.world.chain

        def respond(request: RequestEnvelope) -> ResponseEnvelope:
            key = SealingPublicKey.from_bytes(request.reply_key)
            request_id = bytes.fromhex(self.shelf.object_of(request.reply_url).partition("/")[2])
            info = response_body_info(CLUSTER, SEAL, request_id)
            sealed = seal_body(key, body, info, what="response", limit=MAX_RESPONSE_BODY_BYTES)
            self.shelf.write(request.reply_url, sealed)
            headers = (("Content-Type", "application/json"),)
            return ResponseEnvelope(200, headers, b"", spoil(reference_to("", sealed)))

        chain.respond = respond


@pytest.fixture
def scene(make: MakeWorld) -> Scene:
    shelf = Shelf()
    world = make(blobs=shelf.store)
    made = Scene(world, shelf)

    def listen(request: RequestEnvelope) -> ResponseEnvelope:
        made.requests.append((request, b""))
        return ResponseEnvelope(201, (), b"{}")

    world.chain.respond = listen
    return made


def test_a_large_request_goes_by_the_store_and_is_sealed_there(scene: Scene) -> None:
    body = noise(1_000_000)
    reply = scene.world.send(PODS, "POST", body)
    assert (reply.status, reply.body) == (201, b"{}")
    [(envelope, _)] = scene.requests
    assert envelope.body == b""
    blob = envelope.body_blob
    assert blob is not None
    sealed = scene.shelf.read(blob.url)
    assert (len(sealed), hashlib.sha256(sealed).digest()) == (blob.size, blob.hash)
    request_id = bytes.fromhex(scene.shelf.object_of(blob.url).removeprefix("requests/"))
    info = request_body_info(CLUSTER, SEAL, request_id)
    assert open_body(scene.world.sealing_key, sealed, info, limit=len(body)) == body
    assert sum(map(len, scene.world.chain.executed)) < 8_000


def test_what_fits_stays_in_the_transaction(scene: Scene) -> None:
    assert scene.world.send(PODS, "POST", b"small").status == 201
    [(envelope, _)] = scene.requests
    assert (envelope.body, envelope.body_blob) == (b"small", None)
    assert scene.shelf.object_of(envelope.reply_url).startswith("replies/")


def test_the_cluster_says_what_fits(scene: Scene) -> None:
    scene.world.set_cluster(policy=replace(POLICY, max_inline_bytes=5_000))
    assert scene.world.send(PODS, "POST", noise(6_000)).status == 201
    [(envelope, _)] = scene.requests
    assert envelope.body_blob is not None


def test_three_mebibytes_are_taken_and_no_byte_more(scene: Scene) -> None:
    assert scene.world.send(PODS, "POST", noise(3 * 1024 * 1024)).status == 201
    refused = scene.world.send(PODS, "POST", noise(3 * 1024 * 1024 + 1))
    assert status(refused)["code"] == 413
    assert len(scene.requests) == 1


def test_a_large_reply_comes_back_from_the_store(scene: Scene) -> None:
    body = json.dumps({"noise": noise(1_000_000).hex()}).encode()
    scene.with_large_reply(body)
    reply = scene.world.send(PODS)
    assert (reply.status, reply.body) == (200, body)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blob: replace(blob, hash=bytes(32)),
        lambda blob: replace(blob, size=blob.size - 1),
        lambda blob: replace(blob, size=2**63),
    ],
)
def test_a_reply_that_was_altered_is_not_passed_on(
    scene: Scene, spoil: Callable[[BlobReference], BlobReference]
) -> None:
    scene.with_large_reply(noise(200_000), spoil)
    reply = scene.world.send(PODS)
    assert status(reply)["code"] == 502
    assert "was run" in status(reply)["message"]


def test_a_reply_that_is_gone_is_told(scene: Scene) -> None:
    scene.world.chain.respond = lambda _: ResponseEnvelope(200, (), b"", BlobReference("", 2_000, bytes(32)))
    assert "was run and answered 200" in status(scene.world.send(PODS))["message"]


def test_without_the_store_nothing_is_submitted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> str:
        raise BlobUnavailableError("the blob store does not answer")

    monkeypatch.setattr(scene.shelf.store, "put", away)
    reply = scene.world.send(PODS, "POST", noise(200_000))
    assert status(reply)["code"] == 503
    assert scene.world.chain.executed == []


def test_a_gateway_without_a_store_refuses_what_does_not_fit(make: MakeWorld) -> None:
    world = make()
    assert status(world.send(PODS, "POST", noise(200_000)))["code"] == 413
    assert world.chain.executed == []


# The listener.


@dataclass
class ScriptedBlobs:
    """In the place of the client: what is under each URL, and what was uploaded."""

    contents: dict[str, bytes] = field(default_factory=dict)
    error: BlobError | None = None
    fetched: list[str] = field(default_factory=list)

    async def fetch(self, reference: BlobReference, *, timeout_s: float) -> bytes:
        assert 0 < timeout_s <= 10
        self.fetched.append(reference.url)
        if self.error is not None:
            raise self.error
        return self.contents[reference.url]

    async def upload(self, url: str, data: bytes, *, timeout_s: float) -> None:
        if self.error is not None:
            raise self.error
        self.contents[url] = data


URL = "https://blobs.example/requests/1"
REPLY_URL = "https://blobs.example/replies/1"
BODY = noise(500_000)


class ListenerScene:
    def __init__(self) -> None:
        self.world = listener_world.World()
        self.blobs = ScriptedBlobs()
        client = cast(BlobClient, self.blobs)
        self.verifier = Verifier(
            ledger=self.world.ledger,
            reader=ContractReader(self.world.ledger, self.world.roots),
            roots=self.world.roots,
            executor=self.world.executor.address,
            keyring=Keyring.of([self.world.sealing_key]),
            listener_namespace=listener_world.NAMESPACE,
            clock=self.world.clock,
            blobs=client,
        )
        self.responder = Responder(
            ledger=self.world.ledger,
            roots=self.world.roots,
            signer=self.world.executor,
            gas_budget=50_000_000,
            clock=self.world.clock,
            blobs=client,
        )

    def command(self, **changes: Any) -> tuple[Any, Any]:
        """A POST whose body is under URL."""

        def payload(request_id: bytes) -> list[bytes]:
            info = request_body_info(CLUSTER, SEAL, changes.get("bound_to", request_id))
            key = self.world.sealing_key.public_key
            sealed = seal_body(key, BODY, info, what="request", limit=len(BODY))
            self.blobs.contents[URL] = sealed
            envelope = RequestEnvelope(
                "POST",
                PODS,
                "",
                (),
                b"",
                self.world.reply_key.public_bytes(),
                reference_to(URL, sealed),
                REPLY_URL,
            )
            return split(key.seal(envelope.encode(), request_info(CLUSTER, SEAL, request_id)))

        return self.world.command("POST", PODS, payload=payload)


@pytest.fixture
def listening() -> ListenerScene:
    return ListenerScene()


async def test_the_body_is_fetched_and_opened(listening: ListenerScene) -> None:
    requested, event = listening.command()
    command = await listening.verifier.verify(event, requested)
    assert (command.envelope.body, command.envelope.body_blob) == (BODY, None)
    assert (command.reply_to.upload_url, command.reply_to.max_inline_bytes) == (
        REPLY_URL,
        POLICY.max_inline_bytes,
    )
    assert "replies" not in repr(command.reply_to)


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (BlobMissingError("gone"), 502, "BlobMissing"),
        (BlobAlteredError("altered"), 502, "BlobAltered"),
        (BlobRefusedError("elsewhere"), 502, "BlobRefused"),
        (BlobTooLargeError("large"), 413, "BlobTooLarge"),
        (BlobUnavailableError("away"), 503, "BlobUnavailable"),
    ],
)
async def test_a_body_that_cannot_be_had_is_told_and_nothing_is_run(
    listening: ListenerScene, error: BlobError, code: int, cause: str
) -> None:
    requested, event = listening.command()
    listening.blobs.error = error
    with pytest.raises(RefusedCommandError) as refused:
        await listening.verifier.verify(event, requested)
    assert (refused.value.status.code, refused.value.status.causes[0].reason) == (code, cause)
    assert refused.value.reply_to.reply_key == listening.world.reply_key.public_bytes()


async def test_a_body_that_was_sealed_for_another_request_does_not_open(listening: ListenerScene) -> None:
    requested, event = listening.command(bound_to=bytes(16))
    with pytest.raises(RefusedCommandError) as refused:
        await listening.verifier.verify(event, requested)
    assert refused.value.status.causes[0].reason == "BlobAltered"


async def test_nothing_is_fetched_for_who_may_not_command(listening: ListenerScene) -> None:
    requested, event = listening.command()
    listening.world.set_seal(revoked=True)
    with pytest.raises(RefusedCommandError):
        await listening.verifier.verify(event, requested)
    assert listening.blobs.fetched == []


async def test_a_listener_without_a_store_says_so(listening: ListenerScene) -> None:
    requested, event = listening.command()
    listening.verifier.blobs = None
    with pytest.raises(RefusedCommandError) as refused:
        await listening.verifier.verify(event, requested)
    assert refused.value.status.code == 501


async def test_a_large_answer_goes_where_the_request_says(listening: ListenerScene) -> None:
    requested, event = listening.command()
    command = await listening.verifier.verify(event, requested)
    headers = (("Content-Type", "application/json"),)
    await listening.responder.answer(command.reply_to, ResponseEnvelope(200, headers, BODY), is_read=False)
    [(code, answer)] = listening.world.answers().values()
    assert (code, answer.status, answer.headers, answer.body) == (200, 200, headers, b"")
    sealed = listening.blobs.contents[REPLY_URL]
    assert answer.body_blob == reference_to("", sealed)
    info = response_body_info(CLUSTER, SEAL, requested.request_id)
    assert open_body(listening.world.reply_key, sealed, info, limit=len(BODY)) == BODY


async def test_a_small_answer_stays_on_chain_unless_the_cluster_wants_less(listening: ListenerScene) -> None:
    requested, event = listening.command()
    command = await listening.verifier.verify(event, requested)
    small = ResponseEnvelope(200, (), noise(3_000))
    await listening.responder.answer(command.reply_to, small, is_read=False)
    assert REPLY_URL not in listening.blobs.contents
    less = replace(command.reply_to, max_inline_bytes=3_000)
    await listening.responder.answer(less, small, is_read=False)
    assert REPLY_URL in listening.blobs.contents
    assert all(len(decode_transaction(data).move_calls) == 1 for data in listening.world.ledger.executed)


@pytest.mark.parametrize(("is_read", "hint"), [(True, "ask for less"), (False, "was run")])
async def test_an_answer_that_nobody_takes_is_told(
    listening: ListenerScene, is_read: bool, hint: str
) -> None:
    requested, event = listening.command()
    command = await listening.verifier.verify(event, requested)
    listening.blobs.error = BlobUnavailableError("away")
    await listening.responder.answer(command.reply_to, ResponseEnvelope(200, (), BODY), is_read=is_read)
    [(code, answer)] = listening.world.answers().values()
    assert code == 502
    assert hint in json.loads(answer.body)["message"]
