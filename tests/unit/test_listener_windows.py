"""When a watch or a followed log is answered: the rules alone, with times written down."""

from __future__ import annotations

import pytest

from listener_service.frames import Frames, is_bookmark, splitter
from listener_service.windows import Reader, Silences, Window, WindowRules

RULES = WindowRules()
OPENED_S = 1000.0


def window(
    reader: Reader,
    *,
    arrived_ago_s: float = 0.5,
    end_in_s: float = 19.5,
    silent_before: int = 0,
    state: bool = False,
) -> Window:
    found = Window(
        RULES,
        reader,
        arrived_s=OPENED_S - arrived_ago_s,
        opened_s=OPENED_S,
        end_s=OPENED_S + end_in_s,
        silent_before=silent_before,
        begins_with_state=state,
    )
    found.began(OPENED_S)
    return found


def closes_in(found: Window) -> float:
    return round(found.closes_at_s() - OPENED_S, 6)


def test_the_first_silent_window_of_an_informer_is_just_long_enough_for_client_go() -> None:
    """Whoever has his event waits for this one to be answered; if it ends earlier he backs off."""
    assert closes_in(window(Reader.INFORMER)) == 0.5
    assert closes_in(window(Reader.INFORMER, arrived_ago_s=0.1)) == 0.9


def test_what_has_happened_by_then_comes_in_however_slow_the_way_was() -> None:
    found = window(Reader.INFORMER, arrived_ago_s=3.0)
    assert closes_in(found) == 0.2
    found.began(OPENED_S + 1.5)
    assert closes_in(found) == 1.7


def test_a_window_waits_for_the_reply_to_begin() -> None:
    found = Window(RULES, Reader.INFORMER, arrived_s=OPENED_S, opened_s=OPENED_S, end_s=OPENED_S + 19.5)
    assert closes_in(found) == 19.5


@pytest.mark.parametrize(("silent_before", "length_s"), [(1, 2.0), (2, 4.0), (3, 8.0), (50, 8.0)])
def test_who_asks_again_for_what_was_silent_waits_longer(silent_before: int, length_s: float) -> None:
    assert closes_in(window(Reader.INFORMER, silent_before=silent_before)) == length_s


def test_an_event_is_answered_after_a_short_quiet() -> None:
    found = window(Reader.INFORMER, silent_before=3)
    found.saw_event(OPENED_S + 2.0)
    assert closes_in(found) == 2.2
    found.saw_event(OPENED_S + 2.1)
    assert closes_in(found) == pytest.approx(2.3)


def test_events_without_end_are_answered_a_second_after_the_first() -> None:
    found = window(Reader.INFORMER, silent_before=3)
    for tenth in range(10):
        found.saw_event(OPENED_S + 2.0 + tenth / 10)
    assert closes_in(found) == 3.0


def test_an_onlooker_waits_for_news_as_long_as_his_caller_can() -> None:
    found = window(Reader.ONLOOKER)
    assert closes_in(found) == 19.5
    found.saw_event(OPENED_S + 15.0)
    assert closes_in(found) == 15.2


def test_what_a_watch_begins_with_is_no_news_but_shall_be_seen_before_long() -> None:
    found = window(Reader.ONLOOKER, state=True)
    for _ in range(100):
        found.saw_event(OPENED_S + 0.1)
    assert closes_in(found) == 10.0
    found.saw_event(OPENED_S + 4.0)
    assert closes_in(found) == 4.2
    assert found.had_event


def test_a_log_is_followed_to_the_end_whatever_it_says() -> None:
    found = window(Reader.FOLLOWER)
    found.saw_event(OPENED_S + 1.0)
    assert closes_in(found) == 19.5


@pytest.mark.parametrize("reader", Reader)
@pytest.mark.parametrize("end_in_s", [-5.0, 0.0, 1.0, 3600.0])
def test_no_window_is_longer_than_the_rules_or_the_caller_allow(reader: Reader, end_in_s: float) -> None:
    found = window(reader, end_in_s=end_in_s, silent_before=3)
    limit_s = min(end_in_s, RULES.longest_s)
    assert closes_in(found) <= limit_s
    for second in range(30):
        found.saw_event(OPENED_S + second)
        assert closes_in(found) <= limit_s


def test_silences_count_in_a_row_and_only_for_the_latest_watches() -> None:
    silences = Silences(capacity=2)
    silences.closed(b"a", silent=True)
    silences.closed(b"a", silent=True)
    assert silences.before(b"a") == 2
    silences.closed(b"a", silent=False)
    assert silences.before(b"a") == 0
    for key in (b"a", b"b", b"c"):
        silences.closed(key, silent=True)
    assert [silences.before(key) for key in (b"a", b"b", b"c")] == [0, 1, 1]


ADDED = b'{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a\\nb"}}}\n'
BOOKMARK = b'{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"7"}}}\n'


def protobuf(event: bytes) -> bytes:
    body = b"k8s\0\n\x0e\n\x02v1\x12\x0aWatchEvent\x12" + bytes([len(event)]) + event
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("content_type", "first", "second"),
    [
        ("application/json", ADDED, BOOKMARK),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", BOOKMARK, ADDED),
        ("text/plain", b"a line\n", b"\n"),
        ("application/vnd.kubernetes.protobuf;stream=watch", protobuf(b"\n\x05ADDED\n\n"), protobuf(b"")),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_a_reply_is_cut_between_events_wherever_it_is_read(
    content_type: str, first: bytes, second: bytes, step: int
) -> None:
    frames = Frames(splitter(content_type))
    sent = first + second + first[: len(first) // 2]
    found = [frame for start in range(0, len(sent), step) for frame in frames.add(sent[start : start + step])]
    assert found == [first, second]
    assert frames.complete() == first + second
    assert frames.whole() == sent


def test_a_format_that_nobody_knows_has_no_complete_event() -> None:
    assert splitter("application/cbor-seq") is None
    frames = Frames(None)
    assert frames.add(ADDED) == []
    assert (frames.whole(), frames.complete()) == (ADDED, b"")


def test_bookmarks_are_told_from_events() -> None:
    assert is_bookmark(BOOKMARK)
    assert is_bookmark(protobuf(b"\n\x08BOOKMARK\x12\x00"))
    assert not is_bookmark(ADDED)
    assert not is_bookmark(b'{"type":"ADDED","object":{"type":"BOOKMARK"}}\n')
    assert not is_bookmark(protobuf(b"\n\x05ADDED\x12" + bytes([90]) + b"x" * 80 + b"\n\x08BOOKMARK"))
