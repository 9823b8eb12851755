"""AWS KMS for the listener: a key that wraps the others, and a signer whose absence is no defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from k3s_daas.aws_region import NO_REGION, region_name
from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.kms_errors import refusal_of
from listener_service.keys.errors import (
    KeyServiceAwayError,
    KeyServiceRefusesError,
    KeyUnusableError,
    SignatureMissingError,
)
from listener_service.keys.wrapping import Context

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

T = TypeVar("T")

# What Decrypt says of bytes that are not what Encrypt gave for this key and context.
_ABOUT_THE_CIPHERTEXT = frozenset(("IncorrectKeyException", "InvalidCiphertextException"))
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    tcp_keepalive=True,
    user_agent="k3s-daas-listener",
)


def kms_client() -> KMSClient:
    """As the `AWS_*` variables, the pod's identity or the instance say. Raises `ConfigurationError`."""
    try:
        return boto3.session.Session(region_name=region_name()).client("kms", config=_CONFIG)
    except NoRegionError:
        raise ConfigurationError(f"AWS KMS cannot be used: {NO_REGION}") from None
    except NoCredentialsError as error:
        raise ConfigurationError(f"AWS KMS cannot be used: {error}") from None


def open_kms_signer(client: KMSClient, key_id: str) -> RemoteSigner:
    """Raises `KeyServiceAwayError` if KMS is away, `ConfigurationError` if it refuses or has another key."""
    try:
        return RemoteSigner(_asked(lambda: KmsSigner(client, key_id)))
    except KeyServiceRefusesError as error:
        raise ConfigurationError(f"DAAS_SIGNING_KMS_KEY_ID cannot be used: {error}") from None


class RemoteSigner:
    """A `TransactionSigner` in KMS, for callers who know that the way to the chain may be interrupted:
    what KMS does not sign is a `SignatureMissingError`.
    """

    def __init__(self, signer: KmsSigner) -> None:
        self._signer = signer

    @property
    def address(self) -> bytes:
        return self._signer.address

    @property
    def public_key(self) -> bytes:
        return self._signer.public_key

    def sign(self, transaction: bytes) -> bytes:
        return self._signed(lambda: self._signer.sign(transaction))

    def sign_personal_message(self, message: bytes) -> bytes:
        return self._signed(lambda: self._signer.sign_personal_message(message))

    def _signed(self, sign: Callable[[], bytes]) -> bytes:
        try:
            return _asked(sign)
        except KeyServiceAwayError as error:
            raise SignatureMissingError(f"KMS did not sign: {error}") from None


class KmsWrapping:
    """`KeyWrapping` under a symmetric KMS key; the encryption context is in KMS's audit log, too."""

    def __init__(self, client: KMSClient, key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    async def wrap(self, secret: bytes, context: Context) -> bytes:
        return await asyncio.to_thread(
            _asked,
            lambda: self._client.encrypt(
                KeyId=self._key_id, Plaintext=secret, EncryptionContext=dict(context)
            )["CiphertextBlob"],
        )

    async def unwrap(self, wrapped: bytes, context: Context) -> bytes:
        return await asyncio.to_thread(
            _asked,
            lambda: self._client.decrypt(
                KeyId=self._key_id, CiphertextBlob=wrapped, EncryptionContext=dict(context)
            )["Plaintext"],
        )


def _asked(call: Callable[[], T]) -> T:
    """Errors by what they mean for the caller. Their causes are dropped: they quote the request."""
    try:
        return call()
    except ClientError as error:
        refusal = refusal_of(error.response)
        if refusal.passes:
            raise KeyServiceAwayError(str(refusal)) from None
        if refusal.code in _ABOUT_THE_CIPHERTEXT:
            raise KeyUnusableError(f"KMS answered {refusal.code}") from None
        raise KeyServiceRefusesError(str(refusal)) from None
    except NoCredentialsError:
        # Those of a pod or an instance come and go.
        raise KeyServiceAwayError("there are no AWS credentials: give this process some") from None
    except BotoCoreError as error:
        raise KeyServiceAwayError(f"KMS cannot be reached ({type(error).__name__})") from None
