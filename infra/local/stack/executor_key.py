"""Where the key that the listener signs with lives: in a file under a passphrase, or in the local KMS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import aws
from infra.local.stack.chain import encrypted_key_file
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import TransactionSigner

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@dataclass(frozen=True, slots=True)
class ExecutorKey:
    """The key, and the listener's settings that name it."""

    signer: TransactionSigner
    settings: Mapping[str, str]


def executor_key(place: str, kms: KMSClient, keys: Path) -> ExecutorKey:
    """The key in its `place`, `file` or `kms`. A file in the directory `keys` survives a restart of the
    stack; the local KMS forgets what it had.
    """
    if place == "kms":
        key_id = aws.create_signing_key(kms)
        return ExecutorKey(KmsSigner(kms, key_id), {"DAAS_SIGNING_KMS_KEY_ID": key_id})
    file, passphrase = keys / "executor.key", keys / "executor.passphrase"
    settings = {"DAAS_EXECUTOR_KEY_FILE": str(file), "DAAS_KEY_PASSPHRASE_FILE": str(passphrase)}
    return ExecutorKey(encrypted_key_file(file, passphrase), settings)
