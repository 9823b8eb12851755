"""The bearer token of kubectl: claims that a session key signed, locked with a secret.

Transaction inputs are public, so the token itself never goes there. The gateway demands the whole token; the
chain sees the claims and the signature, which only the gateway named in them may use (it is the sender), and
the hash of the secret, which is of no use over HTTP.

Layout, after the prefix ``kdaas1.`` in base64url without padding::

    claims (164 bytes, exactly what the session key signs) ‖ session key (32) ‖ signature (64) ‖ secret (32)

The claims are the BCS of {domain: vector<u8>, cluster, seal, gateway: address, not_before_ms, expires_at_ms:
u64, secret_hash: vector<u8>}; the contract rebuilds them byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from k3s_daas.bcs import Reader, Writer
from k3s_daas.errors import BcsError, TokenError
from k3s_daas.ids import ADDRESS_BYTES, to_hex

DOMAIN = b"k3s-daas/claims/v1"
PREFIX = "kdaas1."
SECRET_BYTES = 32
HASH_BYTES = 32
SESSION_KEY_BYTES = 32
SIGNATURE_BYTES = 64

DEFAULT_LIFETIME_MS = 600_000
DEFAULT_BACKDATE_MS = 60_000
# A gateway that is taken over can use the tokens it was shown until they expire; so nobody may hand it one
# that lives much longer than the default.
MAX_VALIDITY_MS = 900_000

_RENEW = "run the command again; if that does not help, open a new session for your seal"


@dataclass(frozen=True, slots=True)
class Claims:
    """What the session key signs. All of it is public. Times are Unix ms."""

    cluster: bytes
    seal: bytes
    gateway: bytes
    not_before_ms: int
    expires_at_ms: int
    secret_hash: bytes

    def signing_bytes(self) -> bytes:
        writer = Writer().byte_vector(DOMAIN)
        writer.address(self.cluster).address(self.seal).address(self.gateway)
        writer.u64(self.not_before_ms).u64(self.expires_at_ms)
        return writer.byte_vector(self.secret_hash).finish()


# Domain and hash with a length byte each, three addresses, two times.
_CLAIMS_BYTES = 1 + len(DOMAIN) + 3 * ADDRESS_BYTES + 2 * 8 + 1 + HASH_BYTES
_TOKEN_BYTES = _CLAIMS_BYTES + SESSION_KEY_BYTES + SIGNATURE_BYTES + SECRET_BYTES


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A whole token. Whoever holds it may act for the seal until it expires: never log ``encode()``."""

    claims: Claims
    session_key: bytes
    signature: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    def encode(self) -> str:
        raw = self.claims.signing_bytes() + self.session_key + self.signature + self.secret
        return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> BearerToken:
        """Parses, without believing anything in it: ``verify`` does that. ``TokenError`` if not a token."""
        reader = Reader(_token_bytes(text))
        try:
            claims = _read_claims(reader)
        except BcsError:
            # Without its cause: a parser's message could quote what it parsed.
            raise TokenError(f"the bearer token is damaged: {_RENEW}") from None
        return cls(
            claims, reader.fixed(SESSION_KEY_BYTES), reader.fixed(SIGNATURE_BYTES), reader.fixed(SECRET_BYTES)
        )


def mint(
    session_private_key: Ed25519PrivateKey,
    *,
    cluster: bytes,
    seal: bytes,
    gateway: bytes,
    now_ms: int,
    lifetime_ms: int = DEFAULT_LIFETIME_MS,
    backdate_ms: int = DEFAULT_BACKDATE_MS,
    random: Callable[[int], bytes] = os.urandom,
) -> BearerToken:
    """A fresh token for one gateway, valid from ``now_ms - backdate_ms`` until ``now_ms + lifetime_ms``.

    ``ValueError`` if it would live longer than ``verify`` allows.
    """
    if lifetime_ms <= 0 or backdate_ms < 0 or lifetime_ms + backdate_ms > MAX_VALIDITY_MS:
        raise ValueError(f"a token is valid for at most {MAX_VALIDITY_MS} ms, backdating included")
    secret = random(SECRET_BYTES)
    claims = Claims(
        cluster, seal, gateway, now_ms - backdate_ms, now_ms + lifetime_ms, hashlib.sha3_256(secret).digest()
    )
    public_key = session_private_key.public_key().public_bytes_raw()
    return BearerToken(claims, public_key, session_private_key.sign(claims.signing_bytes()), secret)


def verify(token: BearerToken, *, cluster: bytes, gateway: bytes, now_ms: int, margin_ms: int = 0) -> None:
    """``TokenError`` unless the token is genuine, for this cluster and gateway, and valid at ``now_ms``.

    It must be valid ``margin_ms`` before and after that as well: the contract decides by another clock, and
    a bit later. Whether the seal knows the session key is for the caller (and the contract) to check.
    """
    claims = token.claims
    if not hmac.compare_digest(hashlib.sha3_256(token.secret).digest(), claims.secret_hash):
        raise TokenError(f"the bearer token's secret does not fit its claims: {_RENEW}")
    try:
        Ed25519PublicKey.from_public_bytes(token.session_key).verify(token.signature, claims.signing_bytes())
    except (InvalidSignature, ValueError):
        raise TokenError(f"the bearer token is not signed by its session key: {_RENEW}") from None
    if claims.cluster != cluster:
        raise TokenError(
            f"the bearer token is for cluster {to_hex(claims.cluster)}: choose the right kubeconfig"
        )
    if claims.gateway != gateway:
        raise TokenError(
            f"the bearer token is for gateway {to_hex(claims.gateway)}: the kubeconfig names another gateway"
        )
    if not 0 < claims.expires_at_ms - claims.not_before_ms <= MAX_VALIDITY_MS:
        raise TokenError(f"a bearer token is valid for at most {MAX_VALIDITY_MS // 1000} s: {_RENEW}")
    early_ms = claims.not_before_ms + margin_ms - now_ms
    if early_ms > 0:
        early_s = math.ceil(early_ms / 1000)
        raise TokenError(f"the bearer token is valid only in {early_s} s: set this machine's clock")
    if now_ms >= claims.expires_at_ms:
        late_s = (now_ms - claims.expires_at_ms) // 1000
        raise TokenError(f"the bearer token expired {late_s} s ago: {_RENEW}")
    if now_ms + margin_ms >= claims.expires_at_ms:
        raise TokenError(f"the bearer token is about to expire: {_RENEW}")


def _token_bytes(text: str) -> bytes:
    if not text.startswith(PREFIX):
        raise TokenError("this is no token of kubectl-daas: use a kubeconfig whose user runs kubectl-daas")
    encoded = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError(f"the bearer token is damaged: {_RENEW}") from None
    # The re-encoding pins one text per token: unused bits of the last character must be zero.
    if len(raw) != _TOKEN_BYTES or base64.urlsafe_b64encode(raw).rstrip(b"=") != encoded.encode():
        raise TokenError(f"the bearer token is cut or damaged: {_RENEW}")
    return raw


def _read_claims(reader: Reader) -> Claims:
    if reader.byte_vector() != DOMAIN:
        raise TokenError(f"the bearer token is of another kind: {_RENEW}")
    claims = Claims(
        reader.address(), reader.address(), reader.address(), reader.u64(), reader.u64(), reader.byte_vector()
    )
    if len(claims.secret_hash) != HASH_BYTES:
        raise TokenError(f"the bearer token is damaged: {_RENEW}")
    return claims
