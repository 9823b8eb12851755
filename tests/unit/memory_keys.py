"""The ports of the sealing keys in memory, with faults that a test asks for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from k3s_daas.errors import MoveAbortError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey
from listener_service.keys.announcer import OnChain
from listener_service.keys.errors import KeyUnusableError
from listener_service.keys.generations import Announced, Generation, Generations, encode
from listener_service.keys.secret import Kept
from listener_service.kube_objects import ObjectChangedError
from listener_service.leadership import lease_name


@dataclass
class Faults:
    """`before` and `after` see the name of each call and may raise; `after` means a lost reply."""

    before: Callable[[str], None] = lambda call: None
    after: Callable[[str], None] = lambda call: None
    calls: list[str] = field(default_factory=list)

    def begin(self, call: str) -> None:
        self.calls.append(call)
        self.before(call)


@dataclass
class MemoryWrapping:
    """What it gives out says nothing: the secrets stay here."""

    faults: Faults = field(default_factory=Faults)
    known: dict[bytes, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        self.faults.begin("wrap")
        return self.put(secret, context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.faults.begin("unwrap")
        secret, expected = self.known.get(wrapped, (b"", {}))
        if not secret or expected != dict(context):
            raise KeyUnusableError("it was wrapped for another place")
        return secret

    def put(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        token = f"wrapped-{len(self.known)}".encode()
        self.known[token] = secret, dict(context)
        return token

    def generation(
        self, key: SealingPrivateKey, owner: Mapping[str, str], *, number: int, created_ms: int
    ) -> Generation:
        """A generation as the listener writes it down."""
        key_id = key.public_key.key_id.hex()
        context = {**owner, "generation": str(number), "key": key_id}
        return Generation(key_id, number, created_ms, self.put(key.private_bytes(), context))


@dataclass
class MemoryStore:
    """One entry of the Secret; `history` is all that was ever durable."""

    faults: Faults = field(default_factory=Faults)
    generations: Generations = field(default_factory=Generations)
    asked: bool = False
    writes: int = 0
    history: list[Generations] = field(default_factory=list)

    async def read(self) -> Kept:
        self.faults.begin("read")
        return Kept(self.generations, self.asked, str(self.writes))

    async def replace(self, kept: Kept, generations: Generations, *, answered: bool = False) -> Kept:
        self.faults.begin("replace")
        if kept.version != str(self.writes):
            raise ObjectChangedError(409, "changed")
        self.writes += 1
        self.generations = generations
        self.asked = self.asked and not answered
        self.history.append(generations)
        self.faults.after("replace")
        return Kept(self.generations, self.asked, str(self.writes))


@dataclass
class ScriptedAnnouncer:
    """The chain: takes only the next number. `durable` tells whether a key is written down."""

    faults: Faults = field(default_factory=Faults)
    announced: Announced = field(default_factory=lambda: Announced(0, ""))
    longest_answer_ms: int = 840_000
    durable: Callable[[str], bool] = lambda key_id: True
    seen: list[Announced] = field(default_factory=list)

    async def look(self) -> OnChain:
        self.faults.begin("look")
        return OnChain(self.announced, self.longest_answer_ms)

    async def announce(self, key: SealingPublicKey, number: int) -> None:
        self.faults.begin("announce")
        assert self.durable(key.key_id.hex()), "announced before it was durable"
        if number != self.announced.number + 1:
            raise MoveAbortError("cluster", 118)
        self.announced = Announced(number, key.key_id.hex())
        self.seen.append(self.announced)
        self.faults.after("announce")


def hold(
    secret: dict[str, Any], roots: TrustRoots, executor: bytes, key: SealingPrivateKey, now_ms: int
) -> MemoryWrapping:
    """Puts the executor's first sealing key into a Secret; returns what unwraps it."""
    wrapping = MemoryWrapping()
    owner = {"cluster": to_hex(roots.cluster), "executor": to_hex(executor)}
    generation = wrapping.generation(key, owner, number=1, created_ms=now_ms)
    entry = base64.b64encode(encode(Generations((generation,)))).decode()
    secret["data"] = {lease_name(roots, executor): entry}
    return wrapping
