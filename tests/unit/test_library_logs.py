"""What libraries log, in our form, and without what their messages quote."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from chalicelib.library_logs import log_libraries

from k3s_daas.library_logs import library_fields

ROOT = Path(__file__).parents[2]


def said(message: str, *values: object) -> str:
    record = logging.LogRecord("urllib3.connection", logging.WARNING, "", 1, message, values, None)
    return library_fields(record)["message"]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Retrying (Retry()) after connection broken by 'Reset()': /bucket/key?X-Amz-Signature=secret",
            "Retrying (Retry()) after connection broken by 'Reset()': /bucket/key?…",
        ),
        (
            "Failed to parse headers (url=https://one:secret@node.example:443/secret?secret): [Defect()]",
            "Failed to parse headers (url=https://node.example:443/…): [Defect()]",
        ),
        ("it is at https://node.example?token=secret and gone", "it is at https://node.example/… and gone"),
        (
            "Failed to parse headers: [Defect()], unparsed data: 'Set-Cookie: secret'",
            "Failed to parse headers: [Defect()], unparsed data: …",
        ),
        (
            "Task exception was never retrieved\nfuture: <Task exception=ValueError('secret')>",
            "Task exception was never retrieved",
        ),
        ("Connection pool is full, discarding connection: node.example. Connection pool size: 10",) * 2,
    ],
)
def test_messages_lose_what_may_be_a_secret(message: str, told: str) -> None:
    assert said(message) == told
    assert said("%s", message) == told


def test_a_long_message_is_cut() -> None:
    assert len(said("x" * 10_000)) == 500


def test_a_message_that_does_not_fit_its_values_is_no_error_and_quotes_none() -> None:
    """`logging` itself would print the values on stderr."""
    assert said("%d of %d", "secret") == "a message that cannot be formatted (TypeError)"


@pytest.fixture
def logged() -> list[str]:
    lines: list[str] = []
    log_libraries(lines.append)
    return lines


def test_the_gateway_logs_warnings_of_libraries_as_its_own_lines(logged: list[str]) -> None:
    logging.getLogger("botocore.endpoint").info("Authorization: secret")
    logging.getLogger("botocore.endpoint").warning("no answer from %s", "https://kms.example/?a=secret")
    try:
        raise ValueError("secret")
    except ValueError:
        logging.getLogger("botocore.tokens").warning("it failed", exc_info=True)
    first, second = map(json.loads, logged)
    assert first == {
        "event": "library",
        "level": "warning",
        "logger": "botocore.endpoint",
        "message": "no answer from https://kms.example/…",
    }
    assert second["exception"].startswith("ValueError in test_the_gateway_logs_")
    assert "secret" not in "".join(logged)


async def test_what_asyncio_tells_of_a_lost_exception_is_its_kind_and_place(logged: list[str]) -> None:
    def fail() -> None:
        raise ValueError("secret")

    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)
    (line,) = map(json.loads, logged)
    assert (line["logger"], line["level"]) == ("asyncio", "error")
    assert line["exception"].startswith("ValueError in test_what_asyncio_tells")
    assert "secret" not in logged[0]


def test_the_functions_take_the_place_of_lambdas_own_handler() -> None:
    """Lambda's runtime has put it there before it imports the app."""
    code = """
import logging, sys
logging.basicConfig(format="plain %(message)s")
sys.path.insert(0, "functions")
import app
logging.getLogger("botocore").warning("slow")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert [json.loads(line) for line in done.stderr.splitlines()] == [
        {"event": "library", "level": "warning", "logger": "botocore", "message": "slow"}
    ]
