"""`python -m listener_service`: settings from the environment, one JSON line when ready, SIGTERM drains."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from k3s_daas.errors import ConfigurationError, DaasError
from k3s_daas.unknown_settings import unknown_settings
from listener_service import logs
from listener_service.api_way import load_configuration
from listener_service.assembly import assemble
from listener_service.health.metrics import Metrics
from listener_service.health.server import HealthServer
from listener_service.replica import unless
from listener_service.settings import ListenerIdentity, ListenerSettings
from listener_service.settings_table import help_text, names
from listener_service.vitals import Vitals

# What a shell says of a process that a signal ended.
_SIGNALLED = 128


def main(environment: Mapping[str, str] = os.environ, arguments: Sequence[str] = ()) -> int:
    """The exit code, as `--help` explains them."""
    parser = argparse.ArgumentParser(
        prog="python -m listener_service",
        description="The listener: runs at the API server what the contract has accepted, and answers.",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    # First, since a name that is missing may be there misspelt; and at any level, which may be misspelt, too.
    logs.configure("info")
    _warn_of_unknown_settings(environment)
    try:
        settings = ListenerSettings.from_environment(environment)
        # Before the keys: whoever waits for a key service says so.
        logs.configure(settings.log_level)
        # What is wrong on this machine is said before anybody else is asked.
        load_configuration(settings.kubeconfig)
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
    except Exception:
        # Not left to Python, which would wait for threads that wait for the API server.
        logging.getLogger("listener_service").critical("the listener failed inside", exc_info=True)
        print("listener: it failed inside, see its log", file=sys.stderr)  # noqa: T201  as above
        return 1
    return 0


def _warn_of_unknown_settings(environment: Mapping[str, str]) -> None:
    unknown = unknown_settings(environment, names())
    if unknown:
        logging.getLogger("listener_service").warning(
            "settings are not known, and ignored: correct or remove them", extra={"did_you_mean": unknown}
        )


async def _run(settings: ListenerSettings, identity: ListenerIdentity) -> None:
    vitals = Vitals(settings.lease_s, settings.ready_lag_s)
    metrics, stop = Metrics(vitals), asyncio.Event()

    def end(number: int) -> None:
        if stop.is_set():
            # Told twice: whoever says so wants no drain. What may have run is claimed.
            logging.getLogger("listener_service").warning("told to end at once")
            _leave(_SIGNALLED + number)
        # First, so that nobody relies on it any more while it drains.
        vitals.drains()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    async with _health(settings, vitals, metrics) as facts:
        assembling = assemble(
            settings,
            identity,
            on_ready=lambda more: _announce({**more, **facts}),
            vitals=vitals,
            counts=metrics,
        )
        listener = await unless(stop, assembling)
        if listener is None:
            return
        try:
            await listener.run(stop)
        finally:
            await listener.close()


@asynccontextmanager
async def _health(
    settings: ListenerSettings, vitals: Vitals, metrics: Metrics
) -> AsyncGenerator[dict[str, object], None]:
    """What the ready line says about it."""
    if settings.health_address is None:
        yield {}
        return
    async with HealthServer(vitals, metrics.render).serving(settings.health_address) as port:
        yield {"health_port": port}


def _announce(facts: Mapping[str, object]) -> None:
    """Whoever started this process waits for this line on stdout."""
    print(json.dumps({"ready": True, "pid": os.getpid(), **facts}), flush=True)  # noqa: T201  the ready line


def _leave(exit_code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: it would wait for threads that still wait for the API server, up to their finish_by. What
    # they do is claimed, and nobody is left to hear of it.
    os._exit(exit_code)


if __name__ == "__main__":
    _leave(main(arguments=sys.argv[1:]))
