"""Which endpoints are asked: several of different providers, or one where somebody says why."""

from __future__ import annotations

import pytest
from chalicelib.settings import settings_from_environment

from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.endpoints import SuiEndpoints, endpoints_from_environment
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.quorum import QuorumLedger
from listener_service.settings import ListenerSettings

THREE = "https://a.example, https://b.example:443,https://c.example/"
LOOPBACK = "http://127.0.0.1:9000,http://127.0.0.1:9001,http://127.0.0.1:9002"


def read(**environment: str) -> SuiEndpoints:
    return endpoints_from_environment({f"DAAS_{name}": value for name, value in environment.items()})


async def test_two_of_three_are_read_and_opened() -> None:
    endpoints = read(SUI_ENDPOINTS=THREE, QUORUM="2")
    assert endpoints == SuiEndpoints(
        ("https://a.example", "https://b.example:443", "https://c.example/"), quorum=2
    )
    ledger = endpoints.open()
    assert isinstance(ledger, QuorumLedger)
    assert (len(ledger.members), ledger.quorum) == (3, 2)
    assert str(ledger) == (
        "2 of Sui endpoint a.example:443, Sui endpoint b.example:443, Sui endpoint c.example:443"
    )
    await ledger.close()


def test_one_endpoint_is_no_quorum() -> None:
    for name in ("SUI_ENDPOINT", "SUI_ENDPOINTS"):
        endpoints = read(SINGLE_ENDPOINT="own-node", **{name: "https://a.example"})
        assert endpoints == SuiEndpoints(("https://a.example",))
        assert isinstance(endpoints.open(), GrpcLedger)


def test_all_of_two_may_be_asked_for() -> None:
    assert read(SUI_ENDPOINTS="https://a.example,https://b.example", QUORUM="2").quorum == 2


def test_ports_of_this_machine_need_no_tls() -> None:
    assert read(SUI_ENDPOINTS=LOOPBACK, QUORUM="3").urls == tuple(LOOPBACK.split(","))


@pytest.mark.parametrize("quorum", ["", "0", "1", "4", "-2", "two", "2.0", "²", "9" * 5000])
def test_a_quorum_is_more_than_half_of_the_endpoints(quorum: str) -> None:
    with pytest.raises(ConfigurationError, match="DAAS_QUORUM must be a whole number from 2 to 3"):
        read(SUI_ENDPOINTS=THREE, QUORUM=quorum)


@pytest.mark.parametrize("quorum", ["1", "2"])
def test_half_of_four_is_no_quorum(quorum: str) -> None:
    with pytest.raises(ConfigurationError, match="from 3 to 4"):
        read(SUI_ENDPOINTS=THREE + ",https://d.example", QUORUM=quorum)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "DAAS_SINGLE_ENDPOINT"),
        ({"SUI_ENDPOINT": "https://a.example"}, "DAAS_SINGLE_ENDPOINT"),
        ({"SUI_ENDPOINTS": "https://a.example"}, "DAAS_SINGLE_ENDPOINT"),
        ({"SINGLE_ENDPOINT": "own-node"}, "DAAS_SUI_ENDPOINT is not set"),
        ({"SUI_ENDPOINT": "https://a.example", "SINGLE_ENDPOINT": "own-node", "QUORUM": "2"}, "DAAS_QUORUM"),
        ({"SUI_ENDPOINT": "http://a.example", "SINGLE_ENDPOINT": "own-node"}, "must be https"),
        ({"SUI_ENDPOINT": "a.example", "SINGLE_ENDPOINT": "own-node"}, "DAAS_SUI_ENDPOINT holds"),
        ({"SUI_ENDPOINT": "https://a.example", "SUI_ENDPOINTS": THREE, "QUORUM": "2"}, "both set"),
        ({"SUI_ENDPOINTS": THREE, "QUORUM": "2", "SINGLE_ENDPOINT": "development"}, "DAAS_SINGLE_ENDPOINT"),
        ({"SUI_ENDPOINTS": "https://a.example,http://b.example", "QUORUM": "2"}, "must be https"),
        ({"SUI_ENDPOINTS": "https://a.example,https://A.example:444", "QUORUM": "2"}, "twice"),
        ({"SUI_ENDPOINTS": "http://localhost:1,http://localhost:1", "QUORUM": "2"}, "twice"),
        ({"SUI_ENDPOINTS": "https://a.example,https://b.example:x", "QUORUM": "2"}, "DAAS_SUI_ENDPOINTS"),
        ({"SUI_ENDPOINTS": "https://a.example,https://b.example/SECRET", "QUORUM": "2"}, "ENDPOINTS holds"),
        ({"SUI_ENDPOINTS": "https://a.example,https://b.example?k=SECRET", "QUORUM": "2"}, "gRPC endpoint"),
        ({"SUI_ENDPOINT": "https://u:SECRET@b.example", "SINGLE_ENDPOINT": "own-node"}, "DAAS_SUI_ENDPOINT"),
    ],
)
def test_a_wrong_choice_is_one_sentence(environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        read(**environment)
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_gateway_and_listener_read_the_same() -> None:
    environment = {
        "DAAS_SUI_ENDPOINTS": THREE,
        "DAAS_QUORUM": "2",
        "DAAS_TRUST_ROOTS_FILE": "roots.json",
        "DAAS_REQUEST_TABLE": "requests",
        "DAAS_KMS_KEY_ID": "key",
        "DAAS_PARKING_KEY_ID": "parking",
        "DAAS_EXECUTOR": "0x" + "ab" * 32,
        "DAAS_EXECUTOR_KEY_FILE": "executor.key",
        "DAAS_KEY_PASSPHRASE_FILE": "passphrase",
        "DAAS_LISTENER_NAMESPACE": "daas-system",
    }
    gateway, listener = settings_from_environment(environment), ListenerSettings.from_environment(environment)
    assert gateway.endpoints == listener.endpoints
