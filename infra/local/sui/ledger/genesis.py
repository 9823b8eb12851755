"""What is there without a transaction: the Clock, packages, coins for the faucet, what tests put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..execution import ObjectValue, PackageInterface
from .coins import coin_contents
from .digests import blake2b
from .gas import storage_deposit
from .objects import (
    IMMUTABLE,
    PACKAGE_TYPE,
    Owner,
    StoredObject,
    WriteSet,
    address_owner,
    metered_bytes,
    seal_object,
    shared_since,
)
from .type_tags import CLOCK, CLOCK_ID, SUI, coin_of

FIRST_VERSION = 1


def initial_objects(chain: bytes, packages: Sequence[PackageInterface]) -> WriteSet:
    """The Clock and ``packages``."""
    clock = ObjectValue(CLOCK_ID, CLOCK, CLOCK_ID + bytes(8))
    writes = WriteSet({CLOCK_ID: _seal(chain, clock, shared_since(FIRST_VERSION))})
    for package in packages:
        value = ObjectValue(package.id, PACKAGE_TYPE, b"")
        writes.objects[package.id] = _seal(chain, value, IMMUTABLE, package=package)
    return writes


def allocation(chain: bytes, address: bytes, coins: Sequence[int], balance: int) -> WriteSet:
    """SUI out of nothing: coins of these amounts and an address balance (MIST)."""
    writes = WriteSet()
    for index, amount in enumerate(coins):
        coin_id = blake2b(chain + address + index.to_bytes(8, "little"))
        value = ObjectValue(coin_id, coin_of(SUI), coin_contents(coin_id, amount))
        deposit = storage_deposit(metered_bytes(value.type_tag, value.contents))
        writes.objects[coin_id] = _seal(chain, value, address_owner(address), deposit=deposit)
    if balance:
        writes.balances[address, SUI] = balance
    return writes


def rewritten(found: StoredObject, contents: bytes) -> StoredObject:
    """The object with other contents, everything else (but the digest) as it was."""
    return seal_object(
        replace(found.value, contents=contents),
        version=found.version,
        owner=found.owner,
        previous_transaction=found.previous_transaction,
        storage_rebate=found.storage_rebate,
        public_transfer=found.public_transfer,
    )


def _seal(
    chain: bytes,
    value: ObjectValue,
    owner: Owner,
    *,
    deposit: int = 0,
    package: PackageInterface | None = None,
) -> StoredObject:
    return seal_object(
        value,
        version=FIRST_VERSION,
        owner=owner,
        previous_transaction=chain,
        storage_rebate=deposit,
        public_transfer=value.type_tag == coin_of(SUI),
        package=package,
    )
