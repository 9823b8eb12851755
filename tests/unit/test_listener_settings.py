"""Settings: every mistake is one sentence that names the variable, and exit code 1."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from k3s_daas.admin.files import write_new_secret
from k3s_daas.errors import ConfigurationError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.key_files import encrypted_key, load_encrypted, new_seed
from k3s_daas.sui.signers import FileSigner
from listener_service.__main__ import main
from listener_service.logs import JsonFormatter, request_id_var
from listener_service.settings import ListenerIdentity, ListenerSettings
from tests.unit.listener_world import World

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A complete, sound environment whose endpoint nobody serves."""
    world = World()
    write_new_secret(tmp_path / "passphrase", PASSPHRASE + "\n")
    write_new_secret(tmp_path / "executor.key", encrypted_key(new_seed(), PASSPHRASE.encode()))
    signer = load_encrypted(tmp_path / "executor.key", PASSPHRASE.encode())
    executors = {signer.address: signer.public_key}
    roots = world.roots
    TrustRoots(
        roots.chain_id,
        roots.package_original,
        roots.package_latest,
        roots.cluster,
        roots.gateways,
        executors,
    ).dump(tmp_path / "roots.json")
    (tmp_path / "kubeconfig").write_text("")
    return {
        "DAAS_TRUST_ROOTS_FILE": str(tmp_path / "roots.json"),
        "DAAS_SUI_ENDPOINT": "http://127.0.0.1:9",
        "DAAS_SINGLE_ENDPOINT": "development",
        "DAAS_EXECUTOR_KEY_FILE": str(tmp_path / "executor.key"),
        "DAAS_KEY_PASSPHRASE_FILE": str(tmp_path / "passphrase"),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "DAAS_LISTENER_NAMESPACE": "daas-system",
    }


