"""Commands that take longer than one HTTP exchange: parked, adopted by their retry, executed once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from chalicelib.dynamodb_items import record_key
from chalicelib.request_store import RequestRecord, RequestState

from infra.local.gateway.messages import HttpReply
from k3s_daas.contract.objects import UsageState
from k3s_daas.deadlines import MOST_PARKINGS, DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ledger import ExecutionOutcome
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.gateway_world import (
    TABLE,
    LocalAws,
    MakeWorld,
    SealTerms,
    World,
    echo,
    header,
    now_ms,
    status,
)

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SESSION = (("Kubectl-Session", "5e7d2f2c-0d3b-4a8e-9d3e-0f6c2f6d7a10"),)
OTHER_SESSION = (("Kubectl-Session", "another"),)
# Short exchanges; all else is as ever, and time passes by setting the clock ahead.
IMPATIENT = replace(DeadlineSettings(), gateway_wait_ms=500)


@pytest.fixture
def make(make: MakeWorld) -> MakeWorld:
    return lambda **arguments: make(**{"deadlines": IMPATIENT, **arguments})


class SlowCluster:
    """An API server that answers nothing until it is told to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._answered: set[str] = set()
        self.ran: list[bytes] = []
        world.chain.respond = None

    def answer(self) -> None:
        """Run all that was accepted and not answered, in order, as the listener would."""
        chain = self._world.chain
        chain.respond = self._run
        for transaction in list(chain.executed):
            digest = transaction_digest(transaction)
            if digest not in self._answered:
                self._answered.add(digest)
                chain.answer(transaction, digest)
        chain.respond = None

    def _run(self, request: RequestEnvelope) -> ResponseEnvelope:
        self.ran.append(request.body)
        return echo(request)


def create(world: World, headers: tuple[tuple[str, str], ...] = SESSION, body: bytes = b"{}") -> HttpReply:
    return world.send(CONFIG_MAPS, "POST", body, headers=headers)


def record(world: World, reply: HttpReply) -> RequestRecord:
    found = world.store.get(bytes.fromhex(header(reply, "X-Daas-Request-Id") or ""))
    assert found is not None
    return found


def is_parked(reply: HttpReply) -> bool:
    return (reply.status, header(reply, "Retry-After")) == (503, "1")


def submitted(world: World) -> int:
    return len(set(world.chain.executed))


def test_a_slow_command_is_parked_and_its_retry_gets_the_answer_of_the_one_execution(world: World) -> None:
    cluster = SlowCluster(world)
    first = create(world)
    assert is_parked(first)
    assert status(first)["reason"] == "ServiceUnavailable"
    assert record(world, first).state is RequestState.PARKED
    cluster.answer()
    again = create(world)
    assert again.status == 200, again.body
    assert header(again, "X-Daas-Request-Id") == header(first, "X-Daas-Request-Id")
    assert record(world, again).state is RequestState.ANSWERED
    assert submitted(world) == 1
    assert cluster.ran == [b"{}"]


def test_a_command_is_parked_again_and_again_and_at_last_it_is_a_504(world: World) -> None:
    SlowCluster(world)
    replies = [create(world) for _ in range(MOST_PARKINGS + 1)]
    assert all(map(is_parked, replies[:-1]))
    assert (replies[-1].status, header(replies[-1], "Retry-After")) == (504, None)
    assert submitted(world) == 1
    assert record(world, replies[-1]).parkings == MOST_PARKINGS


def test_two_identical_requests_after_each_other_are_two_commands(world: World) -> None:
    cluster = SlowCluster(world)
    for _ in range(2):
        assert is_parked(create(world))
        cluster.answer()
        assert create(world).status == 200
    assert submitted(world) == 2
    assert cluster.ran == [b"{}", b"{}"]


