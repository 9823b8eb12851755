"""Watches and followed logs at the gateway: a rate per seal that holds across functions, and places."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from chalicelib.open_requests import OpenRequests
from chalicelib.windows import Counted, DynamoDbWindows

from infra.local.gateway.messages import HttpReply
from k3s_daas.status import StatusError
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.gateway_world import LocalAws, MakeWorld, World

PODS = "/api/v1/namespaces/default/pods"
WATCH = f"{PODS}?watch=true&resourceVersion=5"
FOLLOW = f"{PODS}/p1/log?follow=true"


@pytest.fixture
def make(make: MakeWorld) -> MakeWorld:
    def stopped(**changed: Any) -> World:
        world = make(**changed)
        world.stop_clock_early_in_a_minute()
        return world

    return stopped


class CountedWindows:
    """How often the table is written to."""

    def __init__(self, windows: DynamoDbWindows) -> None:
        self._windows = windows
        self.writes = 0

    def count(self, key: str, *, window_s: int, limit: int) -> Counted:
        self.writes += 1
        return self._windows.count(key, window_s=window_s, limit=limit)


def cause(reply: HttpReply) -> str:
    return str(json.loads(reply.body)["details"]["causes"][0]["reason"])


def retry_after(reply: HttpReply) -> int:
    return int(dict(reply.headers)["Retry-After"])


def test_a_seal_begins_so_many_watches_and_logs_in_a_minute_and_reads_go_on(
    make: MakeWorld,
) -> None:
    world = make(watches_per_minute=3)
    assert [world.send(target).status for target in (WATCH, FOLLOW, WATCH)] == [200, 200, 200]
    before = len(world.chain.executed)
    refused = world.send(WATCH)
    assert (refused.status, cause(refused)) == (429, "WatchRateExceeded")
    assert retry_after(refused) == 50
    assert len(world.chain.executed) == before
    assert world.send(PODS).status == 200


def test_the_next_minute_is_a_new_one_and_until_then_nothing_is_written(aws: LocalAws) -> None:
    now_s = 1_000_000_020.0
    seal = b"s" * 32
    counting = CountedWindows(DynamoDbWindows(aws.dynamodb, aws.new_table(), lambda: int(now_s * 1000)))
    limit = OpenRequests(counting, per_minute=1, places=1, monotonic=lambda: now_s)
    limit.count(seal, 600)
    for _ in range(3):
        with pytest.raises(StatusError):
            limit.count(seal, 600)
    assert counting.writes == 2
    now_s += 60
    limit.count(seal, 600)


def test_the_rate_is_one_for_all_functions(make: MakeWorld, aws: LocalAws) -> None:
    table = aws.new_table()
    functions = [make(watches_per_minute=3, table=table) for _ in range(2)]
    answers = [functions[turn % 2].send(WATCH).status for turn in range(5)]
    assert answers == [200, 200, 200, 429, 429]


def test_half_of_what_the_contract_allows_is_left_to_other_commands(aws: LocalAws) -> None:
    limit = OpenRequests(DynamoDbWindows(aws.dynamodb, aws.new_table()), per_minute=1_000_000, places=1)
    limit.count(b"s" * 32, 4)
    limit.count(b"s" * 32, 4)
    with pytest.raises(StatusError, match="2 watches and followed logs in this minute"):
        limit.count(b"s" * 32, 4)


def test_watches_have_places_of_their_own_in_a_process(make: MakeWorld) -> None:
    """One is open and not answered yet; a second one is sent away, a read is not."""
    world = make(open_requests=1)
    world.stopped_at_ms = None
    answer, world.chain.respond = world.chain.respond, None
    replies: list[HttpReply] = []
    watching = threading.Thread(target=lambda: replies.append(world.send(WATCH)))
    watching.start()
    wait_for(lambda: len(world.chain.executed) == 1)
    second = world.send(WATCH)
    world.chain.respond = answer
    read = world.send(PODS)
    assert not replies
    world.chain.answer(world.chain.executed[0], transaction_digest(world.chain.executed[0]))
    watching.join()
    assert (second.status, cause(second), retry_after(second)) == (429, "WatchPlacesTaken", 2)
    assert (read.status, replies[0].status) == (200, 200)
    assert world.send(WATCH).status == 200


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until_s, "it did not happen"
        time.sleep(0.005)
