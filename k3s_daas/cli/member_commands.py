"""``daas gateway``, ``daas executor`` and ``daas key``."""

from __future__ import annotations

import argparse
from pathlib import Path

from k3s_daas.admin.files import write_new_secret
from k3s_daas.admin.members import plan_executor, plan_gateway
from k3s_daas.admin.trust import is_public_key_file, public_key_of
from k3s_daas.cli.console import say
from k3s_daas.cli.session import Session
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.passphrase import read_passphrase
from k3s_daas.sui.digests import address_of
from k3s_daas.sui.key_files import encrypted_key, is_encrypted, new_seed, public_key_of_file
from k3s_daas.sui.signers import FileSigner


async def run_gateway(session: Session) -> None:
    """Adds or removes a gateway."""
    administrator = session.administrator()
    cluster = await administrator.cluster()
    options = session.options
    await session.settle(administrator, plan_gateway(cluster, options.address, registered=options.registered))


async def run_executor(session: Session) -> None:
    """Adds or removes an executor; says what is left to do for it to serve."""
    administrator = session.administrator()
    cluster = await administrator.cluster()
    options = session.options
    changes = plan_executor(cluster, options.address, registered=options.registered)
    if await session.settle(administrator, changes) and options.registered:
        say("next: pin its public key with daas roots; its listener announces its sealing key itself")


def run_key_generate(options: argparse.Namespace) -> None:
    """Makes a signing key in a file: under a passphrase, or plain for an administrator's own machine."""
    path: Path = options.file
    if options.passphrase_file is not None:
        _write_encrypted(path, new_seed(), options.passphrase_file)
        return
    try:
        signer = FileSigner.generate(path)
    except OSError as error:
        raise ConfigurationError(f"cannot make the key file {path}: {error.strerror}") from None
    _show(signer.public_key)


def run_key_encrypt(options: argparse.Namespace) -> None:
    """Puts a plain key file's key under a passphrase, in a new file."""
    _write_encrypted(options.target, FileSigner.read_seed(options.file), options.passphrase_file)
    say(f"next: try {options.target}, then erase {options.file}")


def _write_encrypted(path: Path, seed: bytes, passphrase_file: Path) -> None:
    write_new_secret(path, encrypted_key(seed, read_passphrase(passphrase_file)))
    _show(public_key_of_file(path))


def run_key_show(options: argparse.Namespace) -> None:
    """Address and public key of a signing key's file, or of a public key that a KMS handed out."""
    path: Path = options.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the key file {path}: {error.strerror}") from None
    if is_encrypted(data):
        _show(public_key_of_file(path))
        return
    if not is_public_key_file(data):
        _show(FileSigner.load(path).public_key)
        return
    try:
        _show(public_key_of(data))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _show(public_key: bytes) -> None:
    say(f"address    {to_hex(address_of(public_key))}")
    say(f"public key 0x{public_key.hex()}")
