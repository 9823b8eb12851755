"""What only the JSON-RPC source has to cope with: an index with an order of its own, and hostile JSON."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.ids import to_hex
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.ledger import EventFilter, ForgedReplyError
from listener_service.backoff import Backoff
from listener_service.event_source import ReplayPlan, SourcedEvent, WebSocketEventSource
from listener_service.event_source.index_proof import IndexProof
from listener_service.event_source.json_rpc import CallRefusedError, JsonRpc
from listener_service.event_source.settling import Settling
from listener_service.event_source.sui_json import SUBSCRIBE, ModuleFilter, SuiJson, timed_event
from tests.unit.contract_world import CHAIN_ID
from tests.unit.faulty_endpoint import OTHER, PACKAGE, WANTED, Endpoint, wires
from tests.unit.virtual_time import VirtualClock, run

FILTER = ModuleFilter(EventFilter((WANTED,)))
DIGEST = to_base58(b"\x05" * 32)


class ScriptedWire:
    """Answers every message with what `script` makes of the request: texts, or an error."""

    def __init__(self, script: Callable[[dict[str, Any]], list[str]]) -> None:
        self._script = script
        self._texts: list[str] = []
        self.sent: list[dict[str, Any]] = []

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))
        self._texts.extend(self._script(self.sent[-1]))

    async def receive(self) -> str:
        if not self._texts:
            await asyncio.Event().wait()
        return self._texts.pop(0)

    async def close(self) -> None:
        pass


def conversation(script: Callable[[dict[str, Any]], list[str]]) -> JsonRpc:
    return JsonRpc(ScriptedWire(script), VirtualClock(), SUBSCRIBE)


def result(value: object) -> Callable[[dict[str, Any]], list[str]]:
    return lambda request: [json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value})]


def notification(value: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": SUBSCRIBE, "params": {"subscription": 1, "result": value}})


def sui_event(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": {"txDigest": DIGEST, "eventSeq": "3"},
        "packageId": to_hex(PACKAGE),
        "transactionModule": "gateway",
        "sender": "0x2",
        "type": WANTED,
        "parsedJson": {"a": 1},
        "bcsEncoding": "base64",
        "bcs": base64.b64encode(b"\x00\x01\x02").decode(),
        "timestampMs": "1700000000000",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


# --- JSON-RPC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[" * 100_000,
        "[]",
        '"text"',
        '{"jsonrpc":"2.0","id":999,"result":1}',
        '{"jsonrpc":"2.0","id":1}',
        '{"jsonrpc":"2.0","method":"other","params":{"result":1}}',
        '{"jsonrpc":"2.0","method":"suix_subscribeEvent","params":[]}',
        '{"jsonrpc":"2.0"}',
    ],
    ids=lambda text: text[:30],
)
def test_what_makes_no_sense_is_forged(text: str) -> None:
    async def main() -> None:
        with pytest.raises(ForgedReplyError):
            await conversation(lambda _: [text]).call("anything")

    run(main())


@pytest.mark.parametrize(
    "error", [{"code": -32602, "message": "x" * 5000}, None, "text", {"message": ["odd"]}, {}]
)
def test_a_refusal_is_quoted_in_moderation(error: object) -> None:
    async def main() -> None:
        rpc = conversation(lambda r: [json.dumps({"jsonrpc": "2.0", "id": r["id"], "error": error})])
        with pytest.raises(CallRefusedError) as raised:
            await rpc.call("anything")
        assert not raised.value.transient
        assert len(str(raised.value)) < 300

    run(main())


@pytest.mark.parametrize("code", [-32603, -32009, -32005, -32050])
def test_a_busy_node_is_only_busy(code: int) -> None:
    async def main() -> None:
        reply = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": "busy"}}
        with pytest.raises(CallRefusedError) as raised:
            await conversation(lambda _: [json.dumps(reply)]).call("anything")
        assert raised.value.transient

    run(main())


def test_a_call_ends_at_its_deadline_whatever_is_pushed_meanwhile() -> None:
    async def main() -> None:
        clock = VirtualClock()
        begun = clock.now_ms()
        rpc = conversation(lambda _: [notification(1)] * 10)
        with pytest.raises(LedgerUnavailableError, match="in 10 s"):
            await rpc.call("anything")
        assert clock.now_ms() - begun == 10_000
        assert rpc.kept() == [1] * 10
        await rpc.close()

    run(main())


def test_notifications_instead_of_an_answer_are_bounded() -> None:
    async def main() -> None:
        with pytest.raises(ForgedReplyError, match="instead of answering"):
            await conversation(lambda _: [notification(1)] * 5000).call("anything")

    run(main())


def test_a_subscription_that_the_node_ends_ends_the_connection() -> None:
    async def main() -> None:
        ended = {"jsonrpc": "2.0", "method": SUBSCRIBE, "params": {"subscription": 1, "error": "too slow"}}
        rpc = conversation(lambda r: [*result(1)(r), json.dumps(ended)])
        await rpc.call("anything")
        with pytest.raises(LedgerUnavailableError, match="too slow"):
            await rpc.notification(1.0)

    run(main())


# --- Sui's JSON


def test_an_event_is_what_its_bcs_says() -> None:
    event = timed_event(sui_event()).event
    assert event.position == (DIGEST, 3)
    assert event.contents == b"\x00\x01\x02"
    assert event.sender == bytes(31) + b"\x02"
    assert event.checkpoint is None
    assert FILTER.wants(event)


def test_older_nodes_write_base58() -> None:
    for encoding in (None, "base58"):
        found = timed_event(sui_event(bcsEncoding=encoding, bcs=to_base58(b"\x00\x01\x02")))
        assert found.event.contents == b"\x00\x01\x02"


def test_a_type_is_compared_in_its_full_form() -> None:
    short = EventFilter(("0x2::events::Wanted",))
    event = timed_event(sui_event(type="0x00002::events::Wanted")).event
    assert ModuleFilter(short).wants(event)
    assert not ModuleFilter(EventFilter(("0x2::events::Wante",))).wants(event)
    assert not FILTER.wants(timed_event(sui_event(type=OTHER)).event)
    assert not FILTER.wants(timed_event(sui_event(type=f"{WANTED}<u8>")).event)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": {"txDigest": DIGEST}},
        {"id": {"txDigest": DIGEST, "eventSeq": "-1"}},
        {"id": {"txDigest": DIGEST, "eventSeq": "1" * 5000}},
        {"id": {"txDigest": DIGEST, "eventSeq": str(2**64)}},
        {"id": {"txDigest": DIGEST, "eventSeq": True}},
        {"id": {"txDigest": "0OIl", "eventSeq": "1"}},
        {"id": {"txDigest": "1" * 100_000, "eventSeq": "1"}},
        {"packageId": "0x"},
        {"packageId": "0x" + "1" * 65},
        {"sender": "0xzz"},
        {"sender": 2},
        {"transactionModule": None},
        {"type": "vector<u8>"},
        {"type": "0x2::events"},
        {"bcs": None},
        {"bcs": "***"},
        {"bcs": [1, 2]},
        {"bcsEncoding": "rot13"},
        {"bcsEncoding": "base58", "bcs": "l"},
        {"bcsEncoding": "base58", "bcs": "2" * 1_000_000},
        {"timestampMs": "yesterday"},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
def test_an_event_that_is_none_is_forged(changes: dict[str, object]) -> None:
    with pytest.raises(ForgedReplyError):
        timed_event(sui_event(**changes))


@pytest.mark.parametrize(
    "page",
    [
        None,
        [],
        {},
        {"data": [], "hasNextPage": "no"},
        {"data": {}, "hasNextPage": False},
        {"data": [], "hasNextPage": True},
        {"data": [sui_event()], "hasNextPage": True},
        {"data": [sui_event()] * 51, "hasNextPage": False},
    ],
    ids=lambda page: json.dumps(page)[:40],
)
def test_a_page_that_leads_nowhere_is_forged(page: object) -> None:
    async def main() -> None:
        sui = SuiJson(conversation(result(page)), FILTER)
        with pytest.raises(ForgedReplyError):
            await sui.query((DIGEST, 3))

    run(main())


def test_types_of_several_modules_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one module"):
        ModuleFilter(EventFilter((WANTED, "0x2::other::Thing")))


# --- the index


def test_a_pass_settles_when_a_later_one_has_read_the_same_again() -> None:
    settling = Settling(10_000)
    first, second = ("a", 0), ("b", 0)
    settling.place(None)
    assert settling.passed(0, 1_000, 5, first) is None
    assert settling.passed(6_000, 7_000, 6, second) is None
    assert settling.passed(10_999, 11_500, None, second) is None
    assert settling.cursor is None
    assert settling.passed(11_000, 12_000, None, second) == 5
    assert settling.cursor == first
    assert settling.passed(50_000, 51_000, 7, second) == 6
    assert settling.cursor == second


def test_an_unproven_pass_covers_nothing() -> None:
    settling = Settling(10_000)
    assert settling.passed(0, 1_000, None, None) is None
    assert settling.passed(20_000, 21_000, 6, None) is None
    assert settling.passed(40_000, 41_000, None, None) == 6


@pytest.mark.parametrize("empty", [0, 1, 2, 3, 7, 8, 30, 100])
def test_the_proof_asks_for_the_last_transaction_of_the_chain(empty: int) -> None:
    """However many empty checkpoints follow it."""

    async def main() -> None:
        endpoint = Endpoint()
        for number in range(1, 4):
            endpoint.publish(number)
        for _ in range(empty):
            endpoint.publish()
        open_wire = wires(endpoint)
        proof = IndexProof(SuiJson(JsonRpc(await open_wire(), endpoint.clock, SUBSCRIBE), FILTER))
        assert await proof.shows(endpoint.tip)
        endpoint.index_lag = empty
        assert await proof.shows(endpoint.tip)
        endpoint.index_lag = empty + 1
        assert not await proof.shows(endpoint.tip)

    run(main())


def test_an_event_that_becomes_visible_late_and_early_in_the_index_is_found() -> None:
    """The index writes in parallel: a place before the cursor may be filled a moment later."""

    async def main() -> None:
        endpoint = Endpoint()
        endpoint.publish(1)
        endpoint.mute = True
        source = WebSocketEventSource(
            wires(endpoint),
            EventFilter((WANTED,)),
            CHAIN_ID,
            ReplayPlan(600_000),
            endpoint.clock,
            Backoff(),
        )
        found: list[int] = []

        async def collect() -> None:
            async for item in source.items(100):
                if isinstance(item, SourcedEvent):
                    found.append(int.from_bytes(item.event.contents, "big"))

        task = asyncio.create_task(collect())
        await asyncio.sleep(3)
        endpoint.publish(2)
        endpoint.publish(3)
        [late] = [event for event in endpoint.events if event.contents == (2).to_bytes(4, "big")]
        place = endpoint.events.index(late)
        del endpoint.events[place]
        # Two passes have seen its neighbour by now.
        await asyncio.sleep(9)
        assert found == [1, 3]
        endpoint.events.insert(place, late)
        await asyncio.sleep(30)
        assert found == [1, 3, 2]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_another_node_that_does_not_know_the_cursor_is_read_from_the_right_time_on() -> None:
    async def main() -> None:
        endpoint = Endpoint()
        for number in range(20):
            endpoint.publish(number)
            await asyncio.sleep(120)
        items = WebSocketEventSource(
            wires(endpoint),
            EventFilter((WANTED,)),
            CHAIN_ID,
            ReplayPlan(600_000),
            endpoint.clock,
            Backoff(),
        ).items(endpoint.tip - 2)
        first = await anext(items)
        assert isinstance(first, SourcedEvent)
        # A minute before the first checkpoint behind the watermark, not the whole history.
        assert first.event.contents == (18).to_bytes(4, "big")
        assert isinstance(await anext(items), SourcedEvent)
        endpoint.restart()
        endpoint.events = [event for event in endpoint.events if event.checkpoint != endpoint.tip]
        endpoint.publish(77)
        third = await anext(items)
        assert isinstance(third, SourcedEvent)
        assert third.event.contents == (77).to_bytes(4, "big")
        await items.aclose()

    run(main())
