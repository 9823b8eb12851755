"""What `make chaos` calls lost, doubled or untrue; everything else it lets pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.sealing import SealingPrivateKey
from tests.chaos.__main__ import Outcome, conclude
from tests.chaos.commands import CONFIG_MAPS, Sent, Wanted, judge
from tests.chaos.scale import REPORT, tallied
from tests.chaos.tally import Tally, table
from tests.integration.listener_stage import Asked

CREATE = Wanted("POST", CONFIG_MAPS, 201)
READ = Wanted("GET", f"{CONFIG_MAPS}/x", 200)
UNKNOWN, NOTHING, RUN = "outcome unknown: look", "nothing was run", "the command was run"


def judged(wanted: Wanted, status: int | None, runs: int, message: str = "") -> Tally:
    tally, sent = Tally("a fault"), Sent(wanted, Asked(bytes(16), bytes(32), SealingPrivateKey.generate()))
    if status is not None:
        sent.answer = ResponseEnvelope(status, (), json.dumps({"message": message}).encode())
    judge(sent, runs, tally)
    return tally


@pytest.mark.parametrize(
    ("wanted", "status", "runs", "message"),
    [
        (CREATE, 201, 1, ""),
        (CREATE, 500, 0, UNKNOWN),
        (CREATE, 500, 1, UNKNOWN),
        (CREATE, 502, 1, RUN),
        (CREATE, 503, 0, NOTHING),
        (CREATE, 504, 0, NOTHING),
        (READ, 200, 2, ""),
        (READ, 504, 1, ""),
    ],
)
def test_what_is_true_passes(wanted: Wanted, status: int, runs: int, message: str) -> None:
    tally = judged(wanted, status, runs, message)
    tally.check()
    assert tally.executed_once + tally.unknown + sum(tally.refused.values()) == tally.commands == 1


@pytest.mark.parametrize(
    ("status", "runs", "message"),
    [
        (201, 0, ""),
        (201, 2, ""),
        (409, 1, "already exists"),
        (500, 1, "failed"),
        (500, 2, UNKNOWN),
        (502, 0, RUN),
        (503, 1, NOTHING),
        (504, 1, NOTHING),
        (None, 0, ""),
        (None, 1, ""),
    ],
)
def test_what_is_lost_doubled_or_untrue_fails_the_run(
    status: int | None, runs: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judged(CREATE, status, runs, message)
    assert (found.lost, found.doubled) == (status is None, runs > 1)
    report = tmp_path / "report"
    monkeypatch.setenv(REPORT, str(report))
    with pytest.raises(AssertionError, match="run"), tallied("a fault") as tally:
        tally.violations = found.violations
    [line] = report.read_text().splitlines()
    assert "1 VIOLATIONS" in table([Tally.decode(line)])[-1]


def test_the_exit_code_tells_whether_a_fault_was_survived(capsys: pytest.CaptureFixture[str]) -> None:
    survived, failed = Outcome(1, [Tally("one")], 0), Outcome(2, [Tally("two")], 1)
    assert conclude([survived], 7) == 0
    assert conclude([survived, failed], 7) == 1
    assert "FAILED: 2 (--seed 7)" in capsys.readouterr().out
