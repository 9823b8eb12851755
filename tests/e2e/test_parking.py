"""A real kubectl and an API server that takes longer than the gateway waits."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from infra.local.kubectl import find_kubectl
from tests.e2e.parking_stage import DOCUMENT, WAITS, SecondGateway, creations, executed, names, slow

pytestmark = pytest.mark.timeout(180)

SLOW_S = 8.0
COLD_START_S = 0.6


@pytest.fixture
def gateway(shared_stack: Any, tmp_path: Path) -> Generator[SecondGateway, None, None]:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    gateway = SecondGateway(shared_stack.state, tmp_path, find_kubectl(), settings=WAITS)
    # Discovery and OpenAPI are not what these tests are about.
    assert gateway.kubectl.run("create", "-f", "-", stdin=DOCUMENT % "warm").code == 0
    yield gateway
    gateway.close()


def test_a_slow_write_runs_once_and_kubectl_notices_nothing(
    shared_stack: Any, gateway: SecondGateway
) -> None:
    before = len(executed(shared_stack.state))
    with slow(shared_stack.state, SLOW_S):
        result = gateway.kubectl.run("create", "-f", "-", stdin=DOCUMENT % "slow")
    assert (result.code, result.errors) == (0, "")
    assert result.seconds > SLOW_S - 1
    [record] = creations(executed(shared_stack.state, before))
    assert record.processed is not None
    assert record.processed.status_code == 201
    assert len(names(gateway.kubectl.run("get", "cm", "-l", "set=slow", "-o", "name"))) == 1
    codes = [code for verb, code in gateway.answers("configmaps") if verb == "create"]
    assert codes[-3:] == [503, 503, 201]


def test_a_slow_write_that_finds_the_function_cold_runs_once(
    shared_stack: Any, gateway: SecondGateway, tmp_path: Path
) -> None:
    before = len(executed(shared_stack.state))
    gateway.close()
    cold = SecondGateway(
        shared_stack.state,
        tmp_path,
        find_kubectl(),
        settings=WAITS,
        cold_start_s=COLD_START_S,
        port=gateway.port,
    )
    try:
        with slow(shared_stack.state, SLOW_S):
            # Without validation, so that the write is the first request.
            result = cold.kubectl.run("create", "--validate=false", "-f", "-", stdin=DOCUMENT % "cold")
        assert (result.code, result.errors) == (0, "")
        assert len(creations(executed(shared_stack.state, before))) == 1
        assert len(names(cold.kubectl.run("get", "cm", "-l", "set=cold", "-o", "name"))) == 1
    finally:
        cold.close()


def test_a_slow_read_reaches_kubectl(shared_stack: Any, gateway: SecondGateway) -> None:
    before = len(executed(shared_stack.state))
    with slow(shared_stack.state, 5.0):
        result = gateway.kubectl.run("get", "configmaps", "-l", "set=warm", "-o", "name")
    assert names(result)
    asked = [record.requested.attributes for record in executed(shared_stack.state, before)]
    assert [attributes.verb for attributes in asked if attributes.resource == "configmaps"] == ["list"]


def test_two_identical_documents_in_one_file_stay_two(shared_stack: Any, gateway: SecondGateway) -> None:
    before = len(executed(shared_stack.state))
    document = DOCUMENT % "two"
    with slow(shared_stack.state, 5.0):
        result = gateway.kubectl.run("create", "-f", "-", stdin=f"{document}---\n{document}")
    assert (result.code, result.errors) == (0, "")
    assert len(names(gateway.kubectl.run("get", "cm", "-l", "set=two", "-o", "name"))) == 2
    assert len(creations(executed(shared_stack.state, before))) == 2


def test_without_a_session_a_slow_write_is_a_504_and_is_not_sent_again(
    shared_stack: Any, gateway: SecondGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(executed(shared_stack.state))
    # kubectl's own switch for the two headers that name its command and its process.
    monkeypatch.setenv("KUBECTL_COMMAND_HEADERS", "false")
    kubectl = gateway.another_kubectl()
    with slow(shared_stack.state, SLOW_S):
        result = kubectl.run("create", "-f", "-", stdin=DOCUMENT % "alone")
    assert result.code == 1
    assert "Look at the cluster before you repeat it" in result.errors
    assert len(creations(executed(shared_stack.state, before))) == 1
    codes = [code for verb, code in gateway.answers("configmaps") if verb == "create"]
    assert codes[-1] == 504
    assert 503 not in codes
