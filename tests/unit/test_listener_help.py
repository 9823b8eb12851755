"""`--help` and the operators' table: every setting, once, with the default that counts, from one place."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from k3s_daas.sui.endpoints import SuiEndpoints
from listener_service.__main__ import main
from listener_service.keys.settings import KeySettings
from listener_service.settings import ListenerSettings
from listener_service.settings_table import GROUPS, Setting, markdown

ROOT = Path(__file__).parents[2]
SETTINGS = {setting.name: setting for group in GROUPS for setting in group.settings}
_NAME = re.compile(r"DAAS_[A-Z_]+", re.ASCII)


def read_names() -> set[str]:
    """Whatever looks like a setting's name, alone, in a string of the listener's code."""
    files = [*(ROOT / "listener_service").rglob("*.py"), ROOT / "k3s_daas/sui/endpoints.py"]
    found: set[str] = set()
    for path in files:
        if path.name == "settings_table.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
                found.add(node.value)
    return found


def test_every_setting_that_the_code_reads_is_explained_and_no_other() -> None:
    assert read_names() | {"KUBECONFIG"} == set(SETTINGS)


def test_the_defaults_are_those_of_the_code() -> None:
    defaults = ListenerSettings(
        trust_roots_file=Path(),
        endpoints=SuiEndpoints(()),
        keys=KeySettings(),
        kubeconfig=None,
        listener_namespace="",
    )
    stated = {
        "DAAS_KEY_ROTATION_SECONDS": defaults.keys.rotation_s,
        "DAAS_EVENT_SOURCE": "grpc" if defaults.websockets is None else "websocket",
        "DAAS_GAS_BUDGET": defaults.gas_budget,
        "DAAS_CONCURRENCY": defaults.concurrency,
        "DAAS_OPEN_CALLS": defaults.open_calls,
        "DAAS_LEASE_SECONDS": defaults.lease_s,
        "DAAS_READY_LAG_SECONDS": defaults.ready_lag_s,
        "DAAS_DRAIN_MS": defaults.drain_ms,
        "DAAS_FINISH_MS": defaults.finish_ms,
        "DAAS_LOG_LEVEL": defaults.log_level,
    }
    told = {name: setting.default for name, setting in SETTINGS.items() if _has_default(setting)}
    assert told == {name: str(value) for name, value in stated.items()}


def test_what_is_not_set_is_what_the_dataclass_says(tmp_path: Path) -> None:
    """The defaults above are also those that an environment without the variables has."""
    settings = ListenerSettings.from_environment(
        {
            "DAAS_TRUST_ROOTS_FILE": str(tmp_path / "roots.json"),
            "DAAS_LISTENER_NAMESPACE": "daas-system",
            "DAAS_SUI_ENDPOINT": "http://127.0.0.1:9",
            "DAAS_SINGLE_ENDPOINT": "development",
            "DAAS_SIGNING_KMS_KEY_ID": "alias/executor",
            "DAAS_WRAPPING_KMS_KEY_ID": "alias/wrapping",
        }
    )
    expected = ListenerSettings(
        trust_roots_file=settings.trust_roots_file,
        endpoints=settings.endpoints,
        keys=KeySettings("alias/executor", wrapping_kms_key_id="alias/wrapping"),
        kubeconfig=None,
        listener_namespace="daas-system",
    )
    assert settings == expected


def _has_default(setting: Setting) -> bool:
    return setting.default not in ("required", "none")


def test_the_operators_table_is_the_same() -> None:
    assert markdown() in (ROOT / "docs/operations.md").read_text(), (
        "docs/operations.md: put what listener_service.settings_table.markdown() returns where the table is"
    )


def test_help_needs_no_setting_and_lists_them_all() -> None:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("DAAS_", "AWS_", "KUBE"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "listener_service", "--help"],
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    for setting in SETTINGS.values():
        assert f"\n  {setting.name}  (" in done.stdout
        assert setting.meaning.split()[0] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert "exit codes:" in done.stdout


def test_an_argument_that_it_does_not_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main({}, ["--verbose"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --verbose" in capsys.readouterr().err
