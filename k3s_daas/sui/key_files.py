"""Signing keys in files: under a passphrase, or plain for development.

An encrypted file is the JSON object of ``k3s_daas.passphrase`` with two more fields, ``"type":
"k3s-daas/signing-key"`` and ``"public_key"`` (scheme flag ‖ key, hex). Both are authenticated, and
the public key can be read without the passphrase.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.errors import ConfigurationError, SealedDataError, WireFormatError
from k3s_daas.passphrase import decrypt, encrypt
from k3s_daas.private_files import read_private_file
from k3s_daas.sui.signers import SEED_BYTES, FileSigner

TYPE = "k3s-daas/signing-key"


def is_encrypted(content: bytes) -> bool:
    """Whether a key file's content is an encrypted one, rather than hex digits."""
    return content.lstrip().startswith(b"{")


def encrypted_key(seed: bytes, passphrase: bytes) -> str:
    """The content of an encrypted file for an ed25519 seed."""
    public_key = _signer(seed).public_key
    sealed = encrypt(passphrase, seed, _context(public_key))
    return json.dumps({"type": TYPE, "public_key": public_key.hex(), **sealed}, indent=2) + "\n"


def new_seed() -> bytes:
    """32 bytes that an ed25519 key is made of. Secret."""
    return secrets.token_bytes(SEED_BYTES)


def public_key_of_file(path: Path) -> bytes:
    """Scheme flag ‖ public key as an encrypted file says, unauthenticated. Raises `ConfigurationError`."""
    return _public_key(_document(path, read_private_file(path, "the signing key file")), path)


def load_encrypted(path: Path, passphrase: bytes) -> FileSigner:
    """Opens an encrypted file. Raises `ConfigurationError`, which never quotes the content."""
    document = _document(path, read_private_file(path, "the signing key file"))
    public_key = _public_key(document, path)
    try:
        seed = decrypt(passphrase, document, _context(public_key))
    except (SealedDataError, WireFormatError) as error:
        raise ConfigurationError(f"the signing key file {path}: {error}") from None
    if len(seed) != SEED_BYTES:
        raise ConfigurationError(f"the signing key file {path} holds no ed25519 key")
    signer = _signer(seed)
    if signer.public_key != public_key:
        raise ConfigurationError(f"the signing key file {path} holds another key than it says")
    return signer


def _signer(seed: bytes) -> FileSigner:
    return FileSigner(Ed25519PrivateKey.from_private_bytes(seed))


def _context(public_key: bytes) -> bytes:
    return TYPE.encode() + b"\0" + public_key


def _document(path: Path, content: bytes) -> dict[str, object]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("type") != TYPE:
        raise ConfigurationError(
            f"{path} is no encrypted signing key: make one with daas key generate --passphrase-file, "
            "or of a plain one with daas key encrypt"
        )
    return document


def _public_key(document: dict[str, object], path: Path) -> bytes:
    try:
        return bytes.fromhex(str(document.get("public_key", "-")))
    except ValueError:
        raise ConfigurationError(f"the signing key file {path} says no public key in hex") from None
