"""Opens what the settings name: the signing key, and what wraps the sealing keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from k3s_daas.errors import ConfigurationError
from k3s_daas.passphrase import read_passphrase
from k3s_daas.sui.key_files import load_encrypted
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from listener_service.backoff import Backoff
from listener_service.keys.errors import KeyServiceAwayError
from listener_service.keys.settings import KeySettings
from listener_service.keys.wrapping import KeyWrapping, PassphraseWrapping

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class OpenedKeys:
    """What signs for the executor, and what wraps its sealing keys."""

    signer: TransactionSigner
    wrapping: KeyWrapping


def open_keys(settings: KeySettings, *, sleep: Callable[[float], None] = time.sleep) -> OpenedKeys:
    """Waits for a KMS that is away. Raises `ConfigurationError` for what is wrong."""
    with _named("DAAS_KEY_PASSPHRASE_FILE"):
        passphrase = None if settings.passphrase_file is None else read_passphrase(settings.passphrase_file)
    if settings.uses_kms:
        # boto3 takes tens of megabytes, which a listener without KMS shall not pay.
        from listener_service.keys.aws import KmsWrapping, kms_client  # noqa: PLC0415

        client = kms_client()
        signer = _kms_signer(client, settings, sleep) or _file_signer(settings, passphrase)
        if settings.wrapping_kms_key_id is not None:
            return OpenedKeys(signer, KmsWrapping(client, settings.wrapping_kms_key_id))
    else:
        signer = _file_signer(settings, passphrase)
    assert passphrase is not None
    return OpenedKeys(signer, PassphraseWrapping(passphrase))


def _file_signer(settings: KeySettings, passphrase: bytes | None) -> FileSigner:
    assert settings.executor_key_file is not None
    with _named("DAAS_EXECUTOR_KEY_FILE"):
        if settings.plain_executor_key:
            return FileSigner.load(settings.executor_key_file)
        assert passphrase is not None
        return load_encrypted(settings.executor_key_file, passphrase)


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """The commands of an operator complain about the same files, of other names."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{setting}: {error}") from error


def _kms_signer(
    client: KMSClient, settings: KeySettings, sleep: Callable[[float], None]
) -> TransactionSigner | None:
    from listener_service.keys.aws import open_kms_signer  # noqa: PLC0415

    if settings.signing_kms_key_id is None:
        return None
    backoff = Backoff(base_s=0.5, cap_s=15.0)
    while True:
        try:
            return open_kms_signer(client, settings.signing_kms_key_id)
        except KeyServiceAwayError as error:
            _log.error("the signing key cannot be asked for, trying again", extra={"error": str(error)})
        sleep(backoff.next_delay_s())
