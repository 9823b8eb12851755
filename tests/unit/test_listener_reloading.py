"""Loading credentials beside those who use them: once at a time, not again at once, and never silently."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from k3s_daas.errors import ConfigurationError
from listener_service.reloading import Reloading


def soon() -> float:
    return time.monotonic() + 20


def test_whoever_comes_meanwhile_waits_for_the_same_run() -> None:
    go, runs = threading.Event(), []

    def load() -> None:
        runs.append(1)
        assert go.wait(20)

    reloading = Reloading(load, pause_s=0)
    for _ in range(3):
        reloading.begin()
        reloading.wait(soon(), patience_s=0.01)
    go.set()
    reloading.wait(soon())
    assert len(runs) == 1
    reloading.begin()
    reloading.wait(soon())
    assert len(runs) == 2


def test_it_is_not_due_again_within_the_pause_but_may_be_asked_for() -> None:
    runs: list[int] = []
    reloading = Reloading(lambda: runs.append(1), pause_s=3_600)
    for begin in (reloading.begin_if_due, reloading.begin_if_due, reloading.begin):
        begin()
        reloading.wait(soon())
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("error", "level", "message"),
    [
        (ConfigurationError("no plugin"), logging.WARNING, "credentials for the API server not renewed"),
        (ValueError("x"), logging.ERROR, "renewing the credentials for the API server failed inside"),
    ],
)
def test_what_fails_is_logged_and_may_be_tried_again(
    error: Exception, level: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [error]

    def load() -> None:
        if errors:
            raise errors.pop()

    reloading = Reloading(load, pause_s=0)
    for _ in range(2):
        reloading.begin_if_due()
        reloading.wait(soon())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, message)]
    assert errors == []
