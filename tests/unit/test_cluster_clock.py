"""The API server's time, from the `Date` of its replies: never later than known, never earlier than known."""

from __future__ import annotations

import random
import sys
import time

import pytest

from listener_service.clock import ClusterClock, TimeUnknownError, boot_s

SERVER_MS = 1_800_000_000_000


class Machine:
    """A machine and an API server with clocks of their own; `lead_ms` is how far the server's is ahead."""

    def __init__(self) -> None:
        self.boot_s = 500.0
        self.lead_ms = SERVER_MS - 500_000
        self.clock = ClusterClock(lambda: self.boot_s)

    @property
    def server_ms(self) -> float:
        return self.boot_s * 1000 + self.lead_ms

    def exchange(self, there_s: float, back_s: float) -> None:
        sent_s = self.boot_s
        self.boot_s += there_s
        date_ms = int(self.server_ms) // 1000 * 1000
        self.boot_s += back_s
        self.clock.observe(date_ms, sent_s=sent_s, received_s=self.boot_s)


def test_before_the_first_reply_there_is_no_time() -> None:
    with pytest.raises(TimeUnknownError):
        ClusterClock(lambda: 1.0).now_ms()


@pytest.mark.parametrize("seed", range(20))
def test_the_servers_time_is_always_between_the_bounds(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311  no secret
    machine = Machine()
    machine.lead_ms += choose.randrange(1000)
    for _ in range(50):
        machine.exchange(choose.uniform(0, 0.05), choose.uniform(0, 0.05))
        machine.boot_s += choose.uniform(0, 20)
        assert machine.clock.earliest_ms() - 1 <= machine.server_ms <= machine.clock.now_ms() + 1
    assert machine.clock.now_ms() - machine.clock.earliest_ms() < 400


def test_one_reply_is_good_for_a_second() -> None:
    machine = Machine()
    machine.exchange(0.01, 0.01)
    assert machine.clock.now_ms() - machine.clock.earliest_ms() <= 1_021


def test_time_runs_on_while_the_machine_sleeps() -> None:
    machine = Machine()
    machine.exchange(0.01, 0.01)
    before = machine.clock.now_ms()
    machine.boot_s += 3600
    assert machine.clock.now_ms() - before >= 3_600_000


@pytest.mark.parametrize("jump_ms", [-90_000, 90_000])
def test_a_clock_that_was_set_at_the_server_is_followed_at_once(jump_ms: int) -> None:
    machine = Machine()
    for _ in range(5):
        machine.exchange(0.01, 0.01)
    machine.lead_ms += jump_ms
    machine.exchange(0.01, 0.01)
    assert machine.clock.earliest_ms() <= machine.server_ms <= machine.clock.now_ms()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells this clock from the monotonic one")
def test_the_clock_of_leases_and_last_questions_runs_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 77.0}.__getitem__)
    assert boot_s() == 77.0
