"""The gateway's settings and how it is put together: nothing starts half configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from chalicelib.errors import NotConfiguredError
from chalicelib.runtime import GatewayHolder, build_gateway
from chalicelib.settings import settings_from_environment
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from infra.local.aws import create_signing_key
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import FileSigner

COMPLETE = {
    "DAAS_TRUST_ROOTS_FILE": "roots.json",
    "DAAS_SUI_ENDPOINT": "https://fullnode.example:443",
    "DAAS_SINGLE_ENDPOINT": "own-node",
    "DAAS_REQUEST_TABLE": "requests",
    "DAAS_KMS_KEY_ID": "key",
    "DAAS_EXECUTOR": "0x" + "ab" * 32,
}


def test_complete_settings_are_read() -> None:
    settings = settings_from_environment({**COMPLETE, "DAAS_GATEWAY_WAIT_MS": "26000"})
    assert settings.executor == b"\xab" * 32
    assert settings.deadlines.gateway_wait_ms == 26_000


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
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        settings_from_environment({**COMPLETE, name: value})


def test_a_wait_beyond_lambdas_limit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="gateway_wait_ms"):
        settings_from_environment({**COMPLETE, "DAAS_GATEWAY_WAIT_MS": "28000"})


def test_plain_http_is_for_development() -> None:
    environment = {
        **COMPLETE,
        "DAAS_SINGLE_ENDPOINT": "development",
        "DAAS_SUI_ENDPOINT": "http://127.0.0.1:9000",
    }
    assert settings_from_environment(environment).sui_endpoint == "http://127.0.0.1:9000"


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


def test_a_kms_key_that_does_not_exist_is_refused(tmp_path: Path, kms_key: tuple[str, KmsSigner]) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    with pytest.raises(ConfigurationError, match="DAAS_KMS_KEY_ID"):
        build_gateway(settings_from_environment(environment(roots, "absent", executor.address)))


def test_a_gateway_is_made_once(tmp_path: Path, kms_key: tuple[str, KmsSigner]) -> None:
    executor = FileSigner(Ed25519PrivateKey.generate())
    roots = roots_file(tmp_path / "roots.json", kms_key[1], executor)
    holder = GatewayHolder(environment(roots, kms_key[0], executor.address))
    assert holder.gateway() is holder.gateway()
