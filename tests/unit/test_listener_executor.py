"""What the executor gives a call: the time until `finish_by`, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from k3s_daas.attributes import parse_attributes
from k3s_daas.envelope import RequestEnvelope
from listener_service.api_call import ApiCall, RawReply
from listener_service.api_server import ApiServer
from listener_service.executor import Executor
from listener_service.leadership import Term
from listener_service.leases import Lease
from listener_service.live_reply import LiveReply
from listener_service.refusal import ReplyTo
from listener_service.verification import VerifiedCommand
from tests.unit.contract_world import SEAL
from tests.unit.listener_world import NAMESPACE, NOW_MS, World

POD = "/api/v1/namespaces/default/pods/web"


class RecordingServer:
    """In the place of the connection: answers at once."""

    def __init__(self) -> None:
        self.calls: list[ApiCall] = []

    def send(self, call: ApiCall, may_start: Callable[[], bool], live: LiveReply | None = None) -> RawReply:
        assert may_start()
        self.calls.append(call)
        return RawReply(200, (), b"{}")

    def close(self) -> None:
        pass


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def server() -> RecordingServer:
    return RecordingServer()


@pytest.fixture
def executor(world: World, server: RecordingServer) -> Iterator[Executor]:
    made = Executor(
        cast(ApiServer, server), concurrency=1, open_calls=1, listener_namespace=NAMESPACE, clock=world.clock
    )
    yield made
    made.close()


def verified(world: World, method: str) -> VerifiedCommand:
    requested, _ = world.command(method, POD)
    reply_key = world.reply_key.public_bytes()
    return VerifiedCommand(
        requested,
        parse_attributes(method, POD, ""),
        RequestEnvelope(method, POD, "", (), b"", reply_key),
        ReplyTo(SEAL, requested.request_id, reply_key, requested.answer_by_ms),
    )


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_call_has_the_time_that_is_left_until_finish_by(
    method: str, world: World, server: RecordingServer, executor: Executor
) -> None:
    command, term = verified(world, method), Term(Lease("lead"), float("inf"), lambda: 0.0)
    world.clock.ms = NOW_MS + 5_000
    assert (await executor.run(command, term)).status == 200
    [call] = server.calls
    assert call.timeout_s == (command.requested.finish_by_ms - NOW_MS - 5_000) / 1000


async def test_after_finish_by_nothing_is_sent(
    world: World, server: RecordingServer, executor: Executor
) -> None:
    command, term = verified(world, "DELETE"), Term(Lease("lead"), float("inf"), lambda: 0.0)
    world.clock.ms = command.requested.finish_by_ms
    assert (await executor.run(command, term)).status == 504
    assert server.calls == []
