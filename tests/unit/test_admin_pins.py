"""Which sealing keys are announced, which keys are pinned, and which package the pins name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from k3s_daas.admin.report import announcement_fault
from k3s_daas.admin.trust import move_latest, parse_public_key, pin, unpinned
from k3s_daas.contract.announcing import Announcement
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import ExecutorState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.signers import FileSigner
from tests.unit.admin_world import CLUSTER, DEPLOYMENT, GATEWAY, STATE


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    return FileSigner.generate(tmp_path / "key")


def announced(signer: FileSigner, key: SealingPrivateKey, generation: int = 1) -> ExecutorState:
    public = key.public_bytes()
    signature = signer.sign_personal_message(announcement(CLUSTER, signer.address, generation, public))
    return ExecutorState(signer.address, public, generation, signature)


def test_an_announcement_is_the_next_generation_of_a_registered_executor(signer: FileSigner) -> None:
    state = replace(STATE, executors={signer.address: announced(signer, SealingPrivateKey.generate(), 4)})
    assert Announcement.following(state, signer.address).generation == 5
    with pytest.raises(ConfigurationError, match="daas executor add"):
        Announcement.following(STATE, signer.address)


def test_a_shown_key_is_judged_by_its_signature(signer: FileSigner, tmp_path: Path) -> None:
    other = FileSigner.generate(tmp_path / "other")
    good = announced(signer, SealingPrivateKey.generate())
    assert announcement_fault(CLUSTER, good) is None
    assert announcement_fault(b"\x55" * 32, good) is not None
    assert announcement_fault(CLUSTER, replace(good, generation=2)) is not None
    stolen = replace(announced(other, SealingPrivateKey.generate()), address=signer.address)
    assert "another key" in str(announcement_fault(CLUSTER, stolen))
    assert announcement_fault(CLUSTER, replace(good, signature=b"\x00")) is not None


def test_only_keys_of_registered_members_are_pinned(signer: FileSigner, tmp_path: Path) -> None:
    other = FileSigner.generate(tmp_path / "other")
    state = replace(
        STATE,
        gateways=frozenset({signer.address, GATEWAY}),
        executors={signer.address: ExecutorState(signer.address, b"", 0, b"")},
    )
    roots = pin(DEPLOYMENT, state, [signer.public_key], [signer.public_key])
    assert roots.gateways == roots.executors == {signer.address: signer.public_key}
    assert unpinned(state, roots) == [f"the gateway {to_hex(GATEWAY)}"]
    with pytest.raises(ConfigurationError, match="no registered executor"):
        pin(DEPLOYMENT, state, [signer.public_key], [other.public_key])
    with pytest.raises(ConfigurationError, match="no gateway's public key"):
        pin(DEPLOYMENT, state, [], [signer.public_key])


def test_public_keys_are_read_strictly(signer: FileSigner) -> None:
    assert parse_public_key("0x" + signer.public_key.hex()) == signer.public_key
    for text in ("", "0x", "0x03" + "11" * 32, "0x00" + "11" * 31, "zz", "0x01" + "11" * 32):
        with pytest.raises(ConfigurationError, match="no public key"):
            parse_public_key(text)


def test_an_upgrade_moves_only_the_latest_package_of_its_own_roots(
    signer: FileSigner, tmp_path: Path
) -> None:
    path = tmp_path / "roots.json"
    keys = {signer.address: signer.public_key}
    DEPLOYMENT.roots(keys, keys).dump(path)
    move_latest(path, replace(DEPLOYMENT, package_latest=b"\x99" * 32))
    assert TrustRoots.load(path) == replace(DEPLOYMENT.roots(keys, keys), package_latest=b"\x99" * 32)
    with pytest.raises(ConfigurationError, match="another deployment"):
        move_latest(path, replace(DEPLOYMENT, package_original=b"\x98" * 32))
