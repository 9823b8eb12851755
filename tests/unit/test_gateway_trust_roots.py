"""Where the gateway takes its roots of trust from: exactly one place, the same text in each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from chalicelib.errors import ParametersUnavailableError
from chalicelib.runtime import GatewayHolder, build_gateway
from chalicelib.settings import settings_from_environment
from chalicelib.trust_roots import InlineRoots, RootsFile, RootsParameter, roots_source
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from infra.local.aws import create_parking_key, create_signing_key
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import FileSigner

PARAMETER = "/daas/trust-roots"


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        ({"DAAS_TRUST_ROOTS_FILE": "roots.json"}, RootsFile(Path("roots.json"))),
        ({"DAAS_TRUST_ROOTS": "{}"}, InlineRoots("{}")),
        ({"DAAS_TRUST_ROOTS_PARAMETER": PARAMETER}, RootsParameter(PARAMETER)),
        ({"DAAS_TRUST_ROOTS": " ", "DAAS_TRUST_ROOTS_FILE": "roots.json"}, RootsFile(Path("roots.json"))),
    ],
)
def test_each_place_is_read(environment: dict[str, str], source: object) -> None:
    assert roots_source(environment) == source


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"DAAS_TRUST_ROOTS": "{}", "DAAS_TRUST_ROOTS_FILE": "roots.json"},
        {"DAAS_TRUST_ROOTS": "{}", "DAAS_TRUST_ROOTS_PARAMETER": PARAMETER},
    ],
)
def test_none_and_several_are_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        roots_source(environment)
    for name in ("DAAS_TRUST_ROOTS_FILE", "DAAS_TRUST_ROOTS ", "DAAS_TRUST_ROOTS_PARAMETER", *environment):
        assert name in str(refusal.value)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, str], str]]:
    """A gateway's settings without its roots, and the roots as JSON, against a simulated AWS."""
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        kms = boto3.client("kms")
        key_id = create_signing_key(kms)
        gateway, executor = KmsSigner(kms, key_id), FileSigner(Ed25519PrivateKey.generate())
        path = tmp_path / "roots.json"
        TrustRoots(
            chain_id="4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S",
            package_original=b"\x01" * 32,
            package_latest=b"\x01" * 32,
            cluster=b"\x02" * 32,
            gateways={gateway.address: gateway.public_key},
            executors={executor.address: executor.public_key},
        ).dump(path)
        environment = {
            "DAAS_SUI_ENDPOINT": "https://fullnode.example:443",
            "DAAS_SINGLE_ENDPOINT": "own-node",
            "DAAS_REQUEST_TABLE": "requests",
            "DAAS_KMS_KEY_ID": key_id,
            "DAAS_PARKING_KEY_ID": create_parking_key(kms),
            "DAAS_EXECUTOR": to_hex(executor.address),
        }
        yield environment, path.read_text(encoding="utf-8")


def test_a_gateway_is_made_from_roots_in_the_environment(deployment: tuple[dict[str, str], str]) -> None:
    environment, roots = deployment
    assert build_gateway(settings_from_environment({**environment, "DAAS_TRUST_ROOTS": roots}))


@pytest.mark.parametrize("kind", ["String", "SecureString"])
def test_a_gateway_is_made_from_a_parameter(deployment: tuple[dict[str, str], str], kind: str) -> None:
    environment, roots = deployment
    boto3.client("ssm").put_parameter(Name=PARAMETER, Value=roots, Type=kind)
    holder = GatewayHolder({**environment, "DAAS_TRUST_ROOTS_PARAMETER": PARAMETER})
    assert holder.gateway() is holder.gateway()


@pytest.mark.parametrize(
    ("name", "text"), [("DAAS_TRUST_ROOTS", "not JSON"), ("DAAS_TRUST_ROOTS", '{"chain_id": "x"}')]
)
def test_wrong_roots_are_refused_by_the_name_of_their_variable(
    deployment: tuple[dict[str, str], str], name: str, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"the trust roots {name}"):
        build_gateway(settings_from_environment({**deployment[0], name: text}))


def test_a_parameter_that_does_not_exist_is_a_configuration_error(
    deployment: tuple[dict[str, str], str],
) -> None:
    with pytest.raises(ConfigurationError, match=r"DAAS_TRUST_ROOTS_PARAMETER: .*ParameterNotFound"):
        build_gateway(settings_from_environment({**deployment[0], "DAAS_TRUST_ROOTS_PARAMETER": PARAMETER}))


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter"),
        EndpointConnectionError(endpoint_url="https://ssm.example"),
    ],
)
def test_a_silent_parameter_store_is_asked_again_by_the_next_request(
    deployment: tuple[dict[str, str], str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    environment, roots = deployment
    boto3.client("ssm").put_parameter(Name=PARAMETER, Value=roots, Type="String")
    holder = GatewayHolder({**environment, "DAAS_TRUST_ROOTS_PARAMETER": PARAMETER})

    class Silent:
        def __init__(self, **_settings: object) -> None: ...

        def client(self, _name: str, **_settings: object) -> Silent:
            return self

        def get_parameter(self, **_request: object) -> None:
            raise error

    with monkeypatch.context() as away:
        away.setattr(boto3.session, "Session", Silent)
        with pytest.raises(ParametersUnavailableError, match="try again"):
            holder.gateway()
    assert holder.gateway()
