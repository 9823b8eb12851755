"""The gateway's settings and how it is put together: nothing starts half configured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from chalicelib.errors import NotConfiguredError, SigningUnavailableError
from chalicelib.refusals import log_to_file
from chalicelib.runtime import GatewayHolder, build_gateway
from chalicelib.settings import NAMES, settings_from_environment
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from infra.local.aws import create_parking_key, create_signing_key
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import FileSigner

ROOT = Path(__file__).parents[2]
COMPLETE = {
    "DAAS_TRUST_ROOTS_FILE": "roots.json",
    "DAAS_SUI_ENDPOINT": "https://fullnode.example:443",
    "DAAS_SINGLE_ENDPOINT": "own-node",
    "DAAS_REQUEST_TABLE": "requests",
    "DAAS_KMS_KEY_ID": "key",
    "DAAS_PARKING_KEY_ID": "parking",
    "DAAS_EXECUTOR": "0x" + "ab" * 32,
}


def test_complete_settings_are_read() -> None:
    settings = settings_from_environment({**COMPLETE, "DAAS_GATEWAY_WAIT_MS": "26000"})
    assert settings.executor == b"\xab" * 32
    assert settings.deadlines.gateway_wait_ms == 26_000


def test_every_setting_is_described_to_operators() -> None:
    text = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    settings = text[text.index("\n## Settings") : text.index("\n## API Gateway's own refusals")]
    # Behind the bare prefix there is no name.
    assert set(re.findall(r"DAAS_[A-Z_]+", settings)) - {"DAAS_"} == NAMES


def test_every_setting_that_the_code_reads_is_known_and_no_other() -> None:
    chalicelib = (ROOT / "functions/chalicelib").glob("*.py")
    code = "".join(
        path.read_text(encoding="utf-8") for path in [*chalicelib, ROOT / "k3s_daas/sui/endpoints.py"]
    )
    # Without the list itself.
    read = set(re.findall(r'"(DAAS_[A-Z_]+)"', re.sub(r"\nNAMES = .*?\n}", "", code, flags=re.DOTALL)))
    assert len(read) > 20
    assert read | {f"DAAS_{field.name.upper()}" for field in fields(DeadlineSettings)} == NAMES


def test_limits_on_callers_are_read() -> None:
    limits = {
        **{"DAAS_SOURCE_REQUESTS_PER_SECOND": "7", "DAAS_SOURCE_REFUSALS_PER_MINUTE": "8"},
        **{"DAAS_SEAL_ABORTS": "9", "DAAS_SEAL_ABORT_WINDOW_S": "10", "DAAS_REFUSAL_LOG_FILE": "refusals"},
    }
    settings = settings_from_environment({**COMPLETE, **limits})
    assert (settings.source_requests_per_second, settings.source_refusals_per_minute) == (7, 8)
    assert (settings.seal_aborts, settings.seal_abort_window_s) == (9, 10)
    assert settings.refusal_log_file == Path("refusals")


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        settings_from_environment({key: value for key, value in COMPLETE.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DAAS_SINGLE_ENDPOINT", "yes"),
        ("DAAS_SUI_ENDPOINT", "ftp://node"),
        ("DAAS_SUI_ENDPOINT", "fullnode.example"),
        ("DAAS_SUI_ENDPOINT", "http://fullnode.example"),
        ("DAAS_EXECUTOR", "0x1"),
        ("DAAS_GAS_BUDGET", "0"),
        ("DAAS_GAS_BUDGET", "-1"),
        ("DAAS_ADMISSION_TTL_MS", "1s"),
        ("DAAS_GATEWAY_WAIT_MS", "soon"),
        ("DAAS_SOURCE_REQUESTS_PER_SECOND", "0"),
        ("DAAS_SOURCE_REFUSALS_PER_MINUTE", "many"),
        ("DAAS_SEAL_ABORTS", "-1"),
        ("DAAS_SEAL_ABORT_WINDOW_S", "10m"),
        ("DAAS_BLOB_IPFS_API", "http://127.0.0.1:5001"),
        ("DAAS_BLOB_IPFS_GATEWAY", "https://ipfs.example"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        settings_from_environment({**COMPLETE, name: value})


def test_a_wait_beyond_lambdas_limit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"DAAS_GATEWAY_WAIT_MS.*DAAS_LAMBDA_TIMEOUT_MS"):
        settings_from_environment({**COMPLETE, "DAAS_GATEWAY_WAIT_MS": "28000"})


def test_plain_http_is_for_development() -> None:
    environment = {
        **COMPLETE,
        "DAAS_SINGLE_ENDPOINT": "development",
        "DAAS_SUI_ENDPOINT": "http://127.0.0.1:9000",
    }
    assert settings_from_environment(environment).endpoints.urls == ("http://127.0.0.1:9000",)


def test_the_sentence_goes_to_the_log_and_not_to_the_caller() -> None:
    logged: list[str] = []
    holder = GatewayHolder({}, logged.append)
    with pytest.raises(NotConfiguredError) as refusal:
        holder.gateway()
    assert "DAAS_" not in str(refusal.value)
    assert "DAAS_SINGLE_ENDPOINT" in json.loads(logged[0])["reason"]


@pytest.fixture
def kms_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, KmsSigner]]:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        client = boto3.client("kms")
        key_id = create_signing_key(client)
        yield key_id, KmsSigner(client, key_id)


def roots_file(path: Path, gateway: KmsSigner | FileSigner, executor: FileSigner) -> Path:
    TrustRoots(
        chain_id="4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S",
        package_original=b"\x01" * 32,
        package_latest=b"\x01" * 32,
        cluster=b"\x02" * 32,
        gateways={gateway.address: gateway.public_key},
        executors={executor.address: executor.public_key},
    ).dump(path)
    return path


def environment(roots: Path, key_id: str, executor: bytes) -> dict[str, str]:
    return {
        **COMPLETE,
        "DAAS_TRUST_ROOTS_FILE": str(roots),
        "DAAS_KMS_KEY_ID": key_id,
        "DAAS_PARKING_KEY_ID": create_parking_key(boto3.client("kms")),
        "DAAS_EXECUTOR": to_hex(executor),
    }


def test_a_kms_key_that_is_no_pinned_gateway_is_refused(
    tmp_path: Path, kms_key: tuple[str, KmsSigner]
) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", FileSigner(Ed25519PrivateKey.generate()), executor)
    with pytest.raises(ConfigurationError, match="DAAS_KMS_KEY_ID"):
        build_gateway(settings_from_environment(environment(roots, kms_key[0], executor.address)))


def test_an_executor_that_is_not_pinned_is_refused(tmp_path: Path, kms_key: tuple[str, KmsSigner]) -> None:
    roots = roots_file(tmp_path / "roots.json", kms_key[1], FileSigner(Ed25519PrivateKey.generate()))
    with pytest.raises(ConfigurationError, match="DAAS_EXECUTOR"):
        build_gateway(settings_from_environment(environment(roots, kms_key[0], b"\x09" * 32)))


def test_a_missing_region_is_named(
    tmp_path: Path, kms_key: tuple[str, KmsSigner], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    settings = settings_from_environment(environment(roots, kms_key[0], executor.address))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigurationError, match=r"set AWS_REGION \(or AWS_DEFAULT_REGION\)"):
        build_gateway(settings)


def test_a_kms_key_that_does_not_exist_is_refused(tmp_path: Path, kms_key: tuple[str, KmsSigner]) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    with pytest.raises(ConfigurationError, match=r"DAAS_KMS_KEY_ID: .*NotFoundException: name a key"):
        build_gateway(settings_from_environment(environment(roots, "absent", executor.address)))


@pytest.mark.parametrize("asked", ["KmsSigner", "ParkingKeys.from_kms"])
def test_a_kms_that_throttles_is_asked_again_by_the_next_request(
    tmp_path: Path, kms_key: tuple[str, KmsSigner], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Many functions start at once when many callers come."""
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    holder = GatewayHolder(environment(roots, kms_key[0], executor.address))

    def throttled(*_: object) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetPublicKey")

    with monkeypatch.context() as busy:
        busy.setattr(f"chalicelib.runtime.{asked}", throttled)
        with pytest.raises(SigningUnavailableError, match=r"ThrottlingException\): try again"):
            holder.gateway()
    assert holder.gateway()


