"""The listener's keys in KMS (moto's): wrapping, signing, and KMS that is away or refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from moto import mock_aws

from infra.local.aws import create_signing_key, create_wrapping_key
from k3s_daas.contract.calls import Response
from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.ledger import ExecutionOutcome
from k3s_daas.sui.signers import verify_personal_message, verify_signature
from listener_service.answer_transactions import AnswerTransactions
from listener_service.keys.aws import KmsWrapping, kms_client, open_kms_signer
from listener_service.keys.errors import (
    KeyServiceAwayError,
    KeyServiceRefusesError,
    KeyUnusableError,
    SignatureMissingError,
)
from listener_service.keys.opening import open_keys
from listener_service.keys.settings import KeySettings
from listener_service.outbox import Outbox
from tests.unit.contract_world import SEAL_REF
from tests.unit.listener_world import NOW_MS, FrozenClock, ScriptedLedger, World

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CONTEXT = {"cluster": "0xc", "executor": "0xe", "generation": "1", "key": "k"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[KMSClient]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with mock_aws():
        yield kms_client()


class Failing:
    """A client of which every call fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def fail(**_: object) -> None:
            raise self.error

        return fail


def refused(code: str, status: int = 400) -> ClientError:
    reply = {
        "Error": {"Code": code, "Message": "secret words"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(reply, "Decrypt")  # type: ignore[arg-type] # the fields that count


@pytest.fixture
def no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    return monkeypatch


def test_a_missing_region_is_named(no_region: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"set AWS_REGION \(or AWS_DEFAULT_REGION\)"):
        kms_client()


@pytest.mark.parametrize(
    ("first", "second", "used"),
    [("eu-central-1", "", "eu-central-1"), ("", "us-east-1", "us-east-1"), ("sa-east-1", "x", "sa-east-1")],
)
def test_the_region_comes_from_either_variable(
    first: str, second: str, used: str, no_region: pytest.MonkeyPatch
) -> None:
    """boto3 by itself reads the second one only."""
    no_region.setenv("AWS_REGION", first)
    no_region.setenv("AWS_DEFAULT_REGION", second)
    assert kms_client().meta.region_name == used


async def test_a_wrapped_key_opens_with_its_context_only(client: KMSClient) -> None:
    wrapping = KmsWrapping(client, create_wrapping_key(client))
    wrapped = await wrapping.wrap(bytes(range(96)), CONTEXT)
    assert bytes(range(96)) not in wrapped
    assert await wrapping.unwrap(wrapped, CONTEXT) == bytes(range(96))
    for context in (CONTEXT | {"generation": "2"}, CONTEXT | {"key": "other"}, {}):
        with pytest.raises(KeyUnusableError, match="InvalidCiphertext"):
            await wrapping.unwrap(wrapped, context)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused("ThrottlingException"), KeyServiceAwayError),
        (refused("KeyUnavailableException", 500), KeyServiceAwayError),
        (refused("Whatever", 503), KeyServiceAwayError),
        (EndpointConnectionError(endpoint_url="https://secret words"), KeyServiceAwayError),
        (NoCredentialsError(), KeyServiceAwayError),
        (refused("InvalidCiphertextException"), KeyUnusableError),
        (refused("IncorrectKeyException"), KeyUnusableError),
        (refused("AccessDeniedException"), KeyServiceRefusesError),
        (refused("DisabledException"), KeyServiceRefusesError),
        (refused("ExpiredTokenException"), KeyServiceRefusesError),
        (refused("NeverHeardOf"), KeyServiceRefusesError),
    ],
)
async def test_what_passes_by_itself_is_told_from_what_needs_a_person(
    error: Exception, expected: type[Exception]
) -> None:
    client: Any = Failing(error)
    with pytest.raises(expected) as caught:
        await KmsWrapping(client, "key").unwrap(b"wrapped", CONTEXT)
    assert type(caught.value) is expected
    assert "secret words" not in str(caught.value)
    assert caught.value.__cause__ is None
    if expected is not KeyUnusableError:
        with pytest.raises(expected):
            await KmsWrapping(client, "key").wrap(b"secret", CONTEXT)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDeniedException", "allow the AWS role"),
        ("ExpiredTokenException", "renew the AWS credentials"),
        ("DisabledException", "enable that key"),
        ("NotFoundException", "name a key"),
    ],
)
def test_a_signature_that_kms_refuses_is_no_defect_and_says_what_to_do(
    client: KMSClient, code: str, remedy: str
) -> None:
    signer = open_kms_signer(client, create_signing_key(client))
    inner: Any = signer._signer  # its client is what fails
    inner._client = Failing(refused(code))
    with pytest.raises(SignatureMissingError, match=f"KMS did not sign: KMS answered {code}: {remedy}"):
        signer.sign(b"transaction")


