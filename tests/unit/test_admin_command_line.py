"""`daas` at the terminal: what it is told, what it asks, and what it says when something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from k3s_daas.cli.console import agreed, sentence
from k3s_daas.cli.daas import main
from k3s_daas.errors import ConfigurationError, LedgerError, MoveAbortError
from k3s_daas.ids import to_hex
from k3s_daas.sui.digests import address_of

ADDRESS = to_hex(b"\x01" * 32)


def no_ledger(url: str) -> Any:
    raise AssertionError(f"nothing may be asked of {url}")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "DAAS_SUI_ENDPOINT",
        "DAAS_ADMIN_KEY_FILE",
        "DAAS_DEPLOYMENT_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments, open_ledger=no_ledger) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("daas: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_missing_endpoint_says_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "cluster", "show")
    assert "--endpoint" in text
    assert "DAAS_SUI_ENDPOINT" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gateway", "add", "0x12"], "64 hexadecimal digits"),
        (["grant", "add", ADDRESS, "viewer"], "--for"),
        (["grant", "add", ADDRESS, "viewer", "--for", "30"], "is no duration"),
        (
            ["grant", "add", ADDRESS, "viewer", "--for", "1d", "--until", "2031-01-31T00:00:00Z"],
            "not allowed",
        ),
        (["roots", "--gateway", "0x00"], "is no public key"),
        (["publish", "--gas-budget", "1"], "is no amount"),
        (["capability", "issue", "cluster"], "invalid choice"),
        (["cluster"], "required"),
        (["role", "apply"], "--file"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, open_ledger=no_ledger)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_key_file_is_made_once_and_only_its_public_half_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "admin.key"
    assert main(["key", "generate", str(path)]) == 0
    made = capsys.readouterr().out
    assert main(["key", "show", str(path)]) == 0
    assert capsys.readouterr().out == made
    assert path.read_text().strip() not in made
    assert path.stat().st_mode & 0o077 == 0
    secret = path.read_text()
    assert str(path) in said(capsys, "key", "generate", str(path))
    assert path.read_text() == secret


@pytest.mark.parametrize(("curve", "flag"), [(ec.SECP256K1(), "01"), (ec.SECP256R1(), "02")])
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_the_public_key_of_a_kms_is_shown_as_sui_writes_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, curve: ec.EllipticCurve, flag: str, encoding: Encoding
) -> None:
    key = ec.generate_private_key(curve).public_key()
    path = tmp_path / "gateway.pub"
    path.write_bytes(key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo))
    assert main(["key", "show", str(path)]) == 0
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    shown = capsys.readouterr().out
    assert f"public key 0x{flag}{point.hex()}\n" in shown
    assert to_hex(address_of(bytes.fromhex(flag) + point)) in shown


def test_a_key_that_sui_does_not_know_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "gateway.pub"
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    path.write_bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert "secp256k1" in said(capsys, "key", "show", str(path))
    path.write_bytes(b"\x30\x00")
    assert str(path) in said(capsys, "key", "show", str(path))
    assert "absent" in said(capsys, "key", "show", str(tmp_path / "absent"))


def test_nobody_is_asked_where_nobody_can_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigurationError, match="--yes"):
        agreed(["change it"], dry_run=False, yes=False)
    assert agreed(["change it"], dry_run=False, yes=True)
    assert not agreed(["change it"], dry_run=True, yes=True)
    assert not agreed([], dry_run=False, yes=True)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "does"), [("y", True), ("YES", True), ("", False), ("n", False), ("yep", False)]
)
def test_only_a_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, answer: str, does: bool) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert agreed(["change it"], dry_run=False, yes=False) is does


def test_a_terminal_that_closes_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", closed)
    assert not agreed(["change it"], dry_run=False, yes=False)


def test_the_contracts_refusals_are_named_for_operators() -> None:
    text = sentence(MoveAbortError("cluster", 103, digest="D1"))
    assert "EUnsupportedVersion" in text
    assert "daas cluster migrate" in text
    assert "D1" in text
    assert "ETooManyRoles" in sentence(MoveAbortError("cluster", 107))
    assert "package::3" in sentence(MoveAbortError("package", 3))
    assert sentence(LedgerError("no money")) == "no money"


def test_a_private_key_in_hex_is_no_der_although_it_begins_with_the_digit_0(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "admin.key"
    path.touch(mode=0o600)
    path.write_text("0a" * 32 + "\n")
    assert main(["key", "show", str(path)]) == 0
    expected = Ed25519PrivateKey.from_private_bytes(b"\x0a" * 32).public_key().public_bytes_raw()
    assert f"public key 0x00{expected.hex()}\n" in capsys.readouterr().out
