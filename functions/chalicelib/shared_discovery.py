"""One fetch of a discovery document: what another process left on the shelf, else the caller's command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chalicelib.discovery_cache import (
    NOT_MODIFIED,
    SUSPENSION_S,
    Definitions,
    DiscoveryKey,
    Fetch,
    Fetched,
    for_all,
    is_complete,
)
from chalicelib.discovery_shelf import DiscoveryShelf, Shelved
from chalicelib.errors import RequestStoreUnavailableError
from chalicelib.journey import Log

SUSPENSION_MS = int(SUSPENSION_S * 1000)


class SharedDiscovery:
    """The shelf as a request uses it; used by many request threads at once.

    `exchange_ms` is the longest that one exchange takes: so long a process may not say any more that it has
    ended, and the others go on believing that definitions change.
    """

    def __init__(
        self, shelf: DiscoveryShelf, *, ttl_ms: int, exchange_ms: int, now_ms: Callable[[], int], log: Log
    ) -> None:
        self._shelf = shelf
        self._ttl_ms = ttl_ms
        self._exchange_ms = exchange_ms
        self._now_ms = now_ms
        self._log = log

    @contextmanager
    def definitions_change(self) -> Iterator[None]:
        """Around a command that may change what is discovered. Raises RequestStoreUnavailableError before it
        if the other processes cannot be told."""
        self._shelf.change(self._now_ms() + self._exchange_ms + SUSPENSION_MS)
        try:
            yield
        finally:
            # What they fetched meanwhile is void; they were told for longer than one exchange takes.
            self._quietly(lambda: self._shelf.change(self._now_ms() + SUSPENSION_MS))

    def definitions(self) -> Definitions:
        """As of now. Raises RequestStoreUnavailableError: then nothing that is kept may be given."""
        marker = self._shelf.definitions()
        return Definitions(marker.generation, self._now_ms() < marker.changing_until_ms)

    def fetching(self, key: DiscoveryKey, definitions: Definitions, run: Fetch) -> Fetch:
        """`run`, the caller's own command, behind what is on the shelf."""
        if definitions.changing:
            return run

        def fetch(etag: str | None) -> Fetched:
            asked_ms = self._now_ms()
            shelved = self._taken(key, definitions.generation)
            if shelved is not None and asked_ms - shelved.fetched_ms < self._ttl_ms:
                return Fetched(shelved.reply, own=True, stored_s=max(0, asked_ms - shelved.fetched_ms) / 1000)
            known = None if shelved is None or etag is not None else shelved.reply.header("ETag")
            fetched = run(etag or known)
            if shelved is not None and known is not None and fetched.reply.status == NOT_MODIFIED:
                fetched = Fetched(shelved.reply, fetched.own, revalidated=True)
            if fetched.own and is_complete(fetched.reply):
                left = Shelved(for_all(fetched.reply), asked_ms)
                self._quietly(lambda: self._shelf.put(key, definitions.generation, left))
            return fetched

        return fetch

    def _taken(self, key: DiscoveryKey, generation: int) -> Shelved | None:
        try:
            return self._shelf.take(key, generation)
        except RequestStoreUnavailableError as error:
            self._log_failure(error)
            return None

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            write()
        except RequestStoreUnavailableError as error:
            self._log_failure(error)

    def _log_failure(self, error: RequestStoreUnavailableError) -> None:
        self._log(json.dumps({"event": "discovery-not-shared", "reason": str(error)}))
