"""Events whose transaction the quorum does not know: invented ones delay nobody, true ones are not lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from k3s_daas.contract.events import ApiRequested
from k3s_daas.sui.ledger import SignedTransaction
from k3s_daas.sui.quorum import QuorumLedger
from k3s_daas.sui.reading import Patience
from listener_service.counts import Tally
from listener_service.service import ListenerService
from tests.unit.listener_world import NOW_MS, ScriptedLedger, World, until
from tests.unit.running_listener import listener, unpressed
from tests.unit.scripted_api_server import ScriptedApiServer, scripted_api_server

POD = "/api/v1/namespaces/default/pods/web"


@dataclass
class Three:
    """The world's endpoint delivers all events and knows all transactions; two others know those that
    `confirm` told them. Two of the three must agree.
    """

    world: World

    def __post_init__(self) -> None:
        self.known: dict[str, SignedTransaction] = {}
        others = [
            ScriptedLedger(objects=self.world.ledger.objects, transactions=self.known) for _ in range(2)
        ]
        patience = Patience(settle_s=0.01)
        self.ledger = QuorumLedger([self.world.ledger, *others], 2, patience=patience)

    def invent(self, number: int, method: str = "GET", path: str = POD) -> None:
        """An event of a holder of its own, delivered."""
        _, event = self.world.command(method, path, owner=hashlib.sha256(b"%d" % number).digest())
        self.world.ledger.publish(event)

    def lagging(self, method: str = "GET", path: str = POD) -> tuple[ApiRequested, str]:
        """A true command, delivered, that the others do not know yet; with its transaction's digest."""
        requested, event = self.world.command(method, path)
        self.world.ledger.publish(event)
        return requested, event.transaction_digest

    def confirm(self, digest: str) -> None:
        self.known[digest] = self.world.ledger.transactions[digest]

    def true(self, method: str = "GET", path: str = POD) -> ApiRequested:
        """A command that all know, delivered."""
        requested, event = self.world.command(method, path)
        self.confirm(event.transaction_digest)
        self.world.ledger.publish(event)
        return requested


@pytest.fixture
def three() -> Three:
    return Three(World())


@pytest.fixture
def api() -> Iterator[ScriptedApiServer]:
    with scripted_api_server() as script:
        yield script


def not_run(service: ListenerService) -> dict[str, int]:
    assert isinstance(service.counts, Tally)
    return dict(service.counts.by_reason)


async def test_a_hundred_invented_events_of_one_endpoint_of_three_delay_no_get(
    three: Three, api: ScriptedApiServer
) -> None:
    world = three.world
    async with listener(world, api, believed=three.ledger) as running:
        held = world.ledger.checkpoint
        for number in range(100):
            three.invent(number)
        requested = three.true()
        await until(lambda: requested.request_id in world.answers())
        await until(lambda: len(running.service.queue.unconfirmed) == 100)
        # Nobody has given up on any of them.
        assert world.clock.ms == NOW_MS
        assert not_run(running.service) == {}
        assert set(running.service.queue.places_taken.values()) == {0}
        world.ledger.progress()
        await until(lambda: running.service.covered == world.ledger.checkpoint)
        assert running.service.watermark == held
        world.clock.ms += 30_000
        await until(lambda: running.service.watermark == world.ledger.checkpoint)
        assert not_run(running.service) == {"unknown-transaction": 100}
        assert running.service.queue.is_empty
    assert len(api.seen) == 1
    assert world.answers()[requested.request_id][0] == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(("lag_ms", "status"), [(0, 200), (19_000, 200), (25_000, 504)])
async def test_a_true_command_that_the_others_lag_behind_with_is_not_lost(
    method: str, lag_ms: int, status: int, three: Three, api: ScriptedApiServer
) -> None:
    world = three.world
    async with listener(world, api, believed=three.ledger) as running:
        requested, digest = three.lagging(method)
        await until(lambda: len(running.service.queue.unconfirmed) == 1)
        world.clock.ms += lag_ms
        three.confirm(digest)
        await until(lambda: requested.request_id in world.answers())
        await until(lambda: running.service.queue.is_empty)
        assert len(api.seen) == (1 if status == 200 else 0)
    assert world.answers()[requested.request_id][0] == status


async def test_an_invented_mutation_keeps_no_other_of_its_object_waiting(
    three: Three, api: ScriptedApiServer
) -> None:
    world = three.world
    async with listener(world, api, believed=three.ledger) as running:
        for number in range(20):
            three.invent(number, "DELETE")
        requested = three.true("PATCH")
        await until(lambda: requested.request_id in world.answers())
        assert world.clock.ms == NOW_MS
        await until(lambda: len(running.service.queue.unconfirmed) == 20)
    assert [seen.method for seen in api.seen] == ["PATCH"]


async def test_a_mutation_that_is_known_late_comes_before_later_ones_of_its_object(
    three: Three, api: ScriptedApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = three.world
    ask = world.ledger.get_signed_transaction
    async with listener(world, api, believed=three.ledger) as running:
        first, first_digest = three.lagging("PUT")
        second, second_digest = three.lagging("PATCH")
        await until(lambda: len(running.service.queue.unconfirmed) == 2)

        async def second_only(digest: str) -> SignedTransaction | None:
            found = await ask(digest)
            if digest == second_digest:
                # Known to all from now on, as the second is; nobody has looked since.
                three.confirm(first_digest)
            return found

        monkeypatch.setattr(world.ledger, "get_signed_transaction", second_only)
        three.confirm(second_digest)
        await until(lambda: {first.request_id, second.request_id} <= set(world.answers()))
        await until(lambda: running.service.queue.is_empty)
    assert [seen.method for seen in api.seen] == ["PUT", "PATCH"]


async def test_too_many_of_them_crowd_out_the_oldest_and_stop_no_stream(
    three: Three, api: ScriptedApiServer
) -> None:
    world = three.world
    async with listener(world, api, believed=three.ledger, memory=unpressed(1 << 20)) as running:
        for number in range(60):
            three.invent(number)
        lagging, digest = three.lagging()
        requested = three.true()
        await until(lambda: requested.request_id in world.answers())
        await until(lambda: running.service.queue.waiting == running.service.queue.in_work == 0)
        left = len(running.service.queue.unconfirmed)
        assert 10 < left < 30
        assert not_run(running.service) == {"crowded-out": 61 - left}
        three.confirm(digest)
        await until(lambda: lagging.request_id in world.answers())


async def test_what_is_unknown_when_a_listener_stops_is_left_to_the_next_one(
    three: Three, api: ScriptedApiServer
) -> None:
    world = three.world
    async with listener(world, api, believed=three.ledger) as running:
        requested, digest = three.lagging("DELETE")
        await until(lambda: len(running.service.queue.unconfirmed) == 1)
        running.stop.set()
        await running.task
        assert running.service.watermark is None or running.service.watermark < world.ledger.checkpoint
    assert world.stored() == []
    three.confirm(digest)
    async with listener(world, api, believed=three.ledger, identity="two"):
        await until(lambda: requested.request_id in world.answers())
    assert len(api.seen) == 1
