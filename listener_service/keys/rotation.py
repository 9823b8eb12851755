"""Keeps a sealing key in force that the listener can open, replaces it in time, and erases old ones.

One step looks at the chain and at the Secret, and does what is missing; so a process may die anywhere, and
the next step goes on. The order makes it safe:

1. the new generation is made, wrapped and written to the Secret, by compare and swap;
2. it is read back and unwrapped: what is announced is durable and can be opened again;
3. it is announced on chain, as the number after the one that was seen. A leader who slept meanwhile comes
   too late: the contract refuses the number;
4. its predecessor is marked, when the chain shows the new one;
5. the predecessor is erased, when nothing that is sealed for it can still have to be answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from k3s_daas.errors import ConfigurationError, DaasError, LedgerError
from k3s_daas.sealing import SealingPrivateKey
from listener_service.backoff import Backoff
from listener_service.clock import BoundedClock
from listener_service.keys.announcer import Announcer, OnChain
from listener_service.keys.errors import KeyServiceAwayError
from listener_service.keys.generations import Generation, Generations
from listener_service.keys.keyring import Keyring
from listener_service.keys.secret import GenerationStore, Kept
from listener_service.keys.standby import place_of
from listener_service.keys.wrapping import KeyWrapping
from listener_service.kube_objects import KubeError
from listener_service.leadership import NotLeadingError, Term

_log = logging.getLogger(__name__)

_STEP_EVERY_S = 30.0
_STEPS_PER_PERIOD = 4

_PASSING = (KeyServiceAwayError, KubeError, LedgerError)


@dataclass(slots=True, repr=False)
class KeyRotation:
    """The sealing keys in one term of leading. `owner` is what every wrapped key is bound to besides its
    generation: cluster and executor. `period_s` is the age at which a key is replaced.
    """

    store: GenerationStore
    wrapping: KeyWrapping
    announcer: Announcer
    term: Term
    clock: BoundedClock
    owner: Mapping[str, str]
    period_s: int
    keyring: Keyring = field(default_factory=Keyring)
    longest_answer_ms: int = 0
    """The longest that a command which is still open may take to its `answer_by`, whatever the policy was
    when it was accepted; known once `prepare` has returned."""
    _generations: Generations = field(default_factory=Generations)
    _in_force: str | None = None
    _announced: set[tuple[str, int]] = field(default_factory=set)
    _unusable: set[str] = field(default_factory=set)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def prepare(self) -> None:
        """Returns when the key in force can be opened here; waits for whoever is away.

        Raises `ConfigurationError` if a person is needed, `NotLeadingError` when the term is over.
        """
        self.keyring.look = self._look_for_more
        backoff = Backoff(base_s=0.2, cap_s=10.0)
        while True:
            self.term.confirm()
            try:
                await self._step()
            except _PASSING as error:
                _log.error("the sealing keys cannot be used or renewed, trying again", extra=_says(error))
            except ConfigurationError as error:
                if self._in_force is None:
                    raise
                _log.error("the sealing keys stay as they are", extra=_says(error))
            if self._in_force is not None:
                return
            await self.clock.sleep(backoff.next_delay_s())

    async def run(self) -> None:
        """Until the term is over. A step that fails is reported, and the keys stay as they are."""
        while True:
            await self.clock.sleep(min(_STEP_EVERY_S, self.period_s / _STEPS_PER_PERIOD))
            try:
                self.term.confirm()
                # Though chain or Secret may be away: while we lead, nobody else supersedes a key.
                self._limit_lives(self._generations)
                await self._step()
            except NotLeadingError:
                return
            except (*_PASSING, ConfigurationError) as error:
                _log.error("the sealing keys stay as they are, trying again", extra=_says(error))

    async def _step(self) -> None:
        async with self._one_at_a_time:
            await self._do_what_is_missing()

    async def _do_what_is_missing(self) -> None:
        chain, kept = await self._looked()
        current = kept.generations.in_force(chain.announced)
        pending = kept.generations.pending(chain.announced)
        if current is None and chain.announced.number and pending is None:
            _log.error(
                "the sealing key on chain is not in the Secret: what is sealed for it cannot be opened, and "
                "a new one is made",
                extra={"key": chain.announced.key_id, "number": chain.announced.number},
            )
        kept = await self._tidy(chain, kept)
        if pending is None and self._is_due(current, kept):
            kept = await self._make(chain, kept)
            pending = kept.generations.pending(chain.announced)
        if pending is not None:
            await self._announce(pending)
            await self._tidy(*await self._looked())

    async def _looked(self) -> tuple[OnChain, Kept]:
        """Chain and Secret, with all keys of it open as far as that is possible."""
        chain = await self.announcer.look()
        kept = await self.store.read()
        self.longest_answer_ms = kept.generations.longest_answer_ms(chain.longest_answer_ms)
        self._limit_lives(kept.generations)
        current = kept.generations.in_force(chain.announced)
        if current is None or not self.keyring.holds(bytes.fromhex(current.key_id)):
            self._in_force = self.keyring.in_force = None
        if current is not None:
            # First, because everything depends on it.
            await self._open(current)
            if self._in_force != current.key_id:
                _log.info("sealing key in force", extra=_which(current))
            self._in_force = current.key_id
            self.keyring.in_force = current.number, current.created_ms
        await self._open_others(kept, current)
        return chain, kept

    async def _open_others(self, kept: Kept, current: Generation | None) -> None:
        for generation in kept.generations.items:
            if generation is current or generation.key_id in self._unusable:
                continue
            try:
                await self._open(generation)
            except ConfigurationError as error:
                # Once: it is erased in its time like the others.
                self._unusable.add(generation.key_id)
                _log.error("a sealing key cannot be opened", extra=_which(generation) | _says(error))
            except KeyServiceAwayError as error:
                _log.error("a sealing key is not open yet", extra=_which(generation) | _says(error))
        self.keyring.keep_only(bytes.fromhex(item.key_id) for item in kept.generations.items)

    async def _open(self, generation: Generation) -> None:
        """Raises `ConfigurationError` if it does not open, `KeyServiceAwayError` if that is not known."""
        if self.keyring.holds(bytes.fromhex(generation.key_id)):
            return
        try:
            secret = await self.wrapping.unwrap(generation.wrapped, self._context(generation))
            key = SealingPrivateKey.from_private_bytes(secret)
        except KeyServiceAwayError:
            raise
        except DaasError as error:
            raise ConfigurationError(
                f"the sealing key {generation.key_id} in the Secret cannot be opened ({error}): use the "
                "wrapping key or passphrase that it was written with, or remove its entry from the Secret, "
                "and a new key is made"
            ) from None
        if key.public_key.key_id.hex() != generation.key_id:
            raise ConfigurationError(
                f"what the Secret holds as the sealing key {generation.key_id} is another key: remove its "
                "entry, and a new key is made"
            )
        self.keyring.add(key, self._lives_until_s(generation))

    def _limit_lives(self, generations: Generations) -> None:
        """Until when this process keeps what is open, should it hear nothing more: whoever leads then may
        supersede a key at once, and erases it in its time."""
        self._generations = generations
        for generation in generations.items:
            key_id = bytes.fromhex(generation.key_id)
            if self.keyring.holds(key_id):
                self.keyring.limit(key_id, self._lives_until_s(generation))

    def _lives_until_s(self, generation: Generation) -> float:
        now_ms = self.clock.earliest_ms()
        left_ms = generation.needed_until_ms(now_ms, self.longest_answer_ms) - now_ms
        return self.keyring.boot_s() + left_ms / 1000

    async def _tidy(self, chain: OnChain, kept: Kept) -> Kept:
        tidied = kept.generations.tidied(
            chain.announced,
            now_ms=self.clock.now_ms(),
            earliest_ms=self.clock.earliest_ms(),
            longest_ms=chain.longest_answer_ms,
        )
        if tidied == kept.generations:
            return kept
        self.term.confirm()
        kept_ids = {item.key_id for item in tidied.items}
        erased = [item.key_id for item in kept.generations.items if item.key_id not in kept_ids]
        stored = await self.store.replace(kept, tidied)
        self.keyring.keep_only(bytes.fromhex(key_id) for key_id in kept_ids)
        self._limit_lives(stored.generations)
        if erased:
            _log.info("sealing keys erased", extra={"keys": erased})
        return stored

    def _is_due(self, current: Generation | None, kept: Kept) -> bool:
        if current is None or kept.rotation_asked:
            return True
        return self.clock.now_ms() - current.created_ms >= self.period_s * 1000

    async def _make(self, chain: OnChain, kept: Kept) -> Kept:
        """A new generation, written down and opened again from what was written."""
        key = SealingPrivateKey.generate()
        made = Generation(
            key.public_key.key_id.hex(),
            chain.announced.number + 1,
            self.clock.now_ms(),
            wrapped=b"",
            longest_answer_ms=chain.longest_answer_ms,
        )
        made = replace(made, wrapped=await self.wrapping.wrap(key.private_bytes(), self._context(made)))
        self.term.confirm()
        stored = await self.store.replace(kept, kept.generations.with_new(made), answered=True)
        _log.info("sealing key made", extra=_which(made))
        return stored

    async def _announce(self, generation: Generation) -> None:
        which = (generation.key_id, generation.number)
        if which in self._announced:
            _log.warning("the chain does not show the announced key yet", extra=_which(generation))
            return
        await self._open(generation)
        key = self.keyring.held(bytes.fromhex(generation.key_id))
        self.term.confirm()
        await self.announcer.announce(key.public_key, generation.number)
        self._announced.add(which)
        _log.info("sealing key announced", extra=_which(generation))

    async def _look_for_more(self) -> None:
        """For a request that is sealed for an unknown key: a predecessor may have written one at the end."""
        try:
            async with self._one_at_a_time:
                await self._looked()
        except (*_PASSING, ConfigurationError) as error:
            _log.warning("no look for more sealing keys", extra=_says(error))

    def _context(self, generation: Generation) -> dict[str, str]:
        return place_of(self.owner, generation)


def _which(generation: Generation) -> dict[str, object]:
    return {"key": generation.key_id, "number": generation.number}


def _says(error: Exception) -> dict[str, object]:
    return {"error": str(error)}
