"""What rotates sealing keys, over a Secret, a key service and a chain that fail as a test wants."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from listener_service.keys.rotation import KeyRotation
from listener_service.leadership import Term
from listener_service.leases import Lease
from tests.unit.listener_world import FrozenClock
from tests.unit.memory_keys import Faults, MemoryStore, MemoryWrapping, ScriptedAnnouncer

DAY_S = 24 * 3600
LONGEST_MS = 840_000
OWNER = {"cluster": "0xc", "executor": "0xe"}


class KilledError(Exception):
    """What ends a process at this point."""


@dataclass
class Rig:
    """What outlives a process: Secret, key service, chain, time. Its calls are counted over all of them."""

    faults: Faults = field(default_factory=Faults)
    clock: FrozenClock = field(default_factory=FrozenClock)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.faults)
        self.wrapping = MemoryWrapping(self.faults)
        self.chain = ScriptedAnnouncer(self.faults, durable=lambda key_id: key_id in self.key_ids)

    @property
    def key_ids(self) -> list[str]:
        return [item.key_id for item in self.store.generations.items]

    def process(self, term: Term | None = None) -> KeyRotation:
        """A listener that begins to lead."""
        return KeyRotation(
            self.store,
            self.wrapping,
            self.chain,
            term or leading(),
            self.clock,
            owner=OWNER,
            period_s=DAY_S,
        )

    async def led(self) -> KeyRotation:
        made = self.process()
        await made.prepare()
        return made

    async def step(self, rotation: KeyRotation) -> None:
        """One step of `run`: it ends with its term, at the second time it would begin."""
        rounds: list[None] = []

        class Once:
            now_ms, earliest_ms = self.clock.now_ms, self.clock.earliest_ms

            async def sleep(self, seconds: float) -> None:
                if rounds:
                    rotation.term.end()
                rounds.append(None)

        clock, rotation.clock = rotation.clock, Once()
        await rotation.run()
        rotation.clock, rotation.term = clock, leading()

    def later(self, seconds: float) -> None:
        self.clock.ms += int(seconds * 1000)

    def opens(self, rotation: KeyRotation) -> set[str]:
        return {key_id for key_id in self.key_ids if rotation.keyring.holds(bytes.fromhex(key_id))}


def leading() -> Term:
    return Term(Lease("lead"), float("inf"), lambda: 0.0)


def failing(call: str, error: Exception) -> Callable[[str], None]:
    def fail(name: str) -> None:
        if name == call:
            raise error

    return fail


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
