"""What every event source promises, whatever its endpoint does: all of it for both, on virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.digests import to_base58
from listener_service.event_source import (
    MergedEventSource,
    SourcedEvent,
    WatermarkGapError,
)
from tests.unit.event_source_scenes import (
    BACKOFF_S,
    GIVEN_UP_WITHIN_S,
    KINDS,
    WATERMARK,
    make,
    observed,
    observed_from,
    play,
    quiet,
    scene,
    with_history,
)
from tests.unit.faulty_endpoint import Endpoint
from tests.unit.virtual_time import run


@pytest.mark.parametrize("kind", KINDS)
def test_everything_comes_once_and_is_covered(kind: str) -> None:
    endpoint, seen = run(play(kind))
    assert sorted(seen.numbers) == [*range(7), *range(10, 18)]
    assert [item.replayed for item in seen.events] == [True] * 7 + [False] * 8
    assert endpoint.open == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_may_be_cut_at_every_message(kind: str) -> None:
    messages = run(play(kind))[0].messages
    assert messages > 30

    for boundary in range(min(messages, 80)):

        async def cut(endpoint: Endpoint, boundary: int = boundary) -> None:
            endpoint.cut_at = boundary

        endpoint, seen = run(play(kind, cut))
        assert sorted(seen.numbers) == [*range(7), *range(10, 18)], f"cut at message {boundary}"
        assert endpoint.connections > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_freezes_at_any_message_is_given_up_in_time(kind: str) -> None:
    async def main(boundary: int) -> None:
        endpoint = with_history()
        endpoint.freeze_at = boundary
        async with observed(kind, endpoint) as seen:
            await scene(endpoint)
            for _ in range(60):
                if endpoint.frozen:
                    break
                endpoint.publish()
                await asyncio.sleep(1)
            assert endpoint.frozen
            attempts = endpoint.connections
            # A frozen node takes connections. Only what is sent on them never comes.
            await asyncio.sleep(GIVEN_UP_WITHIN_S + BACKOFF_S)
            assert endpoint.connections > attempts, f"frozen at message {boundary}"
            endpoint.thaw()
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()
            assert sorted(seen.numbers) == [*range(7), *range(10, 18)]

    for boundary in range(40):
        run(main(boundary))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_silent_while_calls_are_answered_is_replaced(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        async with observed(kind, endpoint) as seen:
            await scene(endpoint)
            await quiet(endpoint, 20)
            before = endpoint.connections
            endpoint.mute = True
            endpoint.publish(30)
            await asyncio.sleep(GIVEN_UP_WITHIN_S + BACKOFF_S)
            assert 30 in seen.numbers
            assert endpoint.connections > before
            endpoint.mute = False
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_may_restart_again_and_again(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        async with observed(kind, endpoint) as seen:
            for number in range(100, 160):
                endpoint.publish(number)
                await asyncio.sleep(0.2)
                endpoint.restart()
                endpoint.away = number % 10 < 3
            endpoint.away = False
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()
            assert sorted(seen.numbers) == [*range(7), *range(100, 160)]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_out_of_order_are_dropped(kind: str) -> None:
    async def act(endpoint: Endpoint) -> None:
        endpoint.duplicate = endpoint.reorder = True

    _, seen = run(play(kind, act))
    assert sorted(seen.numbers) == [*range(7), *range(10, 18)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lag", [1, 3])
def test_an_index_that_lags_is_never_taken_for_complete(kind: str, lag: int) -> None:
    """Events come between subscription and list, with reconnections meanwhile."""

    async def main() -> None:
        endpoint = with_history()
        endpoint.index_lag = lag
        async with observed(kind, endpoint) as seen:
            await scene(endpoint)
            endpoint.restart()
            await scene_again(endpoint)
            endpoint.index_lag = 0
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()
            assert sorted(seen.numbers) == [*range(7), *range(10, 18), 50, 51, 52]

    async def scene_again(endpoint: Endpoint) -> None:
        for number in (50, 51, 52):
            endpoint.publish(number)
            await asyncio.sleep(0.3)

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_stands_still_holds_the_watermark_back(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        async with observed(kind, endpoint) as seen:
            await quiet(endpoint)
            endpoint.index_lag = 1
            endpoint.publish(20)
            held = endpoint.tip
            for _ in range(120):
                endpoint.index_lag += 1
                endpoint.publish()
                await asyncio.sleep(1)
            assert 20 in seen.numbers
            if kind == "websocket":
                assert seen.covered < held
            endpoint.restart()
            endpoint.publish(21)
            endpoint.index_lag = 0
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_watermark_is_loud_and_says_how_to_go_on(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        endpoint.lowest = WATERMARK + 4
        items = make(kind, endpoint).items(WATERMARK)
        with pytest.raises(WatermarkGapError, match=rf"DAAS_RESUME_AFTER_CHECKPOINT={WATERMARK + 3}\b"):
            await anext(items)
        await items.aclose()
        async with observed(kind, endpoint, WATERMARK + 3) as seen:
            await asyncio.sleep(30)
            seen.check_all()
            assert seen.numbers == [3, 4, 5, 6]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_history_that_is_pruned_while_the_endpoint_is_away_is_loud(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        items = make(kind, endpoint).items(WATERMARK)
        for _ in range(7):
            await anext(items)
        endpoint.publish(30)
        endpoint.lowest = endpoint.tip
        endpoint.publish(31)
        endpoint.restart()
        with pytest.raises(WatermarkGapError):
            async for _ in items:
                pass
        await items.aclose()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_without_events_loses_nothing_and_no_connection(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        # Less often than in earnest, since each pass costs real time here.
        async with observed(kind, endpoint, interval_s=60) as seen:
            for _ in range(24 * 60 * 3):
                endpoint.publish()
                await asyncio.sleep(20)
            before = endpoint.connections
            endpoint.publish(30)
            await asyncio.sleep(1)
            assert seen.numbers == [*range(7), 30]
            assert not seen.events[-1].replayed
            assert (endpoint.connections, endpoint.open) == (before, 1)
            await asyncio.sleep(140)
            seen.check_all()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_day_away_everything_is_caught_up(kind: str) -> None:
    async def main() -> None:
        endpoint = with_history()
        async with observed(kind, endpoint) as seen:
            await quiet(endpoint)
            endpoint.away = True
            endpoint.restart()
            for number in range(100, 124):
                endpoint.publish(number)
                await asyncio.sleep(3600)
            endpoint.away = False
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()
            assert seen.numbers == [*range(7), *range(100, 124)]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_another_chain_is_refused(kind: str) -> None:
    async def main() -> None:
        items = make(kind, Endpoint(), to_base58(b"\x77" * 32)).items(None)
        with pytest.raises(ConfigurationError, match="DAAS_TRUST_ROOTS_FILE"):
            await anext(items)
        await items.aclose()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_watermark_what_may_still_want_an_answer_is_replayed(kind: str) -> None:
    async def main() -> None:
        endpoint = Endpoint()
        endpoint.publish(1)
        # Three windows of ten minutes, at more checkpoints than a chain makes.
        for _ in range(1800):
            endpoint.tip += 19
            endpoint.publish()
            await asyncio.sleep(1)
        endpoint.publish(2)
        items = make(kind, endpoint).items(None)
        first = await anext(items)
        assert isinstance(first, SourcedEvent)
        assert int.from_bytes(first.event.contents, "big") == 2
        await items.aclose()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_of_three_endpoints_one_may_be_away_and_another_lag(kind: str) -> None:
    async def main() -> None:
        endpoints = [with_history() for _ in range(3)]
        merged = MergedEventSource([make(kind, endpoint) for endpoint in endpoints], 2)
        first, second, third = endpoints
        async with observed_from(merged, first, WATERMARK) as seen:
            for number in range(100, 130):
                for endpoint in endpoints:
                    endpoint.publish(number)
                    endpoint.reorder = endpoint.duplicate = True
                third.away = number % 10 < 8
                if number % 5 == 0:
                    third.restart()
                if number % 7 == 0:
                    second.restart()
                await asyncio.sleep(0.4)
            third.away = True
            third.restart()
            for _ in range(30):
                first.publish()
                second.publish()
                await asyncio.sleep(2)
            await asyncio.sleep(25)
            assert sorted(seen.numbers) == [*range(7), *range(100, 130)]
            assert seen.covered == first.tip

    run(main())


FAULTS = st.sampled_from(
    ["publish", "publish", "publish", "quiet", "restart", "cut", "freeze", "mute", "duplicate", "lag", "away"]
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(faults=st.lists(st.tuples(FAULTS, st.integers(0, 12)), max_size=25))
def test_no_sequence_of_faults_loses_or_repeats_an_event(kind: str, faults: list[tuple[str, int]]) -> None:
    async def main() -> None:
        endpoint = with_history()
        numbers = itertools.count(100)
        async with observed(kind, endpoint) as seen:
            for fault, amount in faults:
                inflict(endpoint, fault, amount, numbers)
                await asyncio.sleep(0.1 + amount * 0.4)
            endpoint.away = endpoint.mute = False
            endpoint.index_lag = 0
            endpoint.cut_at = endpoint.freeze_at = None
            endpoint.thaw()
            await quiet(endpoint)
            await asyncio.sleep(25)
            seen.check_all()
            assert sorted(seen.numbers) == [*range(7), *range(100, next(numbers))]

    run(main())


def inflict(endpoint: Endpoint, fault: str, amount: int, numbers: itertools.count[int]) -> None:
    match fault:
        case "publish":
            endpoint.publish(*itertools.islice(numbers, 1 + amount % 4))
        case "quiet":
            endpoint.publish()
        case "restart":
            endpoint.restart()
        case "cut":
            endpoint.cut_at = endpoint.messages + amount
        case "freeze":
            endpoint.freeze_at = endpoint.messages + amount
        case "mute":
            endpoint.mute = not endpoint.mute
        case "duplicate":
            endpoint.duplicate = endpoint.reorder = not endpoint.duplicate
        case "lag":
            endpoint.index_lag = amount % 3
        case "away":
            endpoint.away = not endpoint.away