def test_a_parking_key_that_computes_no_mac_is_refused(
    tmp_path: Path, kms_key: tuple[str, KmsSigner]
) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    settings = environment(roots, kms_key[0], executor.address)
    with pytest.raises(ConfigurationError, match="DAAS_PARKING_KEY_ID"):
        build_gateway(settings_from_environment({**settings, "DAAS_PARKING_KEY_ID": kms_key[0]}))


def test_a_gateway_is_made_once(tmp_path: Path, kms_key: tuple[str, KmsSigner]) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    holder = GatewayHolder(environment(roots, kms_key[0], executor.address))
    assert holder.gateway() is holder.gateway()


def test_a_log_of_refusals_that_cannot_be_written_is_named(
    tmp_path: Path, kms_key: tuple[str, KmsSigner]
) -> None:
    key_id, gateway = kms_key
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", gateway, executor)
    variables = environment(roots, key_id, executor.address)
    absent = str(tmp_path / "absent" / "refusals.log")
    with pytest.raises(ConfigurationError, match="DAAS_REFUSAL_LOG_FILE"):
        build_gateway(settings_from_environment({**variables, "DAAS_REFUSAL_LOG_FILE": absent}))


def test_a_log_in_a_file_has_one_line_for_each_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "refusals.log"
    path.write_text("before\n")
    log = log_to_file(path)
    log("one")
    log("two")
    assert path.read_text() == "before\none\ntwo\n"
