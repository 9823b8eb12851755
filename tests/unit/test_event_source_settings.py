"""Where events come from, as the environment says it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from k3s_daas.errors import ConfigurationError, LedgerUnavailableError
from k3s_daas.sui.endpoints import SuiEndpoints
from k3s_daas.sui.ledger import EventFilter
from k3s_daas.sui.quorum import QuorumLedger
from listener_service.event_source import (
    LedgerEventSource,
    MergedEventSource,
    ReplayPlan,
    Wanted,
    WebSocketEndpoints,
    WebSocketEventSource,
    open_source,
    websockets_from_environment,
)
from tests.unit.contract_world import CHAIN_ID
from tests.unit.memory_ledger import MemoryLedger
from tests.unit.virtual_time import VirtualClock

OWN_NODE = SuiEndpoints(("https://sui.example",))
DEVELOPMENT = SuiEndpoints(("http://127.0.0.1:9000",), development=True)
THREE = SuiEndpoints(("https://a.example", "https://b.example", "https://c.example"), quorum=2)


def read(sui: SuiEndpoints, **environment: str) -> WebSocketEndpoints | None:
    variables = {f"DAAS_{name}": value for name, value in environment.items()}
    return websockets_from_environment(variables, sui)


def websocket(url: str, sui: SuiEndpoints = OWN_NODE, tokens: str = "") -> WebSocketEndpoints:
    found = read(sui, EVENT_SOURCE="websocket", SUI_WEBSOCKET_URL=url, SUI_WEBSOCKET_TOKEN_FILE=tokens)
    assert found is not None
    return found


def token_file(path: Path, text: str = "abc.DEF-123_~+/==\n") -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_events_come_over_grpc_unless_something_else_is_said() -> None:
    assert read(OWN_NODE) is None
    assert read(OWN_NODE, EVENT_SOURCE="grpc", SUI_WEBSOCKET_URL=" ") is None


def test_one_endpoint_and_its_token(tmp_path: Path) -> None:
    path = token_file(tmp_path / "token")
    found = websocket("wss://sui.example/v1/key", tokens=str(path))
    [endpoint] = found.endpoints
    assert (endpoint.url, endpoint.bearer(), found.quorum) == (
        "wss://sui.example/v1/key",
        "abc.DEF-123_~+/==",
        1,
    )
    path.write_text("rotated")
    assert endpoint.bearer() == "rotated"
    path.unlink()
    with pytest.raises(LedgerUnavailableError, match="DAAS_SUI_WEBSOCKET_TOKEN_FILE"):
        endpoint.bearer()


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    path = token_file(tmp_path / "token", "very-secret")
    [endpoint] = websocket("wss://sui.example/v1/very-secret?key=very-secret", tokens=str(path)).endpoints
    assert str(endpoint) == "WebSocket endpoint wss://sui.example"


def test_several_endpoints_need_more_than_half_of_them(tmp_path: Path) -> None:
    path = token_file(tmp_path / "token")
    urls = "wss://a.example, wss://b.example,wss://c.example,wss://d.example"
    found = websocket(urls, THREE, f",{path},,")
    assert (len(found.endpoints), found.quorum) == (4, 3)
    assert [endpoint.bearer() is None for endpoint in found.endpoints] == [True, False, True, True]


@pytest.mark.parametrize(
    ("sui", "environment", "says"),
    [
        (OWN_NODE, {"EVENT_SOURCE": "carrier-pigeon"}, "DAAS_EVENT_SOURCE"),
        (OWN_NODE, {"SUI_WEBSOCKET_URL": "wss://a.example"}, "DAAS_EVENT_SOURCE=websocket"),
        (OWN_NODE, {"SUI_WEBSOCKET_TOKEN_FILE": "/nowhere"}, "DAAS_EVENT_SOURCE=websocket"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket"}, "DAAS_SUI_WEBSOCKET_URL is not set"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "https://a.example"}, "no ws://"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "wss://a.example:0"}, "no ws://"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "wss://a.example:x"}, "no ws://"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "wss:///secret"}, "no ws://"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "ws://a.example"}, "must be wss://"),
        (OWN_NODE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "wss://u:secret@a.example"}, "bearer"),
        (THREE, {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "wss://a.example"}, "DAAS_QUORUM is 2"),
        (
            THREE,
            {"EVENT_SOURCE": "websocket", "SUI_WEBSOCKET_URL": "wss://a.example,wss://a.example:444"},
            "twice",
        ),
        (
            OWN_NODE,
            {
                "EVENT_SOURCE": "websocket",
                "SUI_WEBSOCKET_URL": "wss://a.example",
                "SUI_WEBSOCKET_TOKEN_FILE": "one,two",
            },
            "lists 2 files for 1",
        ),
        (
            OWN_NODE,
            {
                "EVENT_SOURCE": "websocket",
                "SUI_WEBSOCKET_URL": "wss://a.example",
                "SUI_WEBSOCKET_TOKEN_FILE": "/nowhere/token",
            },
            "cannot be read",
        ),
    ],
)
def test_a_mistake_is_one_sentence_without_secrets(
    sui: SuiEndpoints, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        read(sui, **environment)
    message = str(raised.value)
    assert "DAAS_" in message
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "two words", "new\nline", "späte"])
def test_a_token_is_a_token(tmp_path: Path, text: str) -> None:
    path = token_file(tmp_path / "token", text)
    with pytest.raises(ConfigurationError, match="DAAS_SUI_WEBSOCKET_TOKEN_FILE") as raised:
        websocket("wss://a.example", tokens=str(path))
    assert not text or text not in str(raised.value)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = token_file(tmp_path / "token")
    path.chmod(stat.S_IRUSR | stat.S_IRGRP)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        websocket("wss://a.example", tokens=str(path))


def test_without_tls_only_where_nothing_can_be_overheard(tmp_path: Path) -> None:
    assert websocket("ws://127.0.0.1:9001").quorum == 1
    assert websocket("ws://ledger.local:9001", DEVELOPMENT).quorum == 1
    path = token_file(tmp_path / "token")
    with pytest.raises(ConfigurationError, match="must be wss://"):
        websocket("ws://ledger.local:9001", DEVELOPMENT, str(path))


WANTED = Wanted(EventFilter(("0x1::events::E",)), CHAIN_ID, ReplayPlan(1))


def test_the_source_is_what_the_settings_ask_for() -> None:
    def opened(ledger: MemoryLedger | QuorumLedger, websockets: WebSocketEndpoints | None) -> object:
        return open_source(WANTED, ledger, websockets, clock=VirtualClock(), on_live=lambda: None)

    several = QuorumLedger([MemoryLedger(), MemoryLedger(), MemoryLedger()], 2, report=lambda _: None)
    assert isinstance(opened(MemoryLedger(), None), LedgerEventSource)
    assert isinstance(opened(MemoryLedger(), websocket("wss://a.example")), WebSocketEventSource)
    over_grpc = opened(several, None)
    assert isinstance(over_grpc, MergedEventSource)
    assert [type(source) for source in over_grpc.sources] == [LedgerEventSource] * 3
    over_websockets = opened(several, websocket("wss://a.example,wss://b.example", THREE))
    assert isinstance(over_websockets, MergedEventSource)
    assert [type(source) for source in over_websockets.sources] == [WebSocketEventSource] * 2
    assert over_websockets.quorum == 2


def test_ready_is_who_hears_a_quorum() -> None:
    said: list[bool] = []
    several = QuorumLedger([MemoryLedger(), MemoryLedger(), MemoryLedger()], 2, report=lambda _: None)
    merged = open_source(WANTED, several, None, clock=VirtualClock(), on_live=lambda: said.append(True))
    assert isinstance(merged, MergedEventSource)
    first, second, _ = merged.sources
    assert isinstance(first, LedgerEventSource)
    assert isinstance(second, LedgerEventSource)
    first.on_live()
    first.on_live()
    assert said == []
    second.on_live()
    assert said == [True]
