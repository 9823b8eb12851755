"""What the queue decides: shares, turns, deadlines, bytes. No loop, no clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from k3s_daas.sui.ledger import ChainEvent
from listener_service.event_source import SourcedEvent
from listener_service.queue.core import Queue
from listener_service.queue.shares import Fit, Shares
from listener_service.queue.ticket import Kind, ObjectKey, Ticket, places

NOW_MS = 1_000_000
EVENT = SourcedEvent(ChainEvent(bytes(32), "m", "t", bytes(32), b"", "digest", 0), replayed=False)
AMPLE = 1 << 30


def ticket(
    holder: str,
    kind: Kind = Kind.READ,
    *,
    name: str | None = None,
    start_by_ms: int = NOW_MS + 20_000,
    priority: int = 0,
    waiting_bytes: int = 1_000,
    work_bytes: int = 10_000,
) -> Ticket:
    key: ObjectKey | None = None if name is None else ("", "pods", "default", name)
    return Ticket(EVENT, holder.encode(), kind, key, start_by_ms, priority, waiting_bytes, work_bytes)


def put(queue: Queue, tickets: Sequence[Ticket]) -> None:
    for one in tickets:
        queue.put(one)


def take_all(queue: Queue, now_ms: int = NOW_MS) -> list[Ticket]:
    taken = []
    while (one := queue.take(now_ms)) is not None:
        taken.append(one)
    return taken


def run_dry(queue: Queue) -> list[Ticket]:
    """Starts and ends one after the other."""
    order = []
    while (one := queue.take(NOW_MS)) is not None:
        order.append(one)
        queue.done(one)
    return order


def test_one_holder_has_half_of_the_places_and_others_share_the_rest() -> None:
    queue = Queue(places(16), AMPLE)
    put(queue, [ticket("a") for _ in range(100)])
    assert len(take_all(queue)) == 8
    put(queue, [ticket(name) for name in "bcd" for _ in range(100)])
    assert Counter(one.holder for one in take_all(queue)) == {b"b": 2, b"c": 2, b"d": 2}
    queue.put(ticket("e"))
    assert [one.holder for one in take_all(queue)] == [b"e"]


def test_kinds_do_not_take_each_others_places() -> None:
    queue = Queue(places(4), AMPLE)
    put(queue, [ticket(str(holder)) for holder in range(50)])
    assert len(take_all(queue)) == 4
    put(queue, [ticket("a", Kind.MUTATION), ticket("b", Kind.WATCH)])
    assert [one.kind for one in take_all(queue)] == [Kind.MUTATION, Kind.WATCH]


def test_kinds_take_turns_when_memory_is_what_is_short() -> None:
    queue = Queue(places(64), 2 * 32 * 10_000)
    put(queue, [ticket(str(holder)) for holder in range(64) for _ in range(10)])
    working = take_all(queue)
    assert len(working) < 64
    put(queue, [ticket("writer", Kind.MUTATION), ticket("watcher", Kind.WATCH)])
    for _ in range(4):
        queue.done(working.pop(0))
        working += take_all(queue)
    assert {one.kind for one in working} == {Kind.READ, Kind.MUTATION, Kind.WATCH}


def test_who_comes_new_is_next_whatever_the_others_have_piled_up() -> None:
    for priority in (0, 9):
        queue = Queue(places(1), AMPLE)
        put(queue, [ticket("flood", priority=priority) for _ in range(1_000)])
        for _ in range(500):
            running = queue.take(NOW_MS)
            assert running is not None
            queue.done(running)
        running = queue.take(NOW_MS)
        assert running is not None
        queue.put(ticket("single"))
        queue.done(running)
        following = queue.take(NOW_MS)
        assert following is not None
        assert following.holder == b"single"


def test_a_single_read_among_a_thousand_slow_ones_of_another_starts_within_a_second() -> None:
    """In fake time: each command takes 50 ms, and nothing else any."""
    queue = Queue(places(32), AMPLE)
    put(queue, [ticket("flood") for _ in range(1_000)])
    single, ends, now = ticket("single"), list[tuple[int, Ticket]](), NOW_MS
    started_ms: int | None = None
    while started_ms is None:
        if now == NOW_MS + 200:
            queue.put(single)
        for one in take_all(queue, now):
            ends.append((now + 50, one))
            if one is single:
                started_ms = now
        now += 1
        for _, one in [end for end in ends if end[0] == now]:
            queue.done(one)
    assert started_ms - (NOW_MS + 200) <= 50


def test_a_role_of_priority_3_gets_four_times_as_many_turns_as_one_of_priority_0() -> None:
    queue = Queue(places(1), AMPLE)
    put(queue, [one for _ in range(200) for one in (ticket("low"), ticket("high", priority=3))])
    first = run_dry(queue)[:100]
    assert Counter(one.holder for one in first) == {b"high": 80, b"low": 20}


def test_a_holders_commands_come_in_the_chains_order() -> None:
    queue = Queue(places(2), AMPLE)
    put(queue, [ticket(name, priority=number % 10) for number in range(50) for name in "ab"])
    order = run_dry(queue)
    for holder in (b"a", b"b"):
        orders = [one.order for one in order if one.holder == holder]
        assert orders == sorted(orders)


def test_mutations_of_one_object_run_one_by_one_in_order_across_holders() -> None:
    rng = random.Random(7)  # noqa: S311  the same choices each time
    queue = Queue(places(8), AMPLE)
    commands = [
        ticket(rng.choice("abcd"), Kind.MUTATION, name=rng.choice("xy"), priority=rng.randrange(10))
        for _ in range(300)
    ]
    put(queue, commands)
    running: list[Ticket] = []
    ran: dict[ObjectKey | None, list[int]] = {}
    while queue.waiting or running:
        running += take_all(queue)
        keys = [one.object_key for one in running]
        assert len(keys) == len(set(keys))
        ended = running.pop(rng.randrange(len(running)))
        ran.setdefault(ended.object_key, []).append(ended.order)
        queue.done(ended)
    assert all(orders == sorted(orders) for orders in ran.values())
    assert sum(map(len, ran.values())) == 300
    assert queue.is_empty


def test_who_waits_for_an_object_keeps_his_other_commands_going() -> None:
    queue = Queue(places(8), AMPLE)
    put(queue, [ticket("a", Kind.MUTATION, name="x"), ticket("b", Kind.MUTATION, name="x")])
    queue.put(ticket("b", Kind.MUTATION, name="y"))
    assert [(one.holder, one.object_key and one.object_key[3]) for one in take_all(queue)] == [
        (b"a", "x"),
        (b"b", "y"),
    ]


def test_what_ran_gives_its_place_and_turn_before_it_is_answered() -> None:
    queue = Queue(places(1), AMPLE)
    first, second = (ticket("a", Kind.MUTATION, name="x") for _ in range(2))
    put(queue, [first, second])
    assert take_all(queue) == [first]
    queue.leave(first)
    queue.leave(first)
    assert take_all(queue) == [second]
    assert queue.in_work == 2
    queue.done(first)
    queue.done(second)
    assert queue.is_empty


def test_what_is_too_late_is_taken_at_once_and_stands_in_nobodys_way() -> None:
    queue = Queue(places(4), AMPLE)
    running = ticket("a", Kind.MUTATION, name="x")
    late = [ticket("b", Kind.MUTATION, name="x", start_by_ms=NOW_MS + 1_000) for _ in range(2)]
    after = ticket("c", Kind.MUTATION, name="x")
    put(queue, [running, *late, after])
    assert take_all(queue) == [running]
    assert take_all(queue, NOW_MS + 900) == []
    taken = take_all(queue, NOW_MS + 1_200)
    assert taken == [late[0]]
    assert late[0].is_late
    queue.done(running)
    assert take_all(queue, NOW_MS + 1_200) == [after]
    queue.done(late[0])
    assert take_all(queue, NOW_MS + 1_200) == [late[1]]
    for one in (late[1], after):
        queue.done(one)
    assert queue.is_empty


def test_late_reads_do_not_take_the_places_of_those_in_time() -> None:
    queue = Queue(places(8), AMPLE)
    put(queue, [ticket(f"h{number}", start_by_ms=NOW_MS) for number in range(100)])
    put(queue, [ticket(f"i{number}") for number in range(100)])
    kinds = Counter(one.kind for one in take_all(queue, NOW_MS + 500))
    assert kinds == {Kind.READ: 8, Kind.LATE: 2}


def test_the_waiting_room_is_bounded_in_bytes_but_takes_what_is_alone() -> None:
    queue = Queue(places(1), 40_000)
    assert queue.has_room(ticket("a", waiting_bytes=1 << 20))
    put(queue, [ticket("a") for _ in range(10)])
    assert not queue.has_room(ticket("b"))
    assert queue.take(NOW_MS) is not None
    assert queue.has_room(ticket("b"))


def test_work_is_bounded_in_bytes_with_a_share_for_each_holder() -> None:
    queue = Queue(places(32), 400_000)
    put(queue, [ticket("a", work_bytes=30_000) for _ in range(20)])
    assert len(take_all(queue)) == 3
    put(queue, [ticket("b", work_bytes=30_000) for _ in range(20)])
    assert len(take_all(queue)) == 2
    assert queue.used_bytes == 5 * 30_000 + 35 * 1_000


def test_what_holds_more_than_was_thought_keeps_others_out_until_it_is_done() -> None:
    queue = Queue(places(8), 400_000)
    large, small = ticket("a"), ticket("b")
    queue.put(large)
    assert take_all(queue) == [large]
    queue.hold(large, 5_000_000)
    queue.put(small)
    assert take_all(queue) == []
    queue.done(large)
    assert take_all(queue) == [small]


def test_a_large_command_is_waited_for_and_not_overtaken_for_ever() -> None:
    queue = Queue(places(8), 400_000)
    small, large = ticket("a", work_bytes=100_000), ticket("b", work_bytes=250_000)
    put(queue, [small, large, ticket("c", work_bytes=1_000)])
    assert take_all(queue) == [small]
    queue.done(small)
    assert take_all(queue)[0] is large


def test_a_smaller_bound_stops_new_work_and_one_command_always_goes_on() -> None:
    queue = Queue(places(8), AMPLE)
    put(queue, [ticket(name) for name in "abcd"])
    first = queue.take(NOW_MS)
    assert first is not None
    queue.bound(8_000)
    assert take_all(queue) == []
    queue.done(first)
    assert len(take_all(queue)) == 1
    queue.bound(AMPLE)
    assert len(take_all(queue)) == 2


def test_nothing_starts_after_the_end() -> None:
    queue = Queue(places(8), AMPLE)
    put(queue, [ticket("a"), ticket("b", start_by_ms=NOW_MS - 1_000)])
    queue.close()
    assert take_all(queue) == []
    assert queue.waiting == 2


def test_nothing_is_remembered_of_holders_and_objects_that_are_done() -> None:
    rng = random.Random(3)  # noqa: S311  the same choices each time
    queue = Queue(places(16), AMPLE)
    running: list[Ticket] = []
    now = NOW_MS
    for number in range(5_000):
        now += 20
        kind, name = rng.choice([(Kind.READ, None), (Kind.MUTATION, f"pod-{number % 40}")])
        queue.put(ticket(f"holder-{number}", kind, name=name, start_by_ms=now + rng.choice([0, 400, 20_000])))
        running += take_all(queue, now)
        if len(running) > 20:
            queue.done(running.pop(rng.randrange(len(running))))
    heaps = [len(line._heap) for line in queue._lines.values()]
    assert max(heaps) <= 2 * queue.waiting + 16
    while queue.waiting or running:
        running += take_all(queue, now)
        queue.done(running.pop())
    assert queue.is_empty
    assert (queue._deadlines._steps, queue._deadlines._heap, queue._waiting_bytes) == ({}, [], 0)
    assert all(not line._holders for line in queue._lines.values())


def test_who_has_nothing_and_does_not_fit_is_told_from_who_has_his_share() -> None:
    shares = Shares(10)
    shares.take(b"a", 6)
    assert (shares.fit(b"a", 1), shares.fit(b"b", 4), shares.fit(b"b", 5)) == (
        Fit.OVER_SHARE,
        Fit.YES,
        Fit.FULL,
    )
    shares.give_back(b"a", 6)
    assert (shares.fit(b"b", 100), shares.used, shares.holders) == (Fit.YES, 0, 0)
