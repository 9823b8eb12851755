"""The cache of discovery by itself: what it keeps, for how long, how much, and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from chalicelib.discovery_cache import (
    ENTRY_OVERHEAD_BYTES,
    SUSPENSION_S,
    Definitions,
    DiscoveryCache,
    DiscoveryKey,
    Fetched,
)
from chalicelib.replies import GatewayReply

TTL_S = 30.0
SOON_S = 10.0
UNCHANGED = Definitions(0, changing=False)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ApiServer:
    """Counts what it is asked, and with which ETags."""

    def __init__(self, reply: GatewayReply | None = None) -> None:
        self.reply = reply or document("one")
        self.asked: list[str | None] = []

    def __call__(self, etag: str | None) -> Fetched:
        self.asked.append(etag)
        if etag is not None and etag == self.reply.header("ETag"):
            return Fetched(GatewayReply(304, (), b""), own=True)
        return Fetched(self.reply, own=True)


def document(text: str, *headers: tuple[str, str], status: int = 200) -> GatewayReply:
    return GatewayReply(status, (("Content-Type", "application/json"), *headers), text.encode())


def key(path: str = "/apis") -> DiscoveryKey:
    return DiscoveryKey("0xc", path, "", "application/json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> DiscoveryCache:
    return DiscoveryCache(ttl_s=TTL_S, max_bytes=1_000_000, monotonic=clock)


def ask(cache: DiscoveryCache, fetch: Callable[[str | None], Fetched], path: str = "/apis") -> str:
    """Outcome and body of one question."""
    reply, outcome = cache.serve(key(path), fetch, patience_s=SOON_S, definitions=UNCHANGED)
    return f"{outcome} {reply.body.decode()}"


def test_a_reply_is_given_until_it_is_too_old(cache: DiscoveryCache, clock: Clock) -> None:
    api = ApiServer()
    assert ask(cache, api) == "miss one"
    clock.now_s += TTL_S - 0.1
    api.reply = document("two")
    assert ask(cache, api) == "hit one"
    clock.now_s += 0.2
    assert ask(cache, api) == "miss two"
    assert api.asked == [None, None]


def test_its_age_counts_from_when_it_was_asked_for(cache: DiscoveryCache, clock: Clock) -> None:
    def slow(_etag: str | None) -> Fetched:
        clock.now_s += 20
        return Fetched(document("one"), own=True)

    ask(cache, slow)
    clock.now_s += TTL_S - 20
    assert ask(cache, ApiServer(document("two"))) == "miss two"


def test_an_old_reply_with_an_etag_is_confirmed(cache: DiscoveryCache, clock: Clock) -> None:
    api = ApiServer(document("one", ("ETag", '"1"')))
    ask(cache, api)
    clock.now_s += TTL_S
    assert ask(cache, api) == "revalidated one"
    assert ask(cache, api) == "hit one"
    api.reply = document("two", ("ETag", '"2"'))
    clock.now_s += TTL_S
    assert ask(cache, api) == "miss two"
    assert api.asked == [None, '"1"', '"1"']


@pytest.mark.parametrize(
    "reply",
    [
        document("no", status=403),
        document("no", status=404),
        document("no", status=503),
        document("", status=304),
        document("part", status=206),
        document("secret", ("Cache-Control", "private, no-store")),
        GatewayReply(
            200,
            (("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),),
            b'{"items":[{"versions":[{"version":"v1","freshness":"Stale"}]}]}',
        ),
    ],
)
def test_what_is_not_a_complete_200_is_not_kept(cache: DiscoveryCache, reply: GatewayReply) -> None:
    api = ApiServer(reply)
    assert ask(cache, api).startswith("miss")
    assert ask(cache, api).startswith("miss")
    assert len(api.asked) == 2
    assert cache.counters()["entries"] == 0


def test_the_answer_to_an_earlier_request_is_good_for_its_caller_only(cache: DiscoveryCache) -> None:
    assert ask(cache, lambda _etag: Fetched(document("left behind"), own=False)) == "miss left behind"
    assert ask(cache, ApiServer()) == "miss one"


def test_what_is_about_one_exchange_only_reaches_that_caller(cache: DiscoveryCache) -> None:
    api = ApiServer(document("one", ("Audit-Id", "a-1"), ("ETag", '"1"')))
    first, _ = cache.serve(key(), api, patience_s=SOON_S, definitions=UNCHANGED)
    second, _ = cache.serve(key(), api, patience_s=SOON_S, definitions=UNCHANGED)
    assert (first.header("Audit-Id"), second.header("Audit-Id")) == ("a-1", None)
    assert second.header("ETag") == '"1"'


def test_every_part_of_the_key_tells_replies_apart(cache: DiscoveryCache) -> None:
    keys = [
        key(),
        key()._replace(cluster="0xd"),
        key()._replace(path="/api"),
        key()._replace(query="timeout=32s"),
        key()._replace(accept="application/yaml"),
    ]
    for number, one in enumerate(keys):
        api = ApiServer(document(str(number)))
        assert cache.serve(one, api, patience_s=SOON_S, definitions=UNCHANGED)[1] == "miss"
    found = [cache.serve(one, ApiServer(), patience_s=SOON_S, definitions=UNCHANGED) for one in keys]
    assert [(reply.body, outcome) for reply, outcome in found] == [
        (str(number).encode(), "hit") for number in range(len(keys))
    ]


# Size


def test_the_least_recently_used_leave_first(clock: Clock) -> None:
    room_for_three = 3 * (10_000 + 2 * ENTRY_OVERHEAD_BYTES)
    cache = DiscoveryCache(ttl_s=TTL_S, max_bytes=room_for_three, monotonic=clock)
    big = ApiServer(document("x" * 10_000))
    for path in ("/a", "/b", "/c"):
        ask(cache, big, path)
    ask(cache, big, "/a")
    ask(cache, big, "/d")
    assert [ask(cache, big, path).partition(" ")[0] for path in ("/a", "/c", "/d", "/b")] == [
        *("hit", "hit", "hit"),
        "miss",
    ]
    counters = cache.counters()
    assert (counters["entries"], counters["evicted"]) == (3, 2)
    assert 30_000 < counters["bytes"] <= room_for_three


def test_many_small_replies_are_bounded_too(clock: Clock) -> None:
    cache = DiscoveryCache(ttl_s=TTL_S, max_bytes=100_000, monotonic=clock)
    for number in range(500):
        ask(cache, ApiServer(), f"/openapi/v3/{number}")
    counters = cache.counters()
    assert counters["bytes"] <= 100_000
    assert counters["entries"] + counters["evicted"] == 500


def test_one_reply_does_not_push_out_all_others(clock: Clock) -> None:
    cache = DiscoveryCache(ttl_s=TTL_S, max_bytes=100_000, monotonic=clock)
    ask(cache, ApiServer(), "/small")
    huge = ApiServer(document("x" * 60_000))
    assert ask(cache, huge, "/huge").startswith("miss")
    assert ask(cache, huge, "/huge").startswith("miss")
    assert ask(cache, ApiServer(), "/small") == "hit one"


# Definitions


def test_after_a_write_of_definitions_nothing_is_kept_or_given_for_a_while(
    cache: DiscoveryCache, clock: Clock
) -> None:
    api = ApiServer()
    ask(cache, api)
    with cache.definitions_change():
        assert ask(cache, api) == "suspended one"
        clock.now_s += 20
    clock.now_s += SUSPENSION_S - 1
    api.reply = document("two")
    assert ask(cache, api) == "suspended two"
    clock.now_s += 1
    assert ask(cache, api) == "miss two"
    assert ask(cache, api) == "hit two"


def test_a_write_that_fails_counts_too(cache: DiscoveryCache) -> None:
    ask(cache, ApiServer())
    with pytest.raises(TimeoutError), cache.definitions_change():
        raise TimeoutError
    assert ask(cache, ApiServer()) == "suspended one"


def test_what_was_asked_before_a_write_is_not_kept_after_it(cache: DiscoveryCache, clock: Clock) -> None:
    def overtaken(_etag: str | None) -> Fetched:
        with cache.definitions_change():
            pass
        clock.now_s += SUSPENSION_S
        return Fetched(document("old"), own=True)

    assert ask(cache, overtaken) == "miss old"
    assert ask(cache, ApiServer(document("new"))) == "miss new"


# Several at once


class Gate:
    """A fetch that stays under way until it is opened."""

    def __init__(self, reply: GatewayReply | None) -> None:
        self.reply = reply
        self.count = 0
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, _etag: str | None) -> Fetched:
        self.count += 1
        self.entered.release()
        assert self.open.wait(SOON_S)
        if self.reply is None:
            raise TimeoutError
        return Fetched(self.reply, own=True)


def crowd(cache: DiscoveryCache, gate: Gate, pool: ThreadPoolExecutor) -> list[Future[str]]:
    """One who fetches, and four who came while he did."""
    first = pool.submit(ask, cache, gate)
    assert gate.entered.acquire(timeout=SOON_S)
    return [first, *(pool.submit(ask, cache, gate) for _ in range(4))]


def test_many_who_ask_at_once_cost_one_fetch(cache: DiscoveryCache) -> None:
    gate = Gate(document("one"))
    with ThreadPoolExecutor(5) as pool:
        asking = crowd(cache, gate, pool)
        gate.open.set()
        outcomes = [future.result(SOON_S) for future in asking]
    assert gate.count == 1
    assert outcomes[0] == "miss one"
    # Who came a moment too late finds it kept.
    assert set(outcomes[1:]) <= {"shared one", "hit one"}


@pytest.mark.parametrize("reply", [document("forbidden", status=403), None])
def test_a_refusal_or_failure_reaches_only_who_caused_it(
    cache: DiscoveryCache, reply: GatewayReply | None
) -> None:
    failing, own = Gate(reply), ApiServer()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, cache, failing)
        assert failing.entered.acquire(timeout=SOON_S)
        second = pool.submit(ask, cache, own)
        failing.open.set()
        assert second.result(SOON_S) == "miss one"
        if reply is None:
            with pytest.raises(TimeoutError):
                first.result(SOON_S)
        else:
            assert first.result(SOON_S) == "miss forbidden"


def test_nobody_waits_longer_than_he_can(cache: DiscoveryCache) -> None:
    slow, own = Gate(document("one")), ApiServer(document("mine"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, cache, slow)
        assert slow.entered.acquire(timeout=SOON_S)
        assert cache.serve(key(), own, patience_s=0, definitions=UNCHANGED)[0].body == b"mine"
        slow.open.set()
        assert first.result(SOON_S) == "miss one"


def test_who_asks_after_a_write_does_not_wait_for_what_was_asked_before(
    cache: DiscoveryCache, clock: Clock
) -> None:
    old = Gate(document("old"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, cache, old)
        assert old.entered.acquire(timeout=SOON_S)
        with cache.definitions_change():
            pass
        clock.now_s += SUSPENSION_S
        assert ask(cache, ApiServer(document("new"))) == "miss new"
        old.open.set()
        assert first.result(SOON_S) == "miss old"
    assert ask(cache, ApiServer()) == "hit new"
