"""The key that bodies are sealed for: read from the chain, believed only if the pinned executor signed it.

An endpoint that shows an old announcement again would have bodies sealed for a key that may be out by now. So
within a process the generation never goes back, and one generation is one key.
"""

from __future__ import annotations

import threading

from chalicelib.sizes import Reading, deep_size
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import ExecutorState
from k3s_daas.errors import UntrustedKeyError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPublicKey


class SealingKeys:
    """Remembers the newest key of one executor; used by many request threads at once."""

    def __init__(self, roots: TrustRoots) -> None:
        self._roots = roots
        self._lock = threading.Lock()
        self._newest: tuple[ExecutorState, SealingPublicKey] | None = None
        self._hits = self._misses = 0

    def current(self, executor: ExecutorState) -> SealingPublicKey:
        """The key that the chain shows for the executor now.

        Raises UntrustedKeyError if its signature does not count, or if it is older than one seen before;
        ConfigurationError if the executor is not pinned.
        """
        with self._lock:
            if self._newest is not None:
                seen, key = self._newest
                if executor == seen:
                    self._hits += 1
                    return key
                if executor.generation <= seen.generation:
                    raise UntrustedKeyError(
                        f"the chain shows generation {executor.generation} of the executor "
                        f"{to_hex(executor.address)}'s sealing key after generation {seen.generation}: the "
                        "endpoint lags or lies, or the executor was registered anew; then restart the gateway"
                    )
            self._misses += 1
            key = announced_key(executor, self._roots)
            self._newest = executor, key
            return key

    def reading(self) -> Reading:
        """One key at most, with the announcement that it came with."""
        with self._lock:
            if self._newest is None:
                return Reading(self._hits, self._misses, 0, 0, 0)
            announcement, key = self._newest
            size = deep_size(announcement) + len(key.to_bytes())
            return Reading(self._hits, self._misses, 0, 1, size)
