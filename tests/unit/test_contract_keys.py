"""Announced sealing keys: golden bytes of the announcement, and which announcements count."""

from dataclasses import replace
from pathlib import Path

import pytest

from k3s_daas.contract.keys import announced_key, announcement
from k3s_daas.contract.objects import ExecutorState
from k3s_daas.errors import ConfigurationError, UntrustedKeyError
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import PUBLIC_KEY_BYTES, SealingPrivateKey
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.signers import FileSigner

CLUSTER = b"\x01" * 32
KEY = SealingPrivateKey.generate().public_bytes()


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    return FileSigner.generate(tmp_path / "executor")


def roots(signer: FileSigner) -> TrustRoots:
    executors = {signer.address: signer.public_key}
    return TrustRoots(to_base58(bytes(32)), b"\x0a" * 32, b"\x0a" * 32, CLUSTER, {}, executors)


def announced(
    signer: FileSigner, *, cluster: bytes = CLUSTER, generation: int = 1, key: bytes = KEY
) -> ExecutorState:
    message = announcement(cluster, signer.address, generation, key)
    return ExecutorState(signer.address, key, generation, signer.sign_personal_message(message))


def test_the_bytes_that_an_executor_signs() -> None:
    assert announcement(b"\x01" * 32, b"\x02" * 32, 3, b"\x04\x05") == bytes.fromhex(
        "14" + b"k3s-daas/hpke-key/v1".hex() + "01" * 32 + "02" * 32 + "0300000000000000" + "020405"
    )


def test_a_key_that_the_pinned_executor_signed_counts(signer: FileSigner) -> None:
    assert announced_key(announced(signer, generation=7), roots(signer)).to_bytes() == KEY


def test_an_executor_without_a_key_says_what_to_do(signer: FileSigner) -> None:
    with pytest.raises(UntrustedKeyError, match="start its listener"):
        announced_key(ExecutorState(signer.address, b"", 0, b""), roots(signer))


def test_an_executor_that_is_not_pinned_is_no_executor(signer: FileSigner, tmp_path: Path) -> None:
    other = FileSigner.generate(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="trust roots"):
        announced_key(announced(other), roots(signer))


def test_a_signature_for_something_else_does_not_count(signer: FileSigner, tmp_path: Path) -> None:
    other = FileSigner.generate(tmp_path / "other")
    mine = announced(signer)
    forged = announced(other)
    for state in (
        replace(mine, generation=2),
        replace(mine, hpke_key=SealingPrivateKey.generate().public_bytes()),
        replace(mine, signature=b""),
        replace(mine, signature=forged.signature),
        replace(forged, address=signer.address),
        announced(signer, cluster=b"\x02" * 32),
    ):
        with pytest.raises(UntrustedKeyError, match="does not count"):
            announced_key(state, roots(signer))


@pytest.mark.parametrize("key", [b"", KEY[:-1], b"\xff" * PUBLIC_KEY_BYTES])
def test_a_malformed_key_does_not_count_even_if_signed(signer: FileSigner, key: bytes) -> None:
    with pytest.raises(UntrustedKeyError, match="does not count"):
        announced_key(announced(signer, key=key), roots(signer))