def test_the_signing_key_signs_and_its_absence_is_like_the_chains(client: KMSClient) -> None:
    signer = open_kms_signer(client, create_signing_key(client))
    verify_signature(b"transaction", signer.sign(b"transaction"), signer.public_key)
    verify_personal_message(b"message", signer.sign_personal_message(b"message"), signer.public_key)
    inner: Any = signer._signer  # its client is what fails
    inner._client = Failing(EndpointConnectionError(endpoint_url="x"))
    for sign in (signer.sign, signer.sign_personal_message):
        with pytest.raises(LedgerUnavailableError, match="KMS did not sign"):
            sign(b"transaction")


async def test_an_answer_waits_until_kms_signs_again(
    client: KMSClient, caplog: pytest.LogCaptureFixture
) -> None:
    signer = open_kms_signer(client, create_signing_key(client))
    inner: Any = signer._signer  # its client is what fails
    failures = [refused("AccessDeniedException"), refused("ThrottlingException"), NoCredentialsError()]

    class Recovering:
        def sign(self, **arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return client.sign(**arguments)

    inner._client = Recovering()
    stored: list[tuple[bytes, bytes]] = []

    class Endpoint(ScriptedLedger):
        async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
            stored.append((transaction, signature))
            return await super().execute(transaction, signature)

    ledger = Endpoint()
    world = World(ledger=ledger)
    transactions = AnswerTransactions(ledger, world.roots, signer, gas_budget=50_000_000)
    outbox = Outbox(ledger, transactions, FrozenClock())
    response = Response(bytes(16), 200, (b"sealed",))
    outcome = await asyncio.wait_for(outbox.deliver(response, SEAL_REF, NOW_MS + 1_000), 10)
    assert outcome is not None
    assert outcome.success
    [(transaction, signature)] = stored
    verify_signature(transaction, signature, signer.public_key)
    assert [vars(line)["error"].partition(": ")[2] for line in caplog.records] == [
        "there are no AWS credentials: give this process some",
        "KMS answered ThrottlingException",
        "KMS answered AccessDeniedException: allow the AWS role of this process to use that key",
    ]


@pytest.mark.parametrize("code", ["NotFoundException", "AccessDeniedException"])
def test_a_signing_key_that_kms_refuses_is_a_sentence(code: str) -> None:
    client: Any = Failing(refused(code))
    with pytest.raises(
        ConfigurationError, match=f"DAAS_SIGNING_KMS_KEY_ID cannot be used: KMS answered {code}: "
    ):
        open_kms_signer(client, "key")


def test_another_kind_of_key_does_not_sign(client: KMSClient) -> None:
    with pytest.raises(ConfigurationError):
        open_kms_signer(client, create_wrapping_key(client))


def test_a_kms_that_is_away_at_the_start_is_waited_for_and_reported(
    client: KMSClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, wrapping = create_signing_key(client), create_wrapping_key(client)
    away: Any = Failing(EndpointConnectionError(endpoint_url="x"))
    calls: list[float] = []
    inner = client.get_public_key

    def answer(**named: Any) -> Any:
        return inner(**named) if len(calls) >= 3 else away.get_public_key(**named)

    monkeypatch.setattr(client, "get_public_key", answer)
    monkeypatch.setattr("listener_service.keys.aws.kms_client", lambda: client)
    opened = open_keys(KeySettings(signing_kms_key_id=key, wrapping_kms_key_id=wrapping), sleep=calls.append)
    assert len(calls) == 3
    assert opened.signer.public_key[0] == 1
    assert isinstance(opened.wrapping, KmsWrapping)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
