"""Settings about keys, from the environment: which key signs, and what wraps the sealing keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.errors import ConfigurationError

DAY_S = 24 * 3600
_LEAST_S, _MOST_S = 2, 90 * DAY_S


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Exactly one signing key, and exactly one way to wrap."""

    signing_kms_key_id: str | None = None
    """DAAS_SIGNING_KMS_KEY_ID: id, ARN or alias of the KMS key (ECC_SECG_P256K1) that signs answers."""

    executor_key_file: Path | None = None
    """DAAS_EXECUTOR_KEY_FILE, instead: a file with that key, encrypted under the passphrase."""

    plain_executor_key: bool = False
    """DAAS_PLAIN_EXECUTOR_KEY=development: that file holds the key in plain hex."""

    wrapping_kms_key_id: str | None = None
    """DAAS_WRAPPING_KMS_KEY_ID: the symmetric KMS key that wraps the sealing keys in their Secret."""

    passphrase_file: Path | None = None
    """DAAS_KEY_PASSPHRASE_FILE, instead: a file with the passphrase that they, and the executor's key file,
    are encrypted under."""

    rotation_s: int = DAY_S
    """DAAS_KEY_ROTATION_SECONDS: the age at which the sealing key is replaced."""

    @property
    def uses_kms(self) -> bool:
        return self.signing_kms_key_id is not None or self.wrapping_kms_key_id is not None


def key_settings_from_environment(environment: Mapping[str, str]) -> KeySettings:
    """Raises `ConfigurationError` for what is missing, wrong, or said twice."""

    def optional(name: str) -> str | None:
        return environment.get(name) or None

    def path(name: str) -> Path | None:
        text = optional(name)
        return None if text is None else Path(text)

    plain = optional("DAAS_PLAIN_EXECUTOR_KEY")
    if plain not in (None, "development"):
        raise ConfigurationError(f"DAAS_PLAIN_EXECUTOR_KEY is {plain!r}: only 'development' may have one")
    settings = KeySettings(
        signing_kms_key_id=optional("DAAS_SIGNING_KMS_KEY_ID"),
        executor_key_file=path("DAAS_EXECUTOR_KEY_FILE"),
        plain_executor_key=plain is not None,
        wrapping_kms_key_id=optional("DAAS_WRAPPING_KMS_KEY_ID"),
        passphrase_file=path("DAAS_KEY_PASSPHRASE_FILE"),
        rotation_s=_seconds(optional("DAAS_KEY_ROTATION_SECONDS")),
    )
    _check(settings)
    return settings


def _check(settings: KeySettings) -> None:
    if (settings.signing_kms_key_id is None) == (settings.executor_key_file is None):
        raise ConfigurationError(
            "set one of DAAS_SIGNING_KMS_KEY_ID (the executor's key in KMS) and DAAS_EXECUTOR_KEY_FILE "
            "(in an encrypted file)"
        )
    if settings.plain_executor_key and settings.executor_key_file is None:
        raise ConfigurationError("DAAS_PLAIN_EXECUTOR_KEY is for a DAAS_EXECUTOR_KEY_FILE only: unset it")
    if settings.wrapping_kms_key_id is None and settings.passphrase_file is None:
        raise ConfigurationError(
            "set DAAS_WRAPPING_KMS_KEY_ID (the KMS key that wraps the sealing keys) or "
            "DAAS_KEY_PASSPHRASE_FILE (the file with a passphrase instead)"
        )
    opens_the_file = settings.executor_key_file is not None and not settings.plain_executor_key
    if opens_the_file and settings.passphrase_file is None:
        raise ConfigurationError(
            "DAAS_KEY_PASSPHRASE_FILE is not set: it names the file with the passphrase of "
            "DAAS_EXECUTOR_KEY_FILE"
        )
    if (
        settings.passphrase_file is not None
        and settings.wrapping_kms_key_id is not None
        and not opens_the_file
    ):
        raise ConfigurationError(
            "DAAS_KEY_PASSPHRASE_FILE has no use beside DAAS_WRAPPING_KMS_KEY_ID here: unset one of them"
        )


def _seconds(text: str | None) -> int:
    if text is None:
        return DAY_S
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST_S))
    if not is_number or not _LEAST_S <= int(text) <= _MOST_S:
        raise ConfigurationError(
            f"DAAS_KEY_ROTATION_SECONDS is {text[:20]!r}: give a whole number from {_LEAST_S} to {_MOST_S}"
        )
    return int(text)
