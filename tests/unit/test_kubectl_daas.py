import json
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.bearer import BearerToken, verify
from k3s_daas.cli.holder import Holder, write_session_key
from k3s_daas.cli.kubectl_daas import exec_credential, main

CLUSTER, SEAL, GATEWAY = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
NOW_MS = 1_800_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    write_session_key(tmp_path / "session.key", Ed25519PrivateKey.generate())
    Holder(CLUSTER, SEAL, GATEWAY, Path("session.key")).save(tmp_path / "holder.json")
    return tmp_path / "holder.json"


def test_the_credential_is_a_token_that_the_gateway_accepts(settings: Path) -> None:
    credential = json.loads(exec_credential(Holder.load(settings), NOW_MS))

    assert credential["apiVersion"] == "client.authentication.k8s.io/v1"
    assert credential["kind"] == "ExecCredential"
    token = BearerToken.decode(credential["status"]["token"])
    assert token.claims.seal == SEAL
    verify(token, cluster=CLUSTER, gateway=GATEWAY, now_ms=NOW_MS)


def test_kubectl_renews_the_token_before_a_waiting_request_could_outlive_it(settings: Path) -> None:
    credential = json.loads(exec_credential(Holder.load(settings), NOW_MS))

    token = BearerToken.decode(credential["status"]["token"])
    told = datetime.fromisoformat(credential["status"]["expirationTimestamp"]).timestamp() * 1000
    assert token.claims.expires_at_ms - told == 360_000


def test_the_session_key_is_readable_by_its_owner_only(settings: Path) -> None:
    mode = (settings.parent / "session.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: (d / "session.key").chmod(0o644), "open to other users: run chmod 600"),
        (lambda d: (d / "session.key").unlink(), "No such file or directory, or open a new session"),
        (lambda d: (d / "session.key").write_text("junk"), "not 32 bytes of hex"),
        (lambda d: (d / "session.key").write_bytes(b"\xff"), "not 32 bytes of hex"),
        (lambda d: (d / "holder.json").unlink(), "cannot be read"),
        (lambda d: (d / "holder.json").write_text("{"), "not JSON"),
        (lambda d: (d / "holder.json").write_text("{}"), "'cluster' is missing"),
        (lambda d: (d / "holder.json").write_text('{"cluster": "0x1"}'), "64 hex digits"),
    ],
)
def test_unusable_settings_are_explained_without_a_trace(
    settings: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(settings.parent)

    assert main(["token", "--holder", str(settings)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert "Traceback" not in printed.err


def test_without_settings_the_usage_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBECTL_DAAS_HOLDER", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["token"])
    assert ended.value.code == 2
    assert "KUBECTL_DAAS_HOLDER" in capsys.readouterr().err
