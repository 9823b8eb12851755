"""Commands that leave the queue because their transaction is not known, and come again."""

from __future__ import annotations

import pytest

from k3s_daas.sui.ledger import ChainEvent
from listener_service.event_source import SourcedEvent
from listener_service.queue.core import Queue
from listener_service.queue.ticket import Kind, Ticket, places
from listener_service.queue.unconfirmed import Unconfirmed

NOW_MS = 1_000_000
EVENT = SourcedEvent(ChainEvent(bytes(32), "m", "t", bytes(32), b"", "digest", 0), replayed=False)
AMPLE = 1 << 30


def ticket(holder: str, name: str | None = None, *, kind: Kind = Kind.MUTATION) -> Ticket:
    key = None if name is None else ("", "pods", "default", name)
    return Ticket(EVENT, holder.encode(), kind, key, NOW_MS + 20_000, 0, 952, 10_000)


def take(queue: Queue, now_ms: int = NOW_MS) -> Ticket:
    taken = queue.take(now_ms)
    assert taken is not None
    return taken


def aside(queue: Queue, one: Ticket) -> Ticket:
    """It leaves work, as the service lets it go."""
    again = one.again()
    assert queue.unconfirmed.add(again) == []
    queue.done(one)
    return again


def come_again(queue: Queue, one: Ticket) -> None:
    assert queue.unconfirmed.remove(one)
    queue.put_again(one)


def test_it_has_neither_place_nor_turn_and_counts_in_the_waiting_room() -> None:
    queue = Queue(places(1), AMPLE)
    for holder in "ab":
        queue.put(ticket(holder, "x"))
    left = aside(queue, take(queue))
    assert queue.used_bytes == 952 + 3_000
    assert take(queue).holder == b"b"
    assert not queue.is_empty
    assert left.holder == b"a"


@pytest.mark.parametrize("started", [False, True])
def test_it_comes_before_later_ones_of_its_object_but_for_the_one_in_work(started: bool) -> None:
    queue = Queue(places(4), AMPLE)
    for holder in "abcd":
        queue.put(ticket(holder, "x"))
    first = aside(queue, take(queue))
    second = aside(queue, take(queue))
    running = [take(queue)] if started else []
    come_again(queue, second)
    come_again(queue, first)
    if started:
        assert queue.overtakes(running[0])
        assert queue.take(NOW_MS) is None
        # It gives way, and is itself put again.
        queue.put_again(running[0].again())
        queue.done(running[0])
    ran = []
    while (one := queue.take(NOW_MS)) is not None:
        assert not queue.overtakes(one)
        ran.append(one.holder)
        queue.done(one)
    assert ran == [b"a", b"b", b"c", b"d"]
    assert queue.is_empty


def test_a_read_that_comes_again_comes_before_later_ones_of_its_holder() -> None:
    queue = Queue(places(1), AMPLE)
    for _ in range(3):
        queue.put(ticket("a", kind=Kind.READ))
    first = aside(queue, take(queue))
    come_again(queue, first)
    assert take(queue) is first


@pytest.mark.parametrize("late_before", [False, True])
def test_what_is_too_late_by_then_is_still_taken(late_before: bool) -> None:
    queue = Queue(places(1), AMPLE)
    queue.put(ticket("a", "x"))
    late_ms = NOW_MS + 21_000
    one = aside(queue, take(queue, late_ms if late_before else NOW_MS))
    come_again(queue, one)
    taken = take(queue, late_ms)
    assert taken is one
    assert taken.is_late
    queue.done(taken)
    assert queue.is_empty


def test_holders_share_the_room_and_who_floods_crowds_out_himself() -> None:
    room = Unconfirmed(lambda: 40 * 3_000)
    honest = ticket("honest")
    assert room.add(honest) == []
    flood = [ticket("flood") for _ in range(100)]
    gone = [one for each in flood for one in room.add(each)]
    assert gone == flood[: len(gone)]
    assert (len(gone), len(room), room.used_bytes) == (80, 21, 21 * 3_000)
    assert room.remove(honest)
    assert not room.remove(gone[0])


def test_of_many_holders_the_one_that_has_waited_longest_goes() -> None:
    room = Unconfirmed(lambda: 40 * 3_000)
    flood = [ticket(f"h{number}") for number in range(100)]
    assert [one for each in flood for one in room.add(each)] == flood[:60]
    assert room.used_bytes == 40 * 3_000


def test_what_is_larger_than_the_room_waits_alone() -> None:
    room = Unconfirmed(lambda: 1_000)
    first, second = ticket("a"), ticket("b")
    assert room.add(first) == []
    assert room.add(second) == [first]
