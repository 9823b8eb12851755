"""Keys under a passphrase: files, the `daas key` commands, and wrapped keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k3s_daas.admin.files import write_new_secret
from k3s_daas.cli.daas import main
from k3s_daas.errors import ConfigurationError, SealedDataError, WireFormatError
from k3s_daas.passphrase import decrypt, encrypt, read_passphrase
from k3s_daas.sui.key_files import encrypted_key, load_encrypted, new_seed
from k3s_daas.sui.signers import FileSigner, verify_signature
from listener_service.keys.errors import KeyUnusableError
from listener_service.keys.wrapping import PassphraseWrapping

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    write_new_secret(path, PASSPHRASE.decode() + "\n")
    return path


def test_a_generated_key_signs_and_its_file_says_only_its_public_key(
    passphrase: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "executor.key"
    assert main(["key", "generate", str(path), "--passphrase-file", str(passphrase)]) == 0
    said = capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    signer = load_encrypted(path, read_passphrase(passphrase))
    verify_signature(b"transaction", signer.sign(b"transaction"), signer.public_key)
    assert signer.public_key.hex() in said
    assert main(["key", "show", str(path)]) == 0
    assert capsys.readouterr().out == said
    assert main(["key", "generate", str(path), "--passphrase-file", str(passphrase)]) == 1
    assert "not overwritten" in capsys.readouterr().err


def test_a_plain_key_is_put_under_a_passphrase(
    passphrase: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, target = FileSigner.generate(tmp_path / "plain.key"), tmp_path / "executor.key"
    words = ["key", "encrypt", str(tmp_path / "plain.key"), str(target), "--passphrase-file", str(passphrase)]
    assert main(words) == 0
    assert load_encrypted(target, PASSPHRASE).public_key == plain.public_key
    seed = (tmp_path / "plain.key").read_text().strip()
    printed = capsys.readouterr()
    assert seed not in target.read_text() + printed.out + printed.err
    assert "erase" in printed.out


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ciphertext": "00" * 48}, "does not open"),
        ({"public_key": "00" * 33}, "does not open"),
        ({"salt": "00" * 16}, "does not open"),
        ({"n": 1024}, "n of the encrypted secret"),
        ({"n": 2**30}, "n of the encrypted secret"),
        ({"n": 40000}, "power of two"),
        ({"n": True}, "n of the encrypted secret"),
        ({"p": 1000}, "p of the encrypted secret"),
        ({"nonce": "zz"}, "not hexadecimal"),
        ({"nonce": ""}, "wrong length"),
        ({"kdf": "none"}, "version 1"),
        ({"version": 2}, "version 1"),
        ({"type": "another"}, "daas key"),
        ({"public_key": None}, "public key"),
    ],
)
def test_an_altered_file_is_refused_without_its_content(
    change: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "executor.key"
    document = json.loads(encrypted_key(new_seed(), PASSPHRASE)) | change
    write_new_secret(path, json.dumps(document))
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_encrypted(path, PASSPHRASE)
    assert str(document["ciphertext"]) not in str(caught.value)
    assert caught.value.__cause__ is None


def test_another_passphrase_does_not_open_and_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "executor.key"
    write_new_secret(path, encrypted_key(new_seed(), PASSPHRASE))
    with pytest.raises(ConfigurationError, match="another passphrase") as caught:
        load_encrypted(path, b"another passphrase than that")
    assert "than that" not in str(caught.value)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_encrypted(path, PASSPHRASE)


@pytest.mark.parametrize(("content", "complaint"), [("short", "16 characters"), ("\n" * 40, "16 characters")])
def test_a_weak_passphrase_is_refused(content: str, complaint: str, tmp_path: Path) -> None:
    write_new_secret(tmp_path / "passphrase", content)
    with pytest.raises(ConfigurationError, match=complaint):
        read_passphrase(tmp_path / "passphrase")
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_passphrase(tmp_path / "absent")


def test_a_secret_opens_in_its_own_context_only() -> None:
    document = encrypt(PASSPHRASE, b"secret", b"here")
    assert decrypt(PASSPHRASE, document, b"here") == b"secret"
    with pytest.raises(SealedDataError):
        decrypt(PASSPHRASE, document, b"there")
    with pytest.raises(WireFormatError):
        decrypt(PASSPHRASE, {}, b"here")


async def test_a_wrapped_key_is_bound_to_its_context_and_shows_nothing() -> None:
    wrapping = PassphraseWrapping(PASSPHRASE)
    wrapped = await wrapping.wrap(b"secret bytes", {"key": "a", "cluster": "c"})
    assert await wrapping.unwrap(wrapped, {"cluster": "c", "key": "a"}) == b"secret bytes"
    assert b"secret bytes".hex().encode() not in wrapped
    for other, context in ((wrapped, {"key": "b", "cluster": "c"}), (b"{}", {}), (b"[]", {}), (b"\xff", {})):
        with pytest.raises(KeyUnusableError):
            await wrapping.unwrap(other, context)
