"""The file of pinned roots: strict, and its errors name the field."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k3s_daas.errors import ConfigurationError
from k3s_daas.roots import TrustRoots

GATEWAY_KEY = b"\x01\x02" + b"\x11" * 32
EXECUTOR_KEY = b"\x00" + b"\x22" * 32


def address(public_key: bytes) -> bytes:
    return hashlib.blake2b(public_key, digest_size=32).digest()


ROOTS = TrustRoots(
    chain_id="4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S",
    package_original=b"\x01" * 32,
    package_latest=b"\x02" * 32,
    cluster=b"\x03" * 32,
    gateways={address(GATEWAY_KEY): GATEWAY_KEY},
    executors={address(EXECUTOR_KEY): EXECUTOR_KEY},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "roots.json"


def test_what_is_dumped_is_loaded(path: Path) -> None:
    ROOTS.dump(path)
    assert TrustRoots.load(path) == ROOTS
    first = path.read_bytes()
    ROOTS.dump(path)
    assert path.read_bytes() == first


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    ROOTS.dump(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        *(
            (lambda document, field=field: document.pop(field), f"has no field {field}")
            for field in (
                "chain_id",
                "package_original",
                "package_latest",
                "cluster",
                "gateways",
                "executors",
            )
        ),
        (lambda document: document.update(extra=1), "unknown field extra"),
        (lambda document: document.update(chain_id="mainnet"), "chain_id"),
        (lambda document: document.update(chain_id="0OIl" * 11), "chain_id"),
        (lambda document: document.update(chain_id="1" * 31), "chain_id"),
        (lambda document: document.update(chain_id=7), "chain_id"),
        (lambda document: document.update(cluster="0x3"), "cluster"),
        (lambda document: document.update(package_latest=None), "package_latest"),
        (lambda document: document.update(gateways={}), "gateways must be"),
        (lambda document: document.update(gateways=[]), "gateways must be"),
        (lambda document: document.update(gateways={"0x1": "0x00"}), "gateways: the key '0x1'"),
        (lambda document: document["gateways"].update({"0x" + "ab" * 32: "0x00"}), "scheme flag"),
        (
            lambda document: document["gateways"].update({"0x" + "ab" * 32: "0x" + EXECUTOR_KEY.hex()}),
            "does not belong",
        ),
        (lambda document: document["executors"].update({"0x" + "ab" * 32: "22" * 33}), "is not 0x"),
        (lambda document: document["executors"].update({"0x" + "ab" * 32: {"public_key": "0x00"}}), "not 0x"),
    ],
)
def test_a_wrong_field_is_named(path: Path, change: Callable[[dict[str, Any]], object], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint) as caught:
        TrustRoots.load(edited(path, change))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a": 1, "a": 2}', "[" * 100_000, "\x00"])
def test_another_document_is_refused(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"roots\.json"):
        TrustRoots.load(path)


def test_one_address_comes_once(path: Path) -> None:
    ROOTS.dump(path)
    text = path.read_text(encoding="utf-8")
    (hexadecimal,) = json.loads(text)["gateways"]
    upper = '"0x' + hexadecimal[2:].upper() + '": "0x' + GATEWAY_KEY.hex() + '", "' + hexadecimal
    path.write_text(text.replace('"' + hexadecimal, upper, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="comes twice"):
        TrustRoots.load(path)


def test_a_missing_file_is_one_sentence(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the trust roots .*No such file"):
        TrustRoots.load(path)
