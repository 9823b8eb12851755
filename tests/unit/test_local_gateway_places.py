"""The local gateway runs a bounded number of functions at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.places import at_most

REQUEST = HttpRequest("GET", "/version", (), b"")


def test_further_requests_wait_for_a_place() -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()
    inside: list[int] = []

    def answer(request: HttpRequest) -> HttpReply:
        inside.append(1)
        entered.release()
        assert go_on.wait(10)
        return HttpReply(200, (), b"")

    limited = at_most(3, answer)
    with ThreadPoolExecutor(8) as threads:
        replies = [threads.submit(limited, REQUEST) for _ in range(8)]
        for _ in range(3):
            assert entered.acquire(timeout=10)
        assert not entered.acquire(timeout=0.05)
        go_on.set()
        assert [reply.result(10).status for reply in replies] == [200] * 8
    assert len(inside) == 8


def test_a_failing_function_gives_its_place_back() -> None:
    def fail(request: HttpRequest) -> HttpReply:
        raise RuntimeError("a defect")

    limited = at_most(1, fail)
    failures = 0
    for _ in range(2):
        try:
            limited(REQUEST)
        except RuntimeError:
            failures += 1
    assert failures == 2
