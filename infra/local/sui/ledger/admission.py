"""What is checked before a transaction may run: inputs against the state, gas, expiration.

These are a validator's checks at signing; the VM is not asked. A refused transaction leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .coins import coin_balance
from .digests import base58, hex_address
from .errors import invalid, precondition, unimplemented
from .gas import MAX_BUDGET, MAX_GAS_OBJECTS, MIN_BUDGET_UNITS
from .objects import ObjectStore, OwnerKind, StoredObject
from .transactions import (
    CallCommand,
    ObjectRef,
    OwnedObject,
    Publish,
    Receiving,
    SharedObject,
    TransactionData,
    Upgrade,
    ValidDuring,
    Withdrawal,
)
from .type_tags import CLOCK_ID, SUI, coin_of

MAX_EPOCH_WINDOW = 1
"""``ValidDuring`` may span this epoch and the next."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a transaction needs for itself while it runs."""

    exclusive: tuple[bytes, ...]
    """Objects that it may change."""
    shared: tuple[bytes, ...]
    """Shared objects that it only reads."""
    owned: tuple[ObjectRef, ...]
    """Exact versions that it locks, gas coins included."""
    reservations: dict[tuple[bytes, str], int]
    """(address, coin type) -> amount set aside of that address balance."""


class Admission:
    """Checks transactions against a store.

    ``available`` tells an address balance less what transactions in flight have set aside.
    """

    def __init__(self, store: ObjectStore, chain: bytes, available: Callable[[bytes, str], int]) -> None:
        self._store = store
        self._chain = chain
        self._available = available

    def admit(self, data: TransactionData, *, epoch: int, reference_gas_price: int, now_ms: int) -> Claims:
        """Check a decoded transaction.

        Raises:
            TransactionRefusedError: it may not run now, or never.
        """
        if not data.commands:
            raise invalid("The transaction has no commands.")
        self._check_commands(data)
        self._check_expiration(data.expiration, epoch, now_ms)
        self._check_gas(data, reference_gas_price)
        owned = [argument.ref for argument in data.inputs if isinstance(argument, OwnedObject)]
        self._check_duplicates(data, owned)
        locked = [ref for ref in owned if self._check_owned(data, ref)]
        mutable, read = self._check_shared(data)
        reservations = self._reserve(data)
        locked += data.gas.payment
        exclusive = tuple(ref.id for ref in locked) + mutable
        return Claims(exclusive, read, tuple(locked), reservations)

    def _check_commands(self, data: TransactionData) -> None:
        for argument in data.inputs:
            if isinstance(argument, Receiving):
                raise unimplemented("Receiving objects (transfer::receive) is not simulated.")
        for command in data.commands:
            packages: tuple[bytes, ...] = ()
            match command:
                case CallCommand(package):
                    packages = (package,)
                case Publish(_, dependencies):
                    packages = dependencies
                case Upgrade(_, dependencies, package):
                    packages = (package, *dependencies)
            for package_id in packages:
                stored = self._store.get(package_id)
                if (stored is None or stored.package is None) and any(package_id[:-1]):
                    raise precondition(f"Package {hex_address(package_id)} does not exist on this chain.")

    def _check_expiration(self, expiration: int | ValidDuring | None, epoch: int, now_ms: int) -> None:
        if isinstance(expiration, int) and epoch > expiration:
            raise precondition(f"The transaction expired in epoch {expiration}; this is epoch {epoch}.")
        if not isinstance(expiration, ValidDuring):
            return
        first, last = expiration.min_epoch, expiration.max_epoch
        if expiration.chain != self._chain:
            raise invalid(
                f"The transaction is for chain {base58(expiration.chain)}; this is {base58(self._chain)}."
            )
        if first is None or last is None or not first <= last <= first + MAX_EPOCH_WINDOW:
            raise invalid("ValidDuring needs a first and a last epoch, which is the same or the next.")
        if not first <= epoch <= last:
            raise precondition(
                f"The transaction is valid in epochs {first} to {last}; this is epoch {epoch}."
            )
        if expiration.min_timestamp is not None and now_ms < expiration.min_timestamp:
            raise precondition("The transaction is not yet valid.")
        if expiration.max_timestamp is not None and now_ms > expiration.max_timestamp:
            raise precondition("The transaction's last moment has passed.")

    def _check_gas(self, data: TransactionData, reference_gas_price: int) -> None:
        gas = data.gas
        if gas.price < reference_gas_price:
            raise precondition(
                f"The gas price {gas.price} is below the reference gas price {reference_gas_price}."
            )
        lowest = MIN_BUDGET_UNITS * gas.price
        if not lowest <= gas.budget <= MAX_BUDGET:
            raise invalid(f"The gas budget {gas.budget} is not between {lowest} and {MAX_BUDGET} MIST.")
        if len(gas.payment) > MAX_GAS_OBJECTS:
            raise invalid(f"At most {MAX_GAS_OBJECTS} gas objects can pay.")
        if not gas.payment:
            if not isinstance(data.expiration, ValidDuring):
                raise invalid(
                    "Without gas objects the address balance pays; that needs a ValidDuring expiration "
                    "(epochs, chain and nonce)."
                )
            return
        total = 0
        for ref in gas.payment:
            stored = self._live(ref)
            if stored.type_tag != coin_of(SUI):
                raise invalid(f"Gas object {hex_address(ref.id)} is not a Coin<SUI>.")
            self._check_owner(data, stored)
            total += coin_balance(stored.contents)
        if total < gas.budget:
            raise precondition(f"The gas objects hold {total} MIST, the budget is {gas.budget}.")

    def _check_duplicates(self, data: TransactionData, owned: list[ObjectRef]) -> None:
        seen: set[bytes] = set()
        shared = [argument.id for argument in data.inputs if isinstance(argument, SharedObject)]
        for object_id in (*(r.id for r in owned), *shared, *(r.id for r in data.gas.payment)):
            if object_id in seen:
                raise invalid(f"Object {hex_address(object_id)} is an input twice.")
            seen.add(object_id)

    def _live(self, ref: ObjectRef) -> StoredObject:
        stored = self._store.get(ref.id)
        name = hex_address(ref.id)
        if stored is None:
            raise precondition(f"Object {name} does not exist: deleted, wrapped or never created.")
        if stored.version != ref.version:
            raise precondition(
                f"Object {name} version {ref.version} is not available for consumption; "
                f"its version is {stored.version}."
            )
        if stored.digest != ref.digest:
            raise invalid(
                f"Object {name} version {ref.version} has digest {base58(stored.digest)}, "
                f"not {base58(ref.digest)}."
            )
        return stored

    def _check_owner(self, data: TransactionData, stored: StoredObject) -> None:
        if stored.owner.kind is not OwnerKind.ADDRESS or stored.owner.address != data.sender:
            owner = stored.owner
            of = hex_address(owner.address) if owner.address else owner.kind.name.lower()
            raise invalid(
                f"Object {hex_address(stored.id)} belongs to {of}, "
                f"not to the sender {hex_address(data.sender)}."
            )

    def _check_owned(self, data: TransactionData, ref: ObjectRef) -> bool:
        """Whether the object must be locked: immutable ones need not."""
        stored = self._live(ref)
        if stored.package is not None:
            raise invalid(f"Package {hex_address(ref.id)} cannot be an object input.")
        if stored.owner.kind is OwnerKind.IMMUTABLE:
            return False
        if stored.owner.kind is OwnerKind.SHARED:
            raise invalid(f"Object {hex_address(ref.id)} is shared; give it as a shared input.")
        self._check_owner(data, stored)
        return True

    def _check_shared(self, data: TransactionData) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        mutable: list[bytes] = []
        read: list[bytes] = []
        for argument in data.inputs:
            if not isinstance(argument, SharedObject):
                continue
            stored = self._store.get(argument.id)
            name = hex_address(argument.id)
            if stored is None:
                raise precondition(f"Shared object {name} does not exist: deleted or never created.")
            if stored.owner.kind is not OwnerKind.SHARED:
                raise invalid(f"Object {name} is not shared.")
            if stored.owner.initial_version != argument.initial_version:
                raise invalid(
                    f"Shared object {name} is shared since version {stored.owner.initial_version}, "
                    f"not {argument.initial_version}."
                )
            if argument.id == CLOCK_ID and argument.mutable:
                raise invalid("The Clock (0x6) can only be a read-only input.")
            if argument.id != CLOCK_ID:
                (mutable if argument.mutable else read).append(argument.id)
        return tuple(mutable), tuple(read)

    def _reserve(self, data: TransactionData) -> dict[tuple[bytes, str], int]:
        needed: dict[tuple[bytes, str], int] = {}
        if not data.gas.payment:
            needed[data.sender, SUI] = data.gas.budget
        for argument in data.inputs:
            if isinstance(argument, Withdrawal):
                if argument.from_sponsor:
                    raise unimplemented("Withdrawals from a sponsor are not simulated.")
                key = (data.sender, argument.coin_type)
                needed[key] = needed.get(key, 0) + argument.amount
        for (address, currency), amount in needed.items():
            available = self._available(address, currency)
            if available < amount:
                raise precondition(
                    f"The address balance of {hex_address(address)} has {available} of {currency} available, "
                    f"{amount} are needed (transactions in flight set their budget aside)."
                )
        return needed
