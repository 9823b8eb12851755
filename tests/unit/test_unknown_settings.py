"""Names that begin as ours do and that nobody reads: said, with the one that was probably meant."""

from __future__ import annotations

import json

import pytest
from chalicelib.errors import NotConfiguredError
from chalicelib.runtime import GatewayHolder

from k3s_daas.unknown_settings import unknown_settings
from listener_service.__main__ import main

KNOWN = ("DAAS_LEASE_SECONDS", "DAAS_LOG_LEVEL", "DAAS_QUORUM")
# As Kubernetes writes them for a Service `daas-listener` with a named port, and for one called `daas`.
OF_SERVICES = {
    "DAAS_LISTENER_SERVICE_HOST": "10.0.0.1",
    "DAAS_LISTENER_SERVICE_PORT": "8080",
    "DAAS_LISTENER_SERVICE_PORT_HEALTH": "8080",
    "DAAS_LISTENER_PORT": "tcp://10.0.0.1:8080",
    "DAAS_LISTENER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "DAAS_LISTENER_PORT_8080_TCP_PROTO": "tcp",
    "DAAS_LISTENER_PORT_8080_TCP_PORT": "8080",
    "DAAS_LISTENER_PORT_8080_TCP_ADDR": "10.0.0.1",
    "DAAS_SERVICE_HOST": "10.0.0.2",
    "DAAS_SERVICE_PORT": "80",
    "DAAS_PORT_80_TCP": "tcp://10.0.0.2:80",
}


def test_the_nearest_known_name_is_told() -> None:
    environment = {"DAAS_LEASE_SECOND": "9", "DAAS_LOGLEVEL": "debug", "DAAS_LOG_LEVEL": "info", "PATH": "x"}
    assert unknown_settings(environment, KNOWN) == {
        "DAAS_LEASE_SECOND": "DAAS_LEASE_SECONDS",
        "DAAS_LOGLEVEL": "DAAS_LOG_LEVEL",
    }


def test_a_name_that_resembles_none_is_told_without_advice() -> None:
    assert unknown_settings({"DAAS_XYZZY_PLUGH": "1"}, KNOWN) == {"DAAS_XYZZY_PLUGH": None}


def test_what_kubernetes_says_of_services_is_no_mistake() -> None:
    assert unknown_settings(OF_SERVICES, KNOWN) == {}


@pytest.mark.parametrize("name", ["DAAS_HEALTH_PORT", "DAAS_HEALTH_SERVICE_PORT"])
def test_a_port_of_no_service_is_a_mistake(name: str) -> None:
    assert unknown_settings({**OF_SERVICES, name: "1"}, KNOWN) == {name: None}


def test_the_listener_warns_before_it_misses_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """The value is not told: it may be a secret under a wrong name."""
    assert main({"DAAS_SINGLE_ENDPONT": "own-node", **OF_SERVICES}) == 1
    said = capsys.readouterr().err
    warning, sentence = said.splitlines()
    line = json.loads(warning)
    assert (line["level"], line["did_you_mean"]) == (
        "warning",
        {"DAAS_SINGLE_ENDPONT": "DAAS_SINGLE_ENDPOINT"},
    )
    assert sentence.startswith("listener: DAAS_SINGLE_ENDPOINT must be")
    assert "own-node" not in warning


def test_a_listener_whose_settings_are_known_says_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(OF_SERVICES) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_gateway_warns_once() -> None:
    logged: list[str] = []
    holder = GatewayHolder({"DAAS_REQUEST_TABEL": "commands", **OF_SERVICES}, logged.append)
    for _ in range(2):
        with pytest.raises(NotConfiguredError):
            holder.gateway()
    events = [json.loads(line) for line in logged]
    assert [event["event"] for event in events] == ["unknown-settings", "not-configured", "not-configured"]
    assert events[0]["did_you_mean"] == {"DAAS_REQUEST_TABEL": "DAAS_REQUEST_TABLE"}
    assert "commands" not in logged[0]
