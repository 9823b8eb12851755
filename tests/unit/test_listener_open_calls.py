"""Watches and followed logs through the whole listener, at an API server that keeps them open."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from k3s_daas.contract.calls import SharedRef
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from listener_service.open_calls import watch_key
from listener_service.windows import WindowRules
from tests.unit.contract_world import OWNER
from tests.unit.listener_world import World, until
from tests.unit.running_listener import listener
from tests.unit.scripted_api_server import ScriptedApiServer, ScriptedReply, SeenRequest, scripted_api_server

# Short, so that tests need not wait; the order of the durations is that of the real ones.
QUICK = WindowRules(
    longest_s=0.4,
    shortest_s=0.05,
    quiet_s=0.02,
    burst_s=0.2,
    silent_s=(0.1, 0.15),
    onlooker_quiet_s=0.02,
    onlooker_burst_s=0.2,
    state_s=0.3,
)
PATIENT = WindowRules(longest_s=60)
PODS = "/api/v1/namespaces/default/pods"
LOG = "/api/v1/namespaces/default/pods/web/log"
INFORMER = "watch=true&resourceVersion=7&allowWatchBookmarks=true&timeoutSeconds=431"
ONLOOKER = "watch=true&resourceVersion=7"
ADDED = b'{"type":"ADDED","object":{"kind":"Pod"}}\n'
BOOKMARK = b'{"type":"BOOKMARK","object":{"kind":"Pod"}}\n'


class OpenApiServer:
    """Answers a watch or a followed log with `sends`, and keeps it open until the test is over."""

    def __init__(self, script: ScriptedApiServer) -> None:
        self.seen = script.seen
        self.script = script
        self.sends: Iterable[bytes] = ()
        self.content_type = "application/json"
        self.goes_on = True
        self.over = threading.Event()
        script.reply = self._reply

    def _reply(self, request: SeenRequest) -> ScriptedReply:
        if "watch=" not in request.target and "follow" not in request.target:
            return ScriptedReply()
        return ScriptedReply(headers=[("Content-Type", self.content_type)], chunks=self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        yield from self.sends
        if self.goes_on:
            self.over.wait(10)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def api() -> Iterator[OpenApiServer]:
    with scripted_api_server() as script:
        opened = OpenApiServer(script)
        yield opened
        opened.over.set()


async def ask(
    world: World, api: OpenApiServer, query: str, *, path: str = PODS, rules: WindowRules = QUICK
) -> ResponseEnvelope:
    """What the holder gets; the answer comes although the API server goes on."""
    requested, event = world.command(path=path, query=query)
    async with listener(world, api.script, windows=rules):
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
    assert not api.over.is_set()
    return world.answers()[requested.request_id][1]


def warnings(response: ResponseEnvelope) -> list[str]:
    return [value for name, value in response.headers if name == "Warning"]


async def test_an_informer_gets_whole_events_soon_after_they_came(world: World, api: OpenApiServer) -> None:
    api.sends = [ADDED + ADDED[:20], ADDED[20:], ADDED[:9]]
    response = await ask(world, api, INFORMER)
    assert (response.status, response.body) == (200, ADDED + ADDED)
    assert warnings(response) == []


def test_only_the_same_process_is_known_to_ask_again() -> None:
    def key(query: str = INFORMER, session: str = "one", seal: bytes = b"s" * 32) -> bytes:
        return watch_key(seal, RequestEnvelope("GET", PODS, query, (("Kubectl-Session", session),), b"", b""))

    assert key() == key(query=INFORMER.replace("431", "567"))
    others = [key(session="two"), key(seal=b"t" * 32), key(query=INFORMER.replace("Version=7", "Version=8"))]
    assert len({key(), *others}) == 4


async def test_bookmarks_pass_but_are_no_reason_to_answer(world: World, api: OpenApiServer) -> None:
    api.sends = [BOOKMARK]
    began = time.monotonic()
    response = await ask(world, api, ONLOOKER)
    assert time.monotonic() - began >= QUICK.longest_s
    assert response.body == BOOKMARK


async def test_a_silent_watch_ends_empty(world: World, api: OpenApiServer) -> None:
    response = await ask(world, api, INFORMER)
    assert (response.status, response.body) == (200, b"")


async def test_the_api_server_is_told_an_end_after_ours(world: World, api: OpenApiServer) -> None:
    await ask(world, api, INFORMER)
    assert api.seen[0].target.endswith("allowWatchBookmarks=true&timeoutSeconds=9")


async def test_who_does_not_watch_on_by_himself_is_told_why_it_ended(
    world: World, api: OpenApiServer
) -> None:
    api.sends = [ADDED]
    response = await ask(world, api, ONLOOKER)
    assert response.body == ADDED
    [warning] = warnings(response)
    assert warning.startswith('299 - "the watch ended after 0 s, with what is below')
    assert "run the command again" in warning


async def test_a_followed_log_ends_with_its_window_and_says_how_to_go_on(
    world: World, api: OpenApiServer
) -> None:
    api.content_type, api.sends = "text/plain", [b"one\ntwo\nthr"]
    response = await ask(world, api, "container=c&follow=true", path=LOG)
    assert response.body == b"one\ntwo\n"
    [warning] = warnings(response)
    assert "--since-time=2027-01-15T08:00:00Z" in warning


async def test_a_sender_that_never_pauses_is_cut_too(world: World, api: OpenApiServer) -> None:
    api.content_type = "text/plain"
    api.sends = itertools.repeat(b"all work and no play\n")
    response = await ask(world, api, "follow=true", path=LOG)
    assert response.body.endswith(b"play\n")
    assert len(warnings(response)) == 1


async def test_what_ends_by_itself_comes_whole_and_without_a_warning(
    world: World, api: OpenApiServer
) -> None:
    api.content_type, api.sends = "text/plain", [b"one\nlast words"]
    api.goes_on = False
    response = await ask(world, api, "follow=true", path=LOG, rules=PATIENT)
    assert (response.body, warnings(response)) == (b"one\nlast words", [])


async def test_a_format_that_cannot_be_cut_is_refused_by_name(world: World, api: OpenApiServer) -> None:
    api.content_type, api.sends = "application/cbor-seq", [b"\xd9\xd9\xf7"]
    response = await ask(world, api, ONLOOKER)
    assert response.status == 406
    assert b"ask for JSON" in response.body


async def test_a_refusal_of_the_api_server_passes(world: World, api: OpenApiServer) -> None:
    gone = b'{"kind":"Status","code":410}'
    api.script.reply = lambda _: ScriptedReply(status=410, body=gone)
    response = await ask(world, api, ONLOOKER, rules=PATIENT)
    assert (response.status, response.body) == (410, gone)


async def test_open_watches_keep_no_place_from_a_read(world: World, api: OpenApiServer) -> None:
    """With a single place for commands, and three watches open."""
    watches = [world.command(query=ONLOOKER) for _ in range(3)]
    read, read_event = world.command()
    async with listener(world, api.script, concurrency=1, open_calls=12, windows=PATIENT):
        for _, event in watches:
            world.ledger.publish(event)
        await until(lambda: len(api.seen) == 3)
        world.ledger.publish(read_event)
        await until(lambda: read.request_id in world.answers())
        assert len(world.answers()) == 1


async def test_one_holder_has_a_share_of_the_places_and_is_told_to_come_again(
    world: World, api: OpenApiServer
) -> None:
    another_of_his = SharedRef(bytes(32), 3)
    world.add_seal(another_of_his, OWNER)
    first = world.command(query=ONLOOKER, seal=another_of_his)
    second = world.command(query=ONLOOKER)
    async with listener(world, api.script, open_calls=4, windows=PATIENT):
        world.ledger.publish(first[1])
        await until(lambda: len(api.seen) == 1)
        world.ledger.publish(second[1])
        await until(lambda: second[0].request_id in world.answers())
    response = world.answers()[second[0].request_id][1]
    assert response.status == 429
    assert ("Retry-After", "2") in response.headers
    assert len(api.seen) == 1


async def test_a_listener_that_stops_answers_what_is_open(world: World, api: OpenApiServer) -> None:
    api.sends = [ADDED]
    requested, event = world.command(query="watch=true&resourceVersion=0")
    async with listener(world, api.script, windows=PATIENT):
        world.ledger.publish(event)
        await until(lambda: len(api.seen) == 1)
    assert world.answers()[requested.request_id][1].status == 200
