"""`daas rbac sync` again and again: in the foreground, and as a CronJob in the listener's image."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from k3s_daas.admin.kube_cluster import KubeClusterError
from k3s_daas.admin.listener_rbac import IMPERSONATOR
from k3s_daas.cli import rbac_commands
from k3s_daas.cli.operator_parser import add_operator_commands
from k3s_daas.errors import ConfigurationError, LedgerUnavailableError

MANIFEST = Path(__file__).parents[2] / "infra/kubernetes/rbac-sync.yaml"


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_operator_commands(parser.add_subparsers(dest="command"))
    return parser.parse_args(["rbac", "sync", *words])


class Stop(Exception):  # noqa: N818  ends a loop that has no end
    pass


async def test_a_round_that_fails_is_told_and_the_next_one_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = iter([LedgerUnavailableError("the chain is away"), KubeClusterError("refused"), None, Stop()])
    slept: list[float] = []

    async def sync(*_: Any) -> None:
        outcome = next(rounds)
        if outcome is not None:
            raise outcome

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(rbac_commands, "_sync", sync)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(Stop):
        await rbac_commands.run_sync(parsed("--watch", "90s"), lambda _: pytest.fail("not asked"))
    assert slept == [90.0, 90.0, 90.0]
    told = capsys.readouterr().err
    assert "not synchronised: the chain is away" in told
    assert "not synchronised: refused" in told


async def test_what_needs_a_person_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sync(*_: Any) -> None:
        raise ConfigurationError("the history was pruned")

    monkeypatch.setattr(rbac_commands, "_sync", sync)
    with pytest.raises(ConfigurationError):
        await rbac_commands.run_sync(parsed("--watch", "90s"), lambda _: pytest.fail("not asked"))
    with pytest.raises(ConfigurationError, match="--install"):
        await rbac_commands.run_sync(
            parsed("--watch", "90s", "--install", "roles.yaml"), lambda _: pytest.fail("not asked")
        )


def test_the_cron_job_runs_what_there_is_with_no_more_rights_than_it_needs() -> None:
    by_kind = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}
    pod = by_kind["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"][:2] == ["rbac", "sync"]
    assert parsed(*container["args"][2:]).yes
    assert container["securityContext"]["readOnlyRootFilesystem"]
    [rule] = by_kind["ClusterRole"]["rules"]
    assert rule["resourceNames"] == [IMPERSONATOR]
    assert set(rule["verbs"]) == {"get", "patch", "escalate"}
    assert by_kind["Namespace"]["metadata"]["name"] != "daas-system", "not where the listener is"


def test_the_command_needs_no_local_stack() -> None:
    """As in the container, which has none."""
    script = "import sys; sys.modules['infra'] = None; from k3s_daas.cli.daas import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "rbac", "sync", "--help"], capture_output=True, text=True, check=True
    )
    assert "--quorum" in done.stdout
