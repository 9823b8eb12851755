"""The secrets that all functions share, derived from one key that never leaves KMS.

A KMS key of type HMAC_256 gives the same 32 bytes to every instance of the function; HKDF makes of them

- the key of the HMAC that names the place of a request: without it nobody can tell from the table which
  request a record belongs to, nor try out guesses;
- the AES-256-GCM key that wraps the private half of a reply key while its command is under way;
- another one, for replies to discovery that functions leave for each other.

Nothing of them is in the environment, in the table or in a log.
"""

from __future__ import annotations

import hmac
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chalicelib.http_request import GatewayRequest
from k3s_daas.errors import SealedDataError
from k3s_daas.sealing import SealingPrivateKey

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

SECRET_BYTES = 32
NONCE_BYTES = 12
DOMAIN = b"k3s-daas/parking/v1"
# What decides what a body means and how its answer looks; a retry repeats them byte for byte.
NAMED_HEADERS = ("Accept", "Content-Type", "If-Match", "If-None-Match")


class ParkingKeys:
    """Names places, wraps reply keys, and seals what functions leave for each other; for many threads.

    It has no text form.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError("the secret of parking has 32 bytes")
        self._place_key = _derived(secret, b"place")
        self._wrapping = AESGCM(_derived(secret, b"reply key"))
        self._shared = AESGCM(_derived(secret, b"shared"))

    @classmethod
    def from_kms(cls, client: KMSClient, key_id: str) -> ParkingKeys:
        """The keys that the KMS key `key_id` (HMAC_256) stands for. Raises the client's errors."""
        answer = client.generate_mac(KeyId=key_id, Message=DOMAIN, MacAlgorithm="HMAC_SHA_256")
        return cls(answer["Mac"])

    def place(self, request: GatewayRequest, seal: bytes, session: str) -> bytes:
        """The 32 bytes that name this request of this session. The token is not part of it: it is renewed."""
        named = [f"{name}:{request.header(name)}".encode("latin-1", "replace") for name in NAMED_HEADERS]
        parts = (
            session.encode("latin-1", "replace"),
            seal,
            request.method.encode(),
            request.path.encode(),
            request.query.encode(),
            sha256(request.body).digest(),
            *named,
        )
        # Lengths keep parts apart: no two lists of parts give the same bytes.
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._place_key, message, "sha256")

    def wrap(self, reply_key: SealingPrivateKey, request_id: bytes) -> bytes:
        """The private half, encrypted for the record of this request alone."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, reply_key.private_bytes(), request_id)

    def unwrap(self, wrapped: bytes, request_id: bytes) -> SealingPrivateKey:
        """The reply key again. Raises SealedDataError if this is not what `wrap` gave for this request."""
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return SealingPrivateKey.from_private_bytes(self._wrapping.decrypt(nonce, sealed, request_id))
        except (InvalidTag, ValueError) as error:
            raise SealedDataError("the reply key on record was wrapped with another key") from error

    def seal(self, text: bytes, bound_to: bytes) -> bytes:
        """Something that functions leave for each other: nobody else can make or alter it."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._shared.encrypt(nonce, text, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """What `seal` was given. Raises SealedDataError for anything else."""
        try:
            return self._shared.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError) as error:
            raise SealedDataError("this was not left by a function of this gateway") from error


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=DOMAIN + b"/" + purpose).derive(secret)