def test_two_identical_requests_at_the_same_time_are_two_commands(world: World) -> None:
    SlowCluster(world)
    replies: list[HttpReply] = []
    threads = [threading.Thread(target=lambda: replies.append(create(world))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert submitted(world) == 2
    # Only one of them can be found again by its retry; the other one says so.
    assert sorted(reply.status for reply in replies) == [503, 504]
    assert [header(reply, "Retry-After") for reply in replies if reply.status == 504] == [None]


def test_a_parked_command_is_adopted_by_one_of_many(world: World) -> None:
    SlowCluster(world)
    parked = create(world)
    replies: list[HttpReply] = []
    threads = [threading.Thread(target=lambda: replies.append(create(world))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = [reply for reply in replies if header(reply, "X-Daas-Request-Id") == _id(parked)]
    assert len(same) == 1
    assert submitted(world) == 4


def _id(reply: HttpReply) -> str | None:
    return header(reply, "X-Daas-Request-Id")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_without_a_session_nothing_that_changes_is_parked(world: World, method: str) -> None:
    SlowCluster(world)
    path = CONFIG_MAPS if method == "POST" else f"{CONFIG_MAPS}/a"
    reply = world.send(path, method, b"{}")
    assert (reply.status, header(reply, "Retry-After")) == (504, None)
    found = record(world, reply)
    assert (found.state, found.request.wrapped_reply_key) == (RequestState.SUBMITTED, b"")


def test_a_read_is_parked_without_a_session(world: World) -> None:
    cluster = SlowCluster(world)
    assert is_parked(world.send(CONFIG_MAPS))
    cluster.answer()
    assert world.send(CONFIG_MAPS).status == 200
    assert submitted(world) == 1


def test_a_read_that_nobody_repeated_soon_is_read_anew(world: World) -> None:
    SlowCluster(world)
    first = world.send(CONFIG_MAPS)
    assert is_parked(first)
    world.ahead_ms = 31_000
    assert _id(world.send(CONFIG_MAPS)) != _id(first)


@pytest.mark.parametrize(
    "other",
    [
        {"headers": OTHER_SESSION},
        {"headers": (*SESSION, ("Content-Type", "application/yaml"))},
        {"headers": (*SESSION, ("Accept", "application/yaml"))},
        {"body": b"{ }"},
        {"target": f"{CONFIG_MAPS}?dryRun=All"},
        {"target": "/api/v1/namespaces/other/configmaps"},
    ],
)
def test_another_request_never_gets_the_parked_answer(world: World, other: dict[str, Any]) -> None:
    SlowCluster(world)
    assert is_parked(create(world))
    sent: dict[str, Any] = {"target": CONFIG_MAPS, "body": b"{}", "headers": SESSION, **other}
    world.send(sent["target"], "POST", sent["body"], headers=sent["headers"])
    assert submitted(world) == 2


def test_a_renewed_token_of_the_session_adopts(world: World) -> None:
    SlowCluster(world)
    first = create(world)
    token = world.token(now_ms=now_ms() + 1_000)
    again = world.send(CONFIG_MAPS, "POST", b"{}", token=token, headers=SESSION)
    assert (is_parked(again), _id(again)) == (True, _id(first))


def test_a_revoked_seal_adopts_nothing(make: MakeWorld) -> None:
    world = make(admission_ttl_ms=10)
    cluster = SlowCluster(world)
    create(world)
    cluster.answer()
    world.set_seal(SealTerms(revoked=True))
    threading.Event().wait(0.05)
    assert status(create(world))["code"] == 403


def test_a_seal_that_has_used_up_its_rate_still_adopts_what_was_counted(make: MakeWorld) -> None:
    world = make(admission_ttl_ms=10)
    # Far from the end of a minute.
    world.ahead_ms = 65_000 - now_ms() % 60_000
    cluster = SlowCluster(world)
    create(world)
    cluster.answer()
    minute, day = world.now_ms() // 60_000, world.now_ms() // 86_400_000
    world.set_seal(SealTerms(usage=UsageState(minute, 1_000_000, day, 0)))
    threading.Event().wait(0.05)
    assert status(create(world, OTHER_SESSION))["code"] == 429
    assert create(world).status == 200
    assert status(create(world))["code"] == 429
    assert submitted(world) == 1


def test_a_parked_command_is_not_adopted_after_its_life(world: World) -> None:
    SlowCluster(world)
    first = create(world)
    assert is_parked(first)
    world.ahead_ms = IMPATIENT.parked_life_ms
    assert _id(create(world)) != _id(first)


def test_the_table_shows_neither_request_nor_reply_key(world: World, aws: LocalAws) -> None:
    SlowCluster(world)
    body = b'{"data":{"password":"c29tZXRoaW5n"}}'
    reply = create(world, body=body)
    items = aws.dynamodb.scan(TableName=TABLE)["Items"]
    text = repr(items).encode()
    assert body not in text
    assert SESSION[0][1].encode() not in text
    found = record(world, reply)
    key = world.parking_keys.unwrap(found.request.wrapped_reply_key, found.request.request_id)
    assert key.private_bytes() not in found.request.wrapped_reply_key
    assert key.private_bytes().hex() not in "".join(world.logged)


def test_the_reply_key_goes_with_the_answer(world: World, aws: LocalAws) -> None:
    cluster = SlowCluster(world)
    create(world)
    cluster.answer()
    reply = create(world)
    key = record_key(bytes.fromhex(_id(reply) or ""))
    assert "reply_key" not in aws.dynamodb.get_item(TableName=TABLE, Key=key)["Item"]


# What became of the bytes is not known


def broken(transaction: bytes) -> ExecutionOutcome:
    raise LedgerUnavailableError("the connection broke")


def test_a_retry_sends_the_same_bytes_again(world: World) -> None:
    world.chain.outcomes += [broken] * 4
    assert is_parked(create(world))
    world.chain.outcomes.clear()
    reply = create(world)
    assert reply.status == 200, reply.body
    assert submitted(world) == 1


def test_a_retry_finds_what_was_executed_before_the_connection_broke(world: World) -> None:
    cluster = SlowCluster(world)

    def executed_then_broken(transaction: bytes) -> ExecutionOutcome:
        world.chain.accept(transaction)
        return broken(transaction)

    world.chain.outcomes += [executed_then_broken, broken, broken, broken]
    assert is_parked(create(world))
    cluster.answer()
    assert create(world).status == 200
    assert (submitted(world), cluster.ran) == (1, [b"{}"])


def test_a_retry_after_start_by_sends_nothing_and_says_that_it_never_ran(world: World) -> None:
    world.chain.outcomes += [broken] * 4
    first = create(world)
    assert is_parked(first)
    sent = len(world.chain.executed)
    world.ahead_ms = 40_000
    world.chain.timestamp_ms = world.now_ms()
    reply = create(world)
    assert (reply.status, header(reply, "Retry-After")) == (504, None)
    assert status(reply)["details"]["causes"][0]["reason"] == "EStartByPassed"
    assert len(world.chain.executed) == sent
    assert record(world, first).state is RequestState.EXPIRED


def test_as_long_as_the_chain_may_still_have_it_a_retry_is_parked_again(world: World) -> None:
    world.chain.outcomes += [broken] * 4
    first = create(world)
    world.ahead_ms = 40_000
    again = create(world)
    assert (is_parked(again), _id(again)) == (True, _id(first))
    assert submitted(world) == 1


# The store fails


class FlakyClient:
    """A DynamoDB client whose `fail` calls lose their reply after having been carried out."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.lose: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name != "update_item":
            return found

        def update_item(**arguments: Any) -> Any:
            answer = found(**arguments)
            marker = next((one for one in self.lose if one in str(arguments["Key"])), None)
            if marker is None:
                return answer
            self.lose.remove(marker)
            # botocore's own second attempt, after a reply that never came.
            return found(**arguments)

        return update_item


def test_a_lost_reply_of_the_store_makes_no_second_command(world: World) -> None:
    SlowCluster(world)
    world.store._client = flaky = FlakyClient(world.store._client)  # type: ignore[assignment] # a test double
    flaky.lose += ["place/"]
    first = create(world)
    assert is_parked(first)
    flaky.lose += ["place/", "request/"]
    again = create(world)
    assert _id(again) == _id(first)
    assert submitted(world) == 1


def test_if_nobody_knows_who_adopted_nothing_is_submitted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowCluster(world)
    assert is_parked(create(world))

    def away(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb.example")

    monkeypatch.setattr(world.store, "_update", away)
    reply = create(world)
    assert (reply.status, header(reply, "Retry-After")) == (503, None)
    assert "may have run" in status(reply)["message"]
    assert submitted(world) == 1


def test_a_command_that_cannot_be_parked_is_a_504(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    SlowCluster(world)

    def away(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb.example")

    def failing_park(*arguments: Any, **named: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(world.store, "_update", away)
            return park(*arguments, **named)

    park = world.store.park
    monkeypatch.setattr(world.store, "park", failing_park)
    reply = create(world)
    assert (reply.status, header(reply, "Retry-After")) == (504, None)


def test_parking_is_told_in_the_log(world: World) -> None:
    SlowCluster(world)
    create(world)
    line = json.loads(world.logged[-1])
    assert (line["code"], line["refused"]) == (503, "Parked")
    assert line["request_digest"] == transaction_digest(world.chain.executed[0])
