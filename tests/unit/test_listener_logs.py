"""The listener's log at its loudest: what libraries know and tell below warnings stays out of it."""

from __future__ import annotations

import io
import json
import logging

import pytest

from listener_service import logs


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


LIBRARIES = (
    "botocore.endpoint",
    "websockets.client",
    "hpack.hpack",
    "urllib3.connectionpool",
    "grpclib.client",
)


def test_libraries_tell_only_what_goes_wrong_however_loud_we_are(log: io.StringIO) -> None:
    logs.configure("debug", log)
    for name in LIBRARIES:
        logging.getLogger(name).debug("Authorization: Bearer secret")
        logging.getLogger(name).info("Plaintext: secret")
        logging.getLogger(name).warning("the connection broke")
    logging.getLogger("listener_service.service").debug("event skipped")
    logging.getLogger("k3s_daas.sui.quorum").info("asking another endpoint")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == [
        *LIBRARIES,
        "listener_service.service",
        "k3s_daas.sui.quorum",
    ]
    assert "secret" not in log.getvalue()


@pytest.mark.parametrize(("level", "told"), [("info", 3), ("warning", 2), ("error", 1)])
def test_who_wants_less_gets_less_of_everybody(level: str, told: int, log: io.StringIO) -> None:
    logs.configure(level, log)
    logging.getLogger("listener_service.service").info("command answered")
    logging.getLogger("listener_service.service").warning("command refused, nothing was run")
    logging.getLogger("listener_service.service").error("event not believed, nothing was run")
    assert len(log.getvalue().splitlines()) == told
    log.truncate(0)
    logging.getLogger("botocore").warning("retrying")
    assert bool(log.getvalue().strip("\0")) is (level != "error")


def test_what_a_library_says_is_a_line_without_what_it_quotes(log: io.StringIO) -> None:
    logs.configure("info", log)
    logger = logging.getLogger("urllib3.connectionpool")
    logger.warning(
        "Retrying after %s: %s", "a reset", "/bucket/key?X-Amz-Signature=secret", extra={"a": "secret"}
    )
    logging.getLogger("listener_service.service").warning("refused", extra={"reason": "paused"})
    library, ours = (json.loads(line) for line in log.getvalue().splitlines())
    assert library.keys() == {"time", "level", "logger", "message"}
    assert library["message"] == "Retrying after a reset: /bucket/key?…"
    assert ours["reason"] == "paused"
