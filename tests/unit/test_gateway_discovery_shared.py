"""Two processes of one gateway: what one fetched serves the other, and what one changes both see at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from chalicelib.discovery_cache import DiscoveryKey
from chalicelib.discovery_shelf import DynamoDbShelf, Marker, Shelved
from chalicelib.parking_keys import ParkingKeys
from chalicelib.replies import GatewayReply
from moto import mock_aws

from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from tests.unit.gateway_world import LocalAws, World, header

APIS = "/apis"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KEY = DiscoveryKey("0xc", "/apis", "", "application/json")
DOCUMENT = GatewayReply(200, (("Content-Type", "application/json"), ("ETag", '"1"')), b"\x00groups\xff" * 100)


class CrashError(BaseException):
    """The process dies here."""


@dataclass
class ApiServer:
    """One API server behind both processes; it counts what it is asked, with which condition."""

    document: str = "one"
    etag: str | None = None
    asked: list[str | None] = field(default_factory=list)

    def __call__(self, request: RequestEnvelope) -> ResponseEnvelope:
        if request.method != "GET":
            return ResponseEnvelope(201, (("Content-Type", "application/json"),), b"{}")
        condition = dict(request.headers).get("If-None-Match")
        self.asked.append(condition)
        headers = [("Content-Type", "application/json")]
        if self.etag is not None:
            headers.append(("ETag", self.etag))
            if condition == self.etag:
                return ResponseEnvelope(304, tuple(headers), b"")
        return ResponseEnvelope(200, tuple(headers), json.dumps({"document": self.document}).encode())


@dataclass
class Fleet:
    """Two processes with one table and one key."""

    first: World
    second: World
    api: ApiServer

    def later(self, milliseconds: int) -> None:
        """Time passes for what both leave on the shelf; the memory of each keeps the machine's time."""
        for world in (self.first, self.second):
            world.ahead_ms += milliseconds


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with mock_aws():
        aws, keys, api = LocalAws(), ParkingKeys(os.urandom(32)), ApiServer()
        table = aws.new_table()
        worlds = [World(aws, parking_keys=keys, shelf_table=table) for _ in range(2)]
        for world in worlds:
            world.chain.respond = api
        yield Fleet(worlds[0], worlds[1], api)
        for world in worlds:
            world.close()


def asked(world: World) -> str:
    """How the reply came about, and what it says."""
    reply = world.send(APIS)
    assert reply.status == 200, reply.body
    timing = header(reply, "Server-Timing") or ""
    return f"{timing.rpartition('cache;desc=')[2]} {json.loads(reply.body)['document']}"


def test_a_process_that_starts_gets_what_another_one_fetched(fleet: Fleet) -> None:
    assert asked(fleet.first) == "miss one"
    assert asked(fleet.second) == "stored one"
    assert asked(fleet.second) == "hit one"
    assert (len(fleet.api.asked), fleet.second.chain.calls["execute"]) == (1, 0)


def test_a_write_of_definitions_is_seen_by_the_other_process_at_once(fleet: Fleet) -> None:
    assert (asked(fleet.first), asked(fleet.second)) == ("miss one", "stored one")
    assert fleet.first.send(DEFINITIONS, "POST", b"{}").status == 201
    fleet.api.document = "two"
    assert asked(fleet.second) == "suspended two"
    assert asked(fleet.first) == "suspended two"


def test_what_was_kept_before_a_write_does_not_come_back_after_the_suspension(fleet: Fleet) -> None:
    assert (asked(fleet.first), asked(fleet.second)) == ("miss one", "stored one")
    fleet.first.send(DEFINITIONS, "POST", b"{}")
    fleet.api.document = "two"
    fleet.later(90_000)
    # The second process heard nothing of it until now, and its own copy is not too old.
    assert asked(fleet.second) == "miss two"
    assert asked(fleet.second) == "hit two"


def test_a_process_that_dies_in_a_write_of_definitions_has_told_the_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (asked(fleet.first), asked(fleet.second)) == ("miss one", "stored one")

    def die(_transaction: bytes) -> Any:
        raise CrashError

    fleet.first.chain.outcomes.append(die)
    with pytest.raises(CrashError):
        fleet.first.send(DEFINITIONS, "POST", b"{}")
    assert asked(fleet.second) == "suspended one"
    fleet.later(50_000)
    assert asked(fleet.second) == "suspended one"
    fleet.later(40_000)
    assert asked(fleet.second) == "miss one"


