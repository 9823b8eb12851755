"""How the private half of a generation is kept from whoever reads the Secret: the port, and a passphrase."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Protocol

from k3s_daas.errors import SealedDataError, WireFormatError
from k3s_daas.passphrase import decrypt, encrypt, new_salt
from listener_service.keys.errors import KeyUnusableError

Context = Mapping[str, str]


class KeyWrapping(Protocol):
    """Encrypts keys for the Secret.

    1. `unwrap` gives back what `wrap` was given only for the same context; it raises `KeyUnusableError` for
       another one, another wrapping key, or altered bytes.
    2. Both raise `KeyServiceAwayError` if nothing is known yet; `wrap` raises nothing else.
    3. Neither says anything about the secret in an exception.
    """

    async def wrap(self, secret: bytes, context: Context) -> bytes:
        """The secret, encrypted."""
        ...

    async def unwrap(self, wrapped: bytes, context: Context) -> bytes:
        """The secret again."""
        ...


class PassphraseWrapping:
    """Under a passphrase, where there is no key service: `k3s_daas.passphrase`, as JSON."""

    def __init__(self, passphrase: bytes) -> None:
        self._passphrase = passphrase
        self._salt = new_salt()

    async def wrap(self, secret: bytes, context: Context) -> bytes:
        document = await asyncio.to_thread(
            encrypt, self._passphrase, secret, _bytes(context), salt=self._salt
        )
        return json.dumps(document, separators=(",", ":")).encode()

    async def unwrap(self, wrapped: bytes, context: Context) -> bytes:
        try:
            document = json.loads(wrapped)
            if not isinstance(document, dict):
                raise KeyUnusableError("it was not wrapped with a passphrase")
            return await asyncio.to_thread(decrypt, self._passphrase, document, _bytes(context))
        except (ValueError, RecursionError):
            # Without the cause, which would quote the content.
            raise KeyUnusableError("it was not wrapped with a passphrase") from None
        except (WireFormatError, SealedDataError) as error:
            raise KeyUnusableError(str(error)) from None


def _bytes(context: Context) -> bytes:
    return json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode()
