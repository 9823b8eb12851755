"""`python -m listener_service`: settings from the environment, one JSON line when ready, SIGTERM drains."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping

from k3s_daas.errors import ConfigurationError, DaasError
from listener_service import logs
from listener_service.assembly import assemble
from listener_service.settings import ListenerIdentity, ListenerSettings


def main(environment: Mapping[str, str] = os.environ) -> int:
    """0 after SIGTERM or SIGINT, 1 with one sentence on stderr if a setting is wrong or a person is
    needed.
    """
    try:
        settings = ListenerSettings.from_environment(environment)
        # Before the keys: whoever waits for a key service says so.
        logs.configure(settings.log_level)
        identity = ListenerIdentity.load(settings)
    except ConfigurationError as error:
        print(f"listener: {error}", file=sys.stderr)  # noqa: T201  one sentence, for the person at the terminal
        return 1
    try:
        asyncio.run(_run(settings, identity))
    except DaasError as error:
        logging.getLogger("listener_service").critical(str(error))
        print(f"listener: {error}", file=sys.stderr)  # noqa: T201  for the person at the terminal
        return 1
    return 0


async def _run(settings: ListenerSettings, identity: ListenerIdentity) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = await assemble(settings, identity, on_ready=_announce)
    try:
        await listener.run(stop)
    finally:
        await listener.close()


def _announce(facts: Mapping[str, object]) -> None:
    """Whoever started this process waits for this line on stdout."""
    print(json.dumps({"ready": True, "pid": os.getpid(), **facts}), flush=True)  # noqa: T201  the ready line


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: it would wait for threads that still wait for the API server, up to their finish_by. What
    # they do is claimed, and nobody is left to hear of it.
    os._exit(exit_code)
