"""How the listener reaches an API server and is known to it, by all that a kubeconfig can say, over TLS."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from infra.local.certificates import LocalAuthority
from k3s_daas.errors import ConfigurationError
from listener_service.api_call import ApiCall, ApiServerError, NotSentError, NotStartedError
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from tests.unit.connect_proxy import ConnectProxy, connect_proxy
from tests.unit.kubeconfig_place import INTERNAL, Place, get, place_with, put

pytestmark = pytest.mark.usefixtures("no_proxies")


def test_a_token_file_is_followed_as_it_rotates(place: Place) -> None:
    token = place.directory / "token"
    put(token, "first\n")
    place.user = {"tokenFile": "token", "token": "stands back"}
    with place.server() as server:
        get(server)
        put(token, "second\n")
        get(server)
        get(server)
    assert place.tokens() == ["Bearer first", "Bearer second", "Bearer second"]
    assert place.api.connections == 2, "the connections of an old credential are not used on"


@pytest.mark.parametrize("content", ["", " \n", "a b", "a\r\nX-Remote-User: system:admin", "ü"])
def test_a_token_that_is_none_is_refused_and_not_told(content: str, place: Place) -> None:
    put(place.directory / "token", content)
    place.user = {"tokenFile": "token"}
    with pytest.raises(ConfigurationError, match=r"KUBECONFIG .* token for the API server") as caught:
        load_configuration(place.kubeconfig)
    assert "Remote" not in str(caught.value)


def test_a_token_file_that_is_gone_leaves_the_old_token(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    token = place.directory / "token"
    put(token, "first")
    place.user = {"tokenFile": "token"}
    with place.server() as server:
        token.unlink()
        assert get(server) == 200
    assert place.tokens() == ["Bearer first"]
    assert "credentials for the API server not renewed" in caplog.messages
    with pytest.raises(ConfigurationError, match="token cannot be read"):
        load_configuration(place.kubeconfig)


def test_in_a_cluster_the_service_account_is_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    token = place.directory / "token"
    put(token, "first\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(place.authority.certificate_file))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(place.api.port))
    server = ApiServer(lambda: load_configuration(None), connections=1)
    get(server)
    put(token, "second\n")
    get(server)
    server.close()
    assert place.tokens() == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("inline", [False, True])
def test_a_client_certificate_is_followed_as_it_rotates(
    inline: bool, tmp_path: Path, authority: LocalAuthority
) -> None:
    with place_with(tmp_path, authority, asks_for_certificates=True) as place:

        def use(name: str) -> None:
            issued = authority.issue_client(name)
            files = {"client-certificate": issued.certificate, "client-key": issued.key}
            if inline:
                place.user = {
                    f"{key}-data": base64.b64encode(path.read_bytes()).decode() for key, path in files.items()
                }
                assert place.kubeconfig
            else:
                for key, path in files.items():
                    put(tmp_path / key, path.read_bytes())
                place.user = {key: str(tmp_path / key) for key in files}

        use("first")
        with place.server() as server:
            assert get(server) == 200
            use("second")
            assert get(server) == 200
        assert place.api.peers == ["first", "second"]


def test_without_a_certificate_that_is_asked_for_nothing_is_sent(
    tmp_path: Path, authority: LocalAuthority
) -> None:
    with place_with(tmp_path, authority, asks_for_certificates=True) as place:
        place.user = {"token": "alone"}
        with place.server() as server, pytest.raises(ApiServerError):
            get(server)
        assert place.api.seen == []


@pytest.fixture
def proxy(place: Place) -> Iterator[ConnectProxy]:
    with connect_proxy(place.api.port) as made:
        yield made


def test_the_kubeconfigs_proxy_is_used_and_sees_nothing(
    place: Place, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    place.user = {"token": "geheim"}
    place.cluster = {"proxy-url": f"http://us%40er:pass@127.0.0.1:{proxy.port}"}
    with place.server() as server:
        assert get(server) == 200
        assert get(server) == 200
    assert [target for target, _ in proxy.asked] == [f"127.0.0.1:{place.api.port}"]
    basic = base64.b64encode(b"us@er:pass").decode()
    assert proxy.headers("Proxy-Authorization") == [f"Basic {basic}"]
    assert proxy.headers("Authorization") == []
    assert b"geheim" not in proxy.tunnelled
    assert place.tokens() == ["Bearer geheim", "Bearer geheim"]
    assert [seen.header("Proxy-Authorization") for seen in place.api.seen] == [None, None]


@pytest.mark.parametrize("by_proxy", [False, True])
def test_over_tls_nothing_is_sent_before_the_gate_is_asked_when_the_connection_stands(
    by_proxy: bool, place: Place
) -> None:
    handshakes: list[int] = []

    def may_start() -> bool:
        handshakes.append(len(place.names))
        return len(handshakes) > 1

    call = ApiCall("DELETE", "/api/v1/namespaces/x/pods/y", [], b"{}", 5.0, 100_000)
    with connect_proxy(place.api.port) as proxy:
        if by_proxy:
            place.cluster = {"proxy-url": f"http://127.0.0.1:{proxy.port}"}
        with place.server() as server:
            with pytest.raises(NotStartedError) as refused:
                server.send(call, may_start)
            assert not refused.value.sent
            assert (handshakes, place.api.seen) == ([1], [])
            assert server.send(call, may_start).status == 200
        assert len(proxy.asked) == (len(place.names) if by_proxy else 0)
    assert [seen.method for seen in place.api.seen] == ["DELETE"]
    assert len(handshakes) == 2


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_means_that_nothing_was_sent(
    status: int, place: Place, proxy: ConnectProxy
) -> None:
    proxy.status = status
    place.cluster = {"proxy-url": f"http://127.0.0.1:{proxy.port}"}
    with place.server() as server, pytest.raises(NotSentError):
        get(server)
    assert place.api.seen == []


def test_the_environments_proxy_is_for_other_machines(
    tmp_path: Path, authority: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        place_with(tmp_path, authority, INTERNAL, "localhost") as place,
        connect_proxy(place.api.port) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        place.cluster = {"server": f"https://localhost:{place.api.port}"}
        with place.server() as server:
            assert get(server) == 200
        assert proxy.asked == []
        place.cluster = {"server": f"https://{INTERNAL}:{place.api.port}"}
        with place.server() as server:
            assert get(server) == 200
        assert [target for target, _ in proxy.asked] == [f"{INTERNAL}:{place.api.port}"]
        monkeypatch.setenv("NO_PROXY", ".internal")
        with place.server() as server, pytest.raises(NotSentError):
            get(server)
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "ftp://127.0.0.1:21"])
def test_other_proxies_are_refused_and_not_left_out(url: str, place: Place) -> None:
    place.cluster = {"proxy-url": url}
    with pytest.raises(ConfigurationError, match="prox"):
        load_configuration(place.kubeconfig)


@pytest.mark.parametrize("url", ["api", "api:6443", "https://", "https://api:99999", "https://u:hidden@api"])
def test_a_server_that_is_no_url_is_told_and_not_waited_for(url: str, place: Place) -> None:
    place.cluster = {"server": url}
    with pytest.raises(ConfigurationError, match="its cluster's server must be https") as caught:
        load_configuration(place.kubeconfig)
    assert "hidden" not in str(caught.value)


def test_files_that_hold_no_certificate_are_told_and_not_waited_for(
    place: Place, tmp_path: Path, authority: LocalAuthority
) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(bytes(range(256)))
    place.cluster = {"certificate-authority": str(junk)}
    with pytest.raises(ConfigurationError, match="certificate authority"):
        load_configuration(place.kubeconfig)
    place.cluster = {}
    mine, others = authority.issue("mine", ()), authority.issue("others", ())
    for certificate, key in ((junk, junk), (mine.certificate, others.key), (mine.certificate, junk)):
        place.user = {"client-certificate": str(certificate), "client-key": str(key)}
        with pytest.raises(ConfigurationError, match="client certificate and its key"):
            load_configuration(place.kubeconfig)
    place.user = {"client-certificate": str(mine.certificate), "client-key": str(mine.key)}
    load_configuration(place.kubeconfig)


def test_the_servers_name_is_the_kubeconfigs(tmp_path: Path, authority: LocalAuthority) -> None:
    with place_with(tmp_path, authority, INTERNAL) as place:
        with place.server() as server, pytest.raises(NotSentError):
            get(server)
        place.cluster = {"tls-server-name": INTERNAL}
        with place.server() as server:
            assert get(server) == 200
        assert place.names[-1] == INTERNAL
        with connect_proxy(place.api.port) as proxy:
            place.cluster["proxy-url"] = f"http://127.0.0.1:{proxy.port}"
            with place.server() as server:
                assert get(server) == 200
            assert len(proxy.asked) == 1
    assert len(place.api.seen) == 2


def test_a_server_that_is_not_verified_gets_nothing_unless_the_kubeconfig_says_so(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = LocalAuthority(tmp_path / "stranger")
    place.user = {"token": "it"}
    for authority in (str(stranger.certificate_file), None):
        place.cluster = {"certificate-authority": authority}
        with place.server() as server, pytest.raises(NotSentError):
            get(server)
    assert place.api.seen == []
    place.cluster["insecure-skip-tls-verify"] = True
    with place.server() as server:
        assert get(server) == 200
    assert any("not verified" in message for message in caplog.messages)
    place.cluster = {"insecure-skip-tls-verify": True}
    with pytest.raises(ConfigurationError, match="remove one of them"):
        load_configuration(place.kubeconfig)


def test_no_variable_turns_verification_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONHTTPSVERIFY", "KUBERNETES_VERIFY_SSL", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "0")
    place.cluster = {"certificate-authority": None}
    with place.server() as server, pytest.raises(NotSentError):
        get(server)
