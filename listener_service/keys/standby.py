"""Whether a standby could open the sealing keys if it had to take over: it tries, and keeps nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from k3s_daas.errors import DaasError
from listener_service.clock import Clock
from listener_service.keys.generations import Generation
from listener_service.keys.secret import GenerationStore
from listener_service.keys.wrapping import KeyWrapping

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 60.0
_LOOK_AGAIN_S = 5.0
_WAIT_FOR_STANDBY_S = 1.0


@dataclass(slots=True)
class StandbyKeys:
    """`owner` as in `KeyRotation`. `failure` says why the newest key could not be opened, if it could not."""

    store: GenerationStore
    wrapping: KeyWrapping
    owner: Mapping[str, str]
    clock: Clock
    is_standby: Callable[[], bool]
    failure: str | None = None

    async def run(self) -> NoReturn:
        """Once a minute while the replica stands by, until cancelled."""
        while True:
            if not self.is_standby():
                await self.clock.sleep(_WAIT_FOR_STANDBY_S)
                continue
            await self.look()
            await self.clock.sleep(_LOOK_EVERY_S if self.failure is None else _LOOK_AGAIN_S)

    async def look(self) -> None:
        """Once. Without any key there is none to open: the first leader makes one."""
        before, self.failure = self.failure, await self._look()
        if self.failure is not None and before is None:
            _log.error("a standby cannot open the sealing keys", extra={"error": self.failure})

    async def _look(self) -> str | None:
        try:
            kept = await self.store.read()
            for newest in kept.generations.items[-1:]:
                await self.wrapping.unwrap(newest.wrapped, place_of(self.owner, newest))
        except DaasError as error:
            return str(error)
        return None


def place_of(owner: Mapping[str, str], generation: Generation) -> dict[str, str]:
    """What a wrapped key is bound to: in another place it does not open."""
    return {**owner, "generation": str(generation.number), "key": generation.key_id}
