"""The listener known to an API server by what a kubeconfig's credential plugin prints."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.certificates import LocalAuthority
from k3s_daas.errors import ConfigurationError
from listener_service import api_server as connection
from listener_service import exec_plugin
from listener_service.api_call import ApiCall, NotSentError
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from tests.unit.kubeconfig_place import V1, Place, get, place_with, soon
from tests.unit.scripted_api_server import ScriptedReply

pytestmark = pytest.mark.usefixtures("no_proxies")


def test_a_plugin_runs_once_until_its_credential_ends(place: Place) -> None:
    place.plugin({"token": "first", "expirationTimestamp": soon(3_600)})
    with place.server() as server:
        get(server)
        get(server)
        assert len(place.runs()) == 1
        place.plugin({"token": "second"})
        _expire(server, seconds=10)
        get(server)
        get(server)
    assert place.tokens() == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]
    assert len(place.runs()) == 2


def _expire(server: ApiServer, *, seconds: float) -> None:
    """The credential ends in this time."""
    server._way.configuration.expires_at = datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_plugin_whose_token_is_refused_is_asked_again(place: Place) -> None:
    place.plugin({"token": "first"})
    place.api.reply = lambda seen: ScriptedReply(
        200 if seen.header("Authorization") == "Bearer second" else 401
    )
    with place.server() as server:
        place.plugin({"token": "second"})
        assert get(server) == 200
    assert place.tokens() == ["Bearer first", "Bearer second"]


def test_a_plugin_that_fails_later_counts_when_its_credential_has_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_RENEWAL_PAUSE_S", 0.0)
    place.plugin({"token": "first", "expirationTimestamp": soon(3_600)})
    with place.server() as server:
        place.script("exit 1")
        _expire(server, seconds=10)
        assert get(server) == 200
        _expire(server, seconds=-1)
        with pytest.raises(NotSentError, match="have ended") as caught:
            get(server)
        assert not caught.value.sent
        place.plugin({"token": "second"})
        assert get(server) == 200
    assert place.tokens() == ["Bearer first", "Bearer second"]


def _hang(place: Place) -> Path:
    """The plugin hangs until this file is there; another run of it then does not."""
    place.plugin({"token": "second", "expirationTimestamp": soon(3_600)})
    place.script("echo {} >> runs; while [ ! -e go ]; do sleep 0.02; done; cat answer")
    return place.directory / "go"


def _get_within(server: ApiServer, seconds: float) -> int:
    return server.send(ApiCall("GET", "/version", [], b"", seconds, 100_000), lambda: True).status


def _get_until(server: ApiServer, place: Place, token: str) -> None:
    deadline = time.monotonic() + 20
    while place.tokens()[-1] != token and time.monotonic() < deadline:
        get(server)


def test_a_plugin_that_hangs_holds_nobody_up_while_the_old_credential_counts(place: Place) -> None:
    """The lead's renewal among them, which has less time than a plugin."""
    place.plugin({"token": "first", "expirationTimestamp": soon(3_600)})
    with place.server() as server:
        go = _hang(place)
        _expire(server, seconds=20)
        assert [_get_within(server, 2.0) for _ in range(3)] == [200, 200, 200]
        assert place.tokens() == ["Bearer first"] * 3
        go.touch()
        _get_until(server, place, "Bearer second")
    assert place.tokens()[-1] == "Bearer second"
    assert len(place.runs()) == 2


def test_a_plugin_that_hangs_costs_calls_without_a_credential_their_own_time_only(place: Place) -> None:
    place.plugin({"token": "first", "expirationTimestamp": soon(3_600)})
    with place.server() as server:
        go = _hang(place)
        _expire(server, seconds=-1)
        for _ in range(2):
            with pytest.raises(NotSentError, match="have ended"):
                _get_within(server, 0.2)
        go.touch()
        assert get(server) == 200
    assert place.tokens() == ["Bearer second"]
    assert len(place.runs()) == 2


def test_a_refused_credential_waits_for_a_plugin_no_longer_than_its_call(place: Place) -> None:
    place.plugin({"token": "first"})
    place.api.reply = lambda seen: ScriptedReply(
        200 if seen.header("Authorization") == "Bearer second" else 401
    )
    with place.server() as server:
        go = _hang(place)
        assert _get_within(server, 1.0) == 401
        go.touch()
        assert get(server) == 200
    assert place.tokens()[-1] == "Bearer second"


def test_a_plugin_may_give_a_certificate_and_renews_it(tmp_path: Path, authority: LocalAuthority) -> None:
    with place_with(tmp_path, authority, asks_for_certificates=True) as place:

        def give(name: str, seconds: float) -> None:
            issued = authority.issue_client(name)
            place.plugin(
                {
                    "clientCertificateData": issued.certificate.read_text(),
                    "clientKeyData": issued.key.read_text(),
                    "expirationTimestamp": soon(seconds),
                }
            )

        give("first", 3_600)
        with place.server() as server:
            assert get(server) == 200
            give("second", 3_600)
            assert get(server) == 200
            _expire(server, seconds=5)
            assert get(server) == 200
            key_file = Path(server._way.configuration.key_file)
            assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert place.api.peers == ["first", "first", "second"]


def test_a_plugin_is_told_of_its_cluster_and_nothing_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.plugin({"token": "it"})
    place.user["exec"] |= {"provideClusterInfo": True, "env": [{"name": "X", "value": "y"}]}
    place.cluster = {
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    }
    load_configuration(place.kubeconfig)
    [told] = place.runs()
    assert told["spec"] == {
        "interactive": False,
        "cluster": {"server": f"https://127.0.0.1:{place.api.port}", "config": {"audience": "a"}},
    }
    place.script('test "$X" = y && test -z "$(cat)" && cat answer')
    place.user["exec"]["env"] = [{"name": "X", "value": "y"}]
    load_configuration(place.kubeconfig)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo geheim; echo geheim >&2; exit 3", "ended with 3"),
        ("echo geheim", "not JSON"),
        ("echo '[]'", "kind"),
        (f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}beta1","status":{{}}}}\'', "apiVersion"),
        (f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}"}}\'', "no status"),
        (f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{}}}}\'', "neither"),
        (
            f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{"token":7}}}}\'',
            "must be text",
        ),
        (
            f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":'
            '{"clientCertificateData":"geheim"}}\'',
            "belong together",
        ),
        (
            f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":'
            '{"token":"geheim","expirationTimestamp":"tomorrow"}}\'',
            "RFC 3339",
        ),
        ("exec sleep 60", "longer than 0.2 s"),
    ],
)
def test_a_plugin_that_fails_is_named_and_not_quoted(
    body: str, message: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.script(body)
    monkeypatch.setattr(
        exec_plugin.run_plugin, "__kwdefaults__", {"timeout_s": 0.2 if "sleep" in body else 9}
    )
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_configuration(place.kubeconfig)
    assert "exec plugin ./plugin" in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "./absent"}, "cannot be run"),
        ({"command": ""}, "no command"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "apiVersion"),
        ({"interactiveMode": "Always"}, "terminal"),
    ],
)
def test_a_plugin_that_cannot_be_run_is_named(change: dict[str, str], message: str, place: Place) -> None:
    place.plugin({"token": "it"})
    place.user["exec"] |= change
    with pytest.raises(ConfigurationError, match=message):
        load_configuration(place.kubeconfig)
