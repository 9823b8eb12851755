"""The keys that are open in this process: what the verifier asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from k3s_daas.sealing import SealingPrivateKey
from listener_service.clock import Clock, boot_s

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_ERASE_EVERY_S = 30.0


@dataclass(slots=True)
class Keyring:
    """Private keys by key id, each with the time (`boot_s`) at which it is erased whatever else happens.

    `look` fetches what may have been added elsewhere; it must not raise.
    """

    look: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    boot_s: Callable[[], float] = boot_s
    in_force: tuple[int, int] | None = None
    """The generation that requests are sealed for, and when it was made (Unix ms); None if it is not open."""
    _keys: dict[bytes, SealingPrivateKey] = field(default_factory=dict, repr=False)
    _until_s: dict[bytes, float] = field(default_factory=dict)
    _looked_s: float = float("-inf")
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, keys: Iterable[SealingPrivateKey]) -> Keyring:
        """One that holds just these."""
        ring = cls()
        for key in keys:
            ring.add(key)
        return ring

    @property
    def size(self) -> int:
        """How many keys are open."""
        return len(self._keys)

    def holds(self, key_id: bytes) -> bool:
        return key_id in self._keys

    def held(self, key_id: bytes) -> SealingPrivateKey:
        """One that it holds."""
        return self._keys[key_id]

    def add(self, key: SealingPrivateKey, until_s: float = float("inf")) -> None:
        self._keys[key.public_key.key_id] = key
        self.limit(key.public_key.key_id, until_s)

    def limit(self, key_id: bytes, until_s: float) -> None:
        """The key is erased at `until_s`, and at no other time that was said before."""
        self._until_s[key_id] = until_s

    async def erase_in_time(self, clock: Clock) -> NoReturn:
        """Erases what nobody prolongs any more: whoever lost the lead may never hear that he shall."""
        while True:
            self.erase_lapsed()
            await clock.sleep(_ERASE_EVERY_S)

    def erase_lapsed(self) -> None:
        """Once."""
        now_s = self.boot_s()
        lapsed = [key_id for key_id in self._keys if self._until_s[key_id] < now_s]
        if not lapsed:
            return
        self.keep_only(self._keys.keys() - lapsed)
        if not self._keys:
            self.in_force = None
        _log.warning("sealing keys erased by the clock", extra={"keys": [one.hex() for one in lapsed]})

    def keep_only(self, key_ids: Iterable[bytes]) -> None:
        """Forgets all others."""
        wanted = set(key_ids)
        for key_id in [known for known in self._keys if known not in wanted]:
            del self._keys[key_id], self._until_s[key_id]

    def forget(self) -> None:
        """All of them: whoever stands by would keep what the leader erases."""
        self.keep_only(())
        self.look = self.in_force = None

    async def find(self, key_id: bytes) -> SealingPrivateKey | None:
        """The key, or None. For one that is not known a look is taken, but not more than one in 5 s:
        a gateway that seals for keys of its own must not keep the API server busy.
        """
        known = self._keys.get(key_id)
        if known is not None or self.look is None:
            return known
        async with self._looking:
            if key_id not in self._keys and self.boot_s() - self._looked_s >= _LOOK_EVERY_S:
                self._looked_s = self.boot_s()
                await self.look()
        return self._keys.get(key_id)
