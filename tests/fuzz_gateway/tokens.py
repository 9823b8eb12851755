"""Bearer tokens, good and bad, made when they are needed."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.bearer import PREFIX
from tests.instant.stack import InstantStack
from tests.unit.contract_world import HOUR_MS

TOKEN_HERE = "<token>"
"""Where a request's own token stands although it does not belong there."""


@dataclass(frozen=True)
class TokenSpec:
    """A kind of token; `place` and `bits` say where and how one is damaged."""

    kind: str
    place: int = 0
    bits: int = 1

    @property
    def is_good(self) -> bool:
        """A gateway may take it."""
        return self.kind in GOOD

    def text(self, stack: InstantStack) -> str:
        """The token; empty for none at all."""
        return _MAKERS[self.kind](stack, self)

    def header(self, text: str) -> list[tuple[str, str]]:
        """How it is sent."""
        if self.kind == "none":
            return []
        return [("Authorization", _SCHEMES.get(self.kind, "Bearer {}").format(text))]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _damaged(stack: InstantStack, spec: TokenSpec) -> str:
    """One bit or more of one byte are others."""
    encoded = stack.token().removeprefix(PREFIX)
    raw = bytearray(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    raw[spec.place % len(raw)] ^= spec.bits
    return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _wrong_secret(stack: InstantStack, spec: TokenSpec) -> str:
    """All that the chain shows of a token, and a guess at the rest."""
    return _damaged(stack, TokenSpec("damaged", -1 - spec.place % 32, spec.bits))


def _cut(stack: InstantStack, spec: TokenSpec) -> str:
    token = stack.token()
    return token[: spec.place % len(token)]


def _of_a_stranger(stack: InstantStack, _: TokenSpec) -> str:
    return stack.token(Ed25519PrivateKey.generate())


Maker = Callable[[InstantStack, TokenSpec], str]

_MAKERS: dict[str, Maker] = {
    "full": lambda stack, _: stack.token(),
    "lower-case": lambda stack, _: stack.token(),
    "read-only": lambda stack, _: stack.token(stack.sessions.read_only),
    "one-namespace": lambda stack, _: stack.token(stack.sessions.one_namespace),
    "none": lambda _stack, _: "",
    "empty": lambda _stack, _: "",
    "basic": lambda stack, _: stack.token(),
    "no-scheme": lambda stack, _: stack.token(),
    "list": lambda stack, _: stack.token(),
    "ended-session": lambda stack, _: stack.token(stack.sessions.expired),
    "stranger": _of_a_stranger,
    "other-gateway": lambda stack, _: stack.token(gateway=stack.executor.address),
    "other-cluster": lambda stack, _: stack.token(cluster=bytes(32)),
    "other-seal": lambda stack, spec: stack.token(seal=bytes([spec.bits]) * 32),
    "expired": lambda stack, _: stack.token(now_ms=_now_ms() - HOUR_MS),
    "not-yet": lambda stack, _: stack.token(now_ms=_now_ms() + HOUR_MS),
    "soon-over": lambda stack, _: stack.token(lifetime_ms=2_000),
    "cut": _cut,
    "damaged": _damaged,
    "wrong-secret": _wrong_secret,
    "longer": lambda stack, spec: stack.token() + "A" * (spec.place + 1),
    "padded": lambda stack, _: stack.token() + "=",
    "blank-inside": lambda stack, _: stack.token()[:100] + " " + stack.token()[100:],
    "other-letters": lambda stack, spec: stack.token()[: spec.place] + "é\u20ac",
    "huge": lambda _stack, _: PREFIX + "A" * 100_000,
    "made-up": lambda _stack, _: PREFIX + "A" * 390,
}
_SCHEMES = {
    "lower-case": "bearer   {} ",
    "basic": "Basic {}",
    "no-scheme": "{}",
    "list": "Bearer a, Bearer {}",
}
KINDS = tuple(_MAKERS)
GOOD = frozenset({"full", "lower-case", "read-only", "one-namespace"})
