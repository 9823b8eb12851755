"""What an upgrade of the contract's package is shown as, and which upgrades are not tried."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.publishing import IncompatibleUpgradeError, PackageCode, plan_upgrade
from k3s_daas.bcs import Writer
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import (
    ChainPackage,
)
from k3s_daas.sui.signers import FileSigner
from tests.unit.admin_world import (
    CAP,
    DEPLOYMENT,
    FRAMEWORK,
    HOLDER,
    PACKAGE,
    ScriptedLedger,
    owned_by,
    port,
    put,
)

MODULES = {"one": b"one" + PACKAGE + b"!", "two": b"two"}
COMPILED = (b"one" + bytes(32) + b"!", b"two")


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    return FileSigner.generate(tmp_path / "key")


def upgradable(signer: FileSigner) -> ScriptedLedger:
    ledger = ScriptedLedger(package=ChainPackage(PACKAGE, PACKAGE, 1, MODULES))
    contents = Writer().address(PACKAGE).u64(1).u8(0).finish()
    put(ledger, CAP, f"{FRAMEWORK}::package::UpgradeCap", contents, owned_by(signer))
    return ledger


def code(*modules: bytes) -> PackageCode:
    return PackageCode(modules, (), bytes(32))


async def test_an_upgrade_says_what_changes(signer: FileSigner) -> None:
    ledger = upgradable(signer)
    asked: list[tuple[Sequence[bytes], Sequence[bytes]]] = []

    def compatible(old: Sequence[bytes], new: Sequence[bytes]) -> list[str]:
        asked.append((old, new))
        return []

    new = code(COMPILED[0], b"two, again", b"three")
    plan = await plan_upgrade(port(ledger), DEPLOYMENT, signer.address, new, compatible)
    assert plan is not None
    assert plan.summary() == "upgrade the package from version 1 to 2: changes two and adds 1 modules"
    assert asked == [(list(MODULES.values()), new.modules)]
    same = await plan_upgrade(
        port(ledger),
        DEPLOYMENT,
        signer.address,
        code(*COMPILED),
        compatible,
    )
    assert same is None


async def test_an_upgrade_that_the_chain_would_refuse_is_not_tried(signer: FileSigner) -> None:
    ledger = upgradable(signer)
    with pytest.raises(IncompatibleUpgradeError, match="a is missing; b is missing") as refused:
        await plan_upgrade(
            port(ledger),
            DEPLOYMENT,
            signer.address,
            code(b"one"),
            lambda old, new: ["a is missing", "b is missing"],
        )
    assert refused.value.reasons == ("a is missing", "b is missing")
    assert ledger.executed == []


async def test_an_upgrade_needs_the_capability_and_a_current_file(signer: FileSigner) -> None:
    ledger = upgradable(signer)

    async def plan(deployment: Deployment, owner: bytes) -> None:
        await plan_upgrade(port(ledger), deployment, owner, code(b"x"), lambda old, new: [])

    with pytest.raises(ConfigurationError, match="not owned by"):
        await plan(DEPLOYMENT, HOLDER)
    with pytest.raises(ConfigurationError, match=f"upgraded to {to_hex(PACKAGE)} since"):
        await plan(replace(DEPLOYMENT, package_latest=b"\x99" * 32), signer.address)
    with pytest.raises(ConfigurationError, match="no UpgradeCap"):
        await plan(replace(DEPLOYMENT, upgrade_cap=HOLDER), signer.address)


def test_bytecode_is_what_the_compiler_prints() -> None:
    printed = {"modules": [b64encode(b"m").decode()], "dependencies": ["0x1"], "digest": [7] * 32}
    read = PackageCode.from_json(json.dumps(printed), "bytecode.json")
    assert read == PackageCode((b"m",), (bytes(31) + b"\x01",), b"\x07" * 32)
    wrong: list[dict[str, object]] = [
        {"modules": []},
        {"digest": [7]},
        {"modules": ["?"]},
        {"dependencies": None},
    ]
    for change_ in wrong:
        with pytest.raises(ConfigurationError, match=r"bytecode\.json is not the output of sui move build"):
            PackageCode.from_json(json.dumps(printed | change_), "bytecode.json")
    for text in ("", "[]", "{"):
        with pytest.raises(ConfigurationError):
            PackageCode.from_json(text, "bytecode.json")
