"""EventBridge's part, locally: calls a scheduled function of the app again and again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

ScheduledFunction = Callable[[dict[str, Any], Any], Any]


def run_every(seconds: float, function: ScheduledFunction) -> Callable[[], None]:
    """Call `function` every `seconds` in a daemon thread; what is returned ends it, after a run under way.

    A run that fails is a log line, as it is in Lambda: the next run comes all the same.
    """
    ended = threading.Event()

    def serve() -> None:
        while not ended.wait(seconds):
            try:
                function(_event(), None)
            except Exception as error:  # noqa: BLE001 - whatever a function raises ends one run and no more
                line = {"event": "scheduled-run-failed", "reason": type(error).__name__}
                print(json.dumps(line), file=sys.stderr, flush=True)

    def end() -> None:
        ended.set()
        thread.join()

    thread = threading.Thread(target=serve, name="schedule", daemon=True)
    thread.start()
    return end


def _event() -> dict[str, Any]:
    """What EventBridge sends (Scheduled Event)."""
    return {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [],
        "detail": {},
    }