def test_what_is_too_old_on_the_shelf_is_confirmed_by_its_etag(fleet: Fleet) -> None:
    fleet.api.etag = '"1"'
    assert asked(fleet.first) == "miss one"
    fleet.later(31_000)
    assert asked(fleet.second) == "revalidated one"
    assert fleet.api.asked == [None, '"1"']
    fleet.later(31_000)
    fleet.api.etag, fleet.api.document = '"2"', "two"
    assert fleet.second.send(APIS).status == 200


def test_the_age_on_the_shelf_counts(fleet: Fleet) -> None:
    assert asked(fleet.first) == "miss one"
    fleet.later(29_000)
    assert asked(fleet.second) == "stored one"
    fleet.later(2_000)
    assert asked(fleet.first) == "hit one"


def test_without_the_table_no_copy_is_given(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(fleet.first) == "miss one"

    def away(*_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": "InternalServerError"}}, "GetItem")

    shelf = fleet.first.gateway._discovery._shared._shelf
    monkeypatch.setattr(shelf, "_client", type("Away", (), {"get_item": away, "update_item": away})())
    refused = fleet.first.send(APIS)
    assert refused.status == 503
    before = fleet.first.chain.calls["execute"]
    assert fleet.first.send(DEFINITIONS, "POST", b"{}").status == 503
    assert fleet.first.chain.calls["execute"] == before


@pytest.fixture
def shelf() -> Iterator[DynamoDbShelf]:
    with mock_aws():
        aws = LocalAws()
        yield DynamoDbShelf(aws.dynamodb, aws.new_table(), ParkingKeys(os.urandom(32)))


def test_a_reply_comes_back_byte_for_byte(shelf: DynamoDbShelf) -> None:
    shelf.put(KEY, 3, Shelved(DOCUMENT, 1_000))
    assert shelf.take(KEY, 3) == Shelved(DOCUMENT, 1_000)
    assert shelf.take(KEY, 4) is None
    assert shelf.take(KEY._replace(accept="*/*"), 3) is None


@pytest.mark.parametrize(("generation", "fetched_ms"), [(2, 5_000), (3, 999), (3, 1_000)])
def test_an_older_reply_does_not_replace_a_newer_one(
    shelf: DynamoDbShelf, generation: int, fetched_ms: int
) -> None:
    shelf.put(KEY, 3, Shelved(DOCUMENT, 1_000))
    shelf.put(KEY, generation, Shelved(GatewayReply(200, (), b"old"), fetched_ms))
    assert shelf.take(KEY, 3) == Shelved(DOCUMENT, 1_000)


def test_what_is_larger_than_an_item_is_left_to_each_process(shelf: DynamoDbShelf) -> None:
    shelf.put(KEY, 0, Shelved(GatewayReply(200, (), os.urandom(500_000)), 1_000))
    assert shelf.take(KEY, 0) is None


@pytest.mark.parametrize("change", ["reply", "fetched_ms", "keys"])
def test_nobody_but_the_gateway_can_put_a_reply_there(shelf: DynamoDbShelf, change: str) -> None:
    shelf.put(KEY, 0, Shelved(DOCUMENT, 1_000))
    client, table = shelf._client, shelf._table
    if change == "keys":
        assert DynamoDbShelf(client, table, ParkingKeys(os.urandom(32))).take(KEY, 0) is None
        return
    [item] = [one for one in client.scan(TableName=table)["Items"] if "reply" in one]
    sealed = bytes(item["reply"]["B"])
    item |= (
        {"reply": {"B": sealed[:-1] + bytes([sealed[-1] ^ 1])}}
        if change == "reply"
        else {"fetched_ms": {"N": "2000"}}
    )
    client.put_item(TableName=table, Item=item)
    assert shelf.take(KEY, 0) is None


def test_changes_at_the_same_time_are_each_a_generation_and_the_longest_counts(shelf: DynamoDbShelf) -> None:
    assert shelf.definitions() == Marker(0, 0)
    shelf.change(5_000)
    shelf.change(3_000)
    assert shelf.definitions() == Marker(2, 5_000)