def test_a_complete_environment_is_read(environment: dict[str, str]) -> None:
    settings = ListenerSettings.from_environment(environment)
    identity = ListenerIdentity.load(settings)
    assert settings.listener_namespace == "daas-system"
    assert identity.signer.address in identity.roots.executors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DAAS_TRUST_ROOTS_FILE", None),
        ("DAAS_SUI_ENDPOINT", None),
        ("DAAS_SUI_ENDPOINT", "127.0.0.1:9000"),
        ("DAAS_SUI_ENDPOINT", "ftp://x:1"),
        ("DAAS_SINGLE_ENDPOINT", None),
        ("DAAS_SINGLE_ENDPOINT", "yes"),
        ("DAAS_EXECUTOR_KEY_FILE", ""),
        ("DAAS_KEY_PASSPHRASE_FILE", None),
        ("DAAS_SIGNING_KMS_KEY_ID", "alias/executor"),
        ("DAAS_PLAIN_EXECUTOR_KEY", "yes"),
        ("DAAS_KEY_ROTATION_SECONDS", "1"),
        ("DAAS_KEY_ROTATION_SECONDS", "daily"),
        ("DAAS_KEY_ROTATION_SECONDS", "9" * 5000),
        ("DAAS_LEASE_SECONDS", "1"),
        ("DAAS_LEASE_SECONDS", "9" * 5000),
        ("DAAS_LISTENER_NAMESPACE", "Not_A_Namespace"),
        ("DAAS_CONCURRENCY", "0"),
        ("DAAS_CONCURRENCY", "many"),
        ("DAAS_QUEUE_BYTES", "1000"),
        ("DAAS_QUEUE_BYTES", "64Mi"),
        ("DAAS_DRAIN_MS", "-1"),
        ("DAAS_GAS_BUDGET", "1"),
        ("DAAS_RESUME_AFTER_CHECKPOINT", "x"),
        ("DAAS_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str | None, environment: dict[str, str]) -> None:
    environment.pop(name, None)
    if value is not None:
        environment[name] = value
    with pytest.raises(ConfigurationError, match=name) as caught:
        ListenerSettings.from_environment(environment)
    assert "\n" not in str(caught.value)


def test_a_signing_key_that_is_not_pinned_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    write_new_secret(tmp_path / "other.key", encrypted_key(new_seed(), PASSPHRASE.encode()))
    wrong = environment | {"DAAS_EXECUTOR_KEY_FILE": str(tmp_path / "other.key")}
    with pytest.raises(ConfigurationError, match="DAAS_EXECUTOR_KEY_FILE"):
        ListenerIdentity.load(ListenerSettings.from_environment(wrong))


def test_a_plain_key_is_for_development(environment: dict[str, str], tmp_path: Path) -> None:
    FileSigner.generate(tmp_path / "plain.key")
    plain = environment | {"DAAS_EXECUTOR_KEY_FILE": str(tmp_path / "plain.key")}
    with pytest.raises(ConfigurationError, match="daas key encrypt"):
        ListenerIdentity.load(ListenerSettings.from_environment(plain))
    allowed = plain | {"DAAS_PLAIN_EXECUTOR_KEY": "development"}
    with pytest.raises(ConfigurationError, match="is no executor"):
        ListenerIdentity.load(ListenerSettings.from_environment(allowed))


@pytest.mark.parametrize(
    "changes",
    [
        {"DAAS_EXECUTOR_KEY_FILE": ""},
        {"DAAS_EXECUTOR_KEY_FILE": "", "DAAS_SIGNING_KMS_KEY_ID": "x", "DAAS_WRAPPING_KMS_KEY_ID": "y"},
        {"DAAS_PLAIN_EXECUTOR_KEY": "development", "DAAS_WRAPPING_KMS_KEY_ID": "y"},
        {"DAAS_KEY_PASSPHRASE_FILE": "", "DAAS_WRAPPING_KMS_KEY_ID": "y"},
    ],
)
def test_each_key_comes_from_one_place(changes: dict[str, str], environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"DAAS_.*KEY"):
        ListenerSettings.from_environment(environment | changes)


@pytest.mark.parametrize(
    "name", ["DAAS_TRUST_ROOTS_FILE", "DAAS_EXECUTOR_KEY_FILE", "DAAS_KEY_PASSPHRASE_FILE"]
)
@pytest.mark.parametrize("content", [None, b"\0\xff" * 50])
def test_a_file_that_holds_no_key_is_told_by_its_setting(
    name: str, content: bytes | None, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "junk"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=rf"^DAAS_EXECUTOR_KEY_FILE: |^{name}: .*junk") as caught:
        ListenerIdentity.load(ListenerSettings.from_environment(environment | {name: str(path)}))
    assert "\n" not in str(caught.value)


def test_a_passphrase_that_others_can_read_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "passphrase").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        ListenerIdentity.load(ListenerSettings.from_environment(environment))


def test_plain_http_is_for_development(environment: dict[str, str]) -> None:
    own = environment | {"DAAS_SINGLE_ENDPOINT": "own-node"}
    with pytest.raises(ConfigurationError, match="DAAS_SUI_ENDPOINT must be https"):
        ListenerSettings.from_environment(own)
    secured = own | {"DAAS_SUI_ENDPOINT": "https://node.example"}
    assert ListenerSettings.from_environment(secured).endpoints.urls == ("https://node.example",)


def test_a_wrong_setting_ends_the_process_with_one_sentence(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del environment["DAAS_LISTENER_NAMESPACE"]
    assert main(environment) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "DAAS_LISTENER_NAMESPACE" in captured.err


def test_the_process_needs_no_aws_setting_and_shows_no_trace(environment: dict[str, str]) -> None:
    """Starts the real module; its kubeconfig is empty, so it ends before it connects anywhere."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-m", "listener_service"],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("listener: KUBECONFIG ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_log_lines_are_json_with_the_request_id() -> None:
    fields = {"name": "listener_service", "msg": "done %s", "args": ("x",), "status": 200}
    record = logging.makeLogRecord(fields)
    token = request_id_var.set("abc")
    try:
        line = json.loads(JsonFormatter().format(record))
    finally:
        request_id_var.reset(token)
    assert (line["message"], line["status"], line["request_id"]) == ("done x", 200, "abc")
    assert "request_id" not in json.loads(JsonFormatter().format(record))
