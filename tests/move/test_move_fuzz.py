"""Arbitrary calls of every public function: the contract accepts what the rules allow, and nothing else."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest

from k3s_daas.aborts import ABORTS
from tests.fuzz.campaign import RULES, Campaign, Report
from tests.fuzz.functions import public_functions
from tests.fuzz.model import ARGUMENT
from tests.fuzz.stage import SUCCESS

CALLS = 2_000
SEED = int(os.environ.get("FUZZ_SEED", "20251"))
"""Always the same calls in a test run; `make fuzz` makes others each time."""
MET = 40
"""So many of the aborts are met, at least."""


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    campaign = Campaign(SEED)
    yield campaign.run(CALLS)
    campaign.close()


@pytest.mark.timeout(300)
def test_contract_and_model_agree_about_every_call(report: Report) -> None:
    assert report.calls == CALLS
    assert report.findings == [], "\n".join(report.lines())


def test_calls_end_in_success_a_named_abort_or_a_malformed_argument(report: Report) -> None:
    named = {name for codes in ABORTS.values() for name in codes.values()}
    for counted in report.endings.values():
        assert counted.keys() <= named | {SUCCESS, ARGUMENT}


def test_every_function_was_called_with_good_and_with_bad_arguments(report: Report) -> None:
    assert report.endings.keys() == RULES.keys() == public_functions().keys()
    never = {path for path, counted in report.endings.items() if counted[SUCCESS] == 0}
    # Only a cluster of an earlier version can be migrated, and there is one at most.
    assert never <= {"cluster::migrate"}
    assert all(counted.total() > counted[SUCCESS] for counted in report.endings.values())
    assert len(report.aborts) >= MET


def test_the_same_seed_makes_the_same_calls() -> None:
    reports = []
    for _ in range(2):
        campaign = Campaign(3)
        reports.append(dataclasses.replace(campaign.run(80), seconds=0.0))
        campaign.close()
    assert reports[0] == reports[1]
