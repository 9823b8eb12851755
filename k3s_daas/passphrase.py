"""Secrets under a passphrase: for a small installation, where there is no key service.

scrypt (RFC 7914) makes an AES-256-GCM key of passphrase and salt. What comes out is a JSON object::

    {"version": 1, "kdf": "scrypt", "n": 32768, "r": 8, "p": 3, "salt": hex,
     "cipher": "aes-256-gcm", "nonce": hex, "ciphertext": hex}

and ``context``, bytes that the reader must know, is authenticated with it: a secret that is put into
another's place does not open.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from k3s_daas.errors import ConfigurationError, SealedDataError, WireFormatError
from k3s_daas.private_files import read_private_file

VERSION = 1
MINIMUM_PASSPHRASE_BYTES = 16

# OWASP's figures for 32 MiB of memory: the listener has little more.
_N, _R, _P = 2**15, 8, 3
# A file that asks for less was weakened, one that asks for more would exhaust the reader.
_N_BOUNDS, _R_BOUNDS, _P_BOUNDS = (2**15, 2**18), (8, 16), (1, 16)
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32


def new_salt() -> bytes:
    """For several secrets that are encrypted together: they cost one derivation."""
    return os.urandom(_SALT_BYTES)


def encrypt(
    passphrase: bytes, plaintext: bytes, context: bytes, *, salt: bytes | None = None
) -> dict[str, object]:
    """The JSON object of the module docstring. A new salt takes about 0.2 s and 32 MiB."""
    salt, nonce = salt or new_salt(), os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_derive(passphrase, salt, _N, _R, _P)).encrypt(nonce, plaintext, context)
    return {
        "version": VERSION,
        "kdf": "scrypt",
        "n": _N,
        "r": _R,
        "p": _P,
        "salt": salt.hex(),
        "cipher": "aes-256-gcm",
        "nonce": nonce.hex(),
        "ciphertext": sealed.hex(),
    }


def decrypt(passphrase: bytes, document: Mapping[str, object], context: bytes) -> bytes:
    """What ``encrypt`` was given; further fields of the object are ignored.

    Raises ``WireFormatError`` if it is no such object, ``SealedDataError`` for another passphrase or context,
    or altered bytes. Neither quotes anything.
    """
    if (document.get("version"), document.get("kdf"), document.get("cipher")) != (
        VERSION,
        "scrypt",
        "aes-256-gcm",
    ):
        raise WireFormatError(f"the encrypted secret is not of version {VERSION}, scrypt and aes-256-gcm")
    n = _number(document, "n", _N_BOUNDS)
    if n & (n - 1):
        raise WireFormatError("n of the encrypted secret is no power of two")
    r, p = _number(document, "r", _R_BOUNDS), _number(document, "p", _P_BOUNDS)
    salt, nonce = _hex(document, "salt"), _hex(document, "nonce")
    if (len(salt), len(nonce)) != (_SALT_BYTES, _NONCE_BYTES):
        raise WireFormatError("salt or nonce of the encrypted secret has the wrong length")
    ciphertext = _hex(document, "ciphertext")
    try:
        return AESGCM(_derive(passphrase, salt, n, r, p)).decrypt(nonce, ciphertext, context)
    except InvalidTag:
        raise SealedDataError(
            "the encrypted secret does not open: it is another passphrase's, another place's, or altered"
        ) from None


def read_passphrase(path: Path) -> bytes:
    """A passphrase's file, without the white space around it.

    Raises ``ConfigurationError``: it cannot be read, is open to others, or is too short.
    """
    passphrase = read_private_file(path, "the passphrase file").strip()
    if len(passphrase) < MINIMUM_PASSPHRASE_BYTES:
        raise ConfigurationError(
            f"the passphrase file {path} holds less than {MINIMUM_PASSPHRASE_BYTES} characters: "
            "make one by chance (openssl rand -hex 32)"
        )
    return passphrase


# The nonce is new each time; one key may encrypt 2^32 secrets.
@lru_cache(maxsize=64)
def _derive(passphrase: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=n, r=r, p=p).derive(passphrase)


def _number(document: Mapping[str, object], name: str, bounds: tuple[int, int]) -> int:
    value = document.get(name)
    if type(value) is not int or not bounds[0] <= value <= bounds[1]:
        raise WireFormatError(f"{name} of the encrypted secret must be from {bounds[0]} to {bounds[1]}")
    return value


def _hex(document: Mapping[str, object], name: str) -> bytes:
    try:
        return bytes.fromhex(str(document.get(name, "-")))
    except ValueError:
        raise WireFormatError(f"{name} of the encrypted secret is not hexadecimal") from None
