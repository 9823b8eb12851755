"""Loading credentials beside those who use them: a plugin may hang for longer than a lease lasts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from k3s_daas.errors import ConfigurationError

_log = logging.getLogger(__name__)


class Reloading:
    """Runs `load` in a thread of its own, one at a time. Thread-safe.

    `load` puts what it loaded where it belongs, or raises `ConfigurationError`, which is logged.
    """

    def __init__(self, load: Callable[[], None], *, pause_s: float) -> None:
        self._load = load
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        self._began_s = self._ended_s = float("-inf")

    def begin(self) -> None:
        """Unless it runs already."""
        with self._lock:
            self._begin()

    def begin_if_due(self) -> None:
        """The same, but not again within the pause after the last time."""
        with self._lock:
            if time.monotonic() >= self._ended_s + self._pause_s:
                self._begin()

    def wait(self, until_s: float, *, patience_s: float = float("inf")) -> None:
        """Until it has ended, it is `until_s` by the monotonic clock, or it has run for `patience_s`."""
        with self._lock:
            ended, last_s = self._ended, min(until_s, self._began_s + patience_s)
        if not ended.is_set():
            ended.wait(max(0.0, last_s - time.monotonic()))

    def _begin(self) -> None:
        if not self._ended.is_set():
            return
        self._ended, self._began_s = threading.Event(), time.monotonic()
        # A daemon, since nobody wants to wait for a plugin when the process ends.
        threading.Thread(target=self._run, args=(self._ended,), name="credentials", daemon=True).start()

    def _run(self, ended: threading.Event) -> None:
        try:
            self._load()
        except ConfigurationError as error:
            _log.warning("credentials for the API server not renewed", extra={"error": str(error)})
        except Exception:  # noqa: BLE001  nobody waits for this thread, and those who do go on with the old ones
            _log.error("renewing the credentials for the API server failed inside", exc_info=True)
        with self._lock:
            self._ended_s = time.monotonic()
            ended.set()
