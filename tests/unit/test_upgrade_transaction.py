"""The transaction that upgrades a package, byte for byte."""

from __future__ import annotations

from pysui.sui.sui_bcs import bcs as pysui_bcs

from k3s_daas.bcs import Writer
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.transaction_data import Upgrade
from k3s_daas.sui.transactions import AddressBalanceGas, ObjectRef, PtbBuilder, decode_transaction

FRAMEWORK = bytes(31) + b"\x02"
LATEST = b"\x0a" * 32
MODULES, DEPENDENCIES = [b"\xa1\x1c\xeb\x0b", b"xyz"], [bytes(31) + b"\x01", FRAMEWORK]
CHAIN = to_base58(bytes(range(32)))
# Command::Upgrade: variant 6, modules, dependencies, package, ticket (Argument::Result(0)).
UPGRADE = bytes.fromhex(
    "060204a11ceb0b0378797a02" + "00" * 31 + "01" + "00" * 31 + "02" + "0a" * 32 + "020000"
)


def transaction() -> bytes:
    builder = PtbBuilder()
    cap = builder.owned(ObjectRef(b"\x0c" * 32, 3, CHAIN))
    policy, digest = builder.pure(b"\x00"), builder.pure(Writer().byte_vector(b"\x0d" * 32).finish())
    ticket = builder.move_call(FRAMEWORK, "package", "authorize_upgrade", [cap, policy, digest])
    receipt = builder.upgrade(LATEST, ticket, MODULES, DEPENDENCIES)
    builder.move_call(FRAMEWORK, "package", "commit_upgrade", [cap, receipt])
    gas = AddressBalanceGas(budget=5_000_000, price=1000, epoch=7, chain_id=CHAIN, nonce=1)
    return builder.build(b"\x08" * 32, gas=gas)


def test_the_upgrade_command_has_the_golden_bytes() -> None:
    assert UPGRADE in transaction()


def test_the_upgrade_command_is_read_back() -> None:
    [_, upgrade, commit] = decode_transaction(transaction()).commands
    assert isinstance(upgrade, Upgrade)
    assert (list(upgrade.modules), list(upgrade.dependencies)) == (MODULES, DEPENDENCIES)
    assert upgrade.package == LATEST
    assert getattr(commit, "function", None) == "commit_upgrade"


def test_pysui_reads_the_same_upgrade() -> None:
    encoded = transaction()
    assert pysui_bcs.TransactionData.deserialize(encoded).serialize() == encoded
