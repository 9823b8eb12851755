"""Builds transactions offline: inputs and commands by name instead of by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .keys import Key
from .ledger import bcs
from .ledger.encoding import encode_transaction
from .ledger.objects import StoredObject
from .ledger.transactions import (
    Argument,
    CallCommand,
    Command,
    GasData,
    Input,
    MakeMoveVector,
    MergeCoins,
    ObjectRef,
    OwnedObject,
    Publish,
    Pure,
    SharedObject,
    SplitCoins,
    TransferObjects,
    Upgrade,
    ValidDuring,
    Withdrawal,
)
from .ledger.type_tags import CLOCK_ID

GAS = Argument("gas")
DEFAULT_BUDGET = 500_000_000


def reference(stored: StoredObject) -> ObjectRef:
    return ObjectRef(stored.id, stored.version, stored.digest)


def nested(result: Argument, index: int) -> Argument:
    """One of several results of a command."""
    return replace(result, nested=index)


class TransactionBuilder:
    """Collects inputs and commands; every command returns the argument that stands for its result."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.commands: list[Command] = []

    def _input(self, argument: Input) -> Argument:
        self.inputs.append(argument)
        return Argument("input", len(self.inputs) - 1)

    def _command(self, command: Command) -> Argument:
        self.commands.append(command)
        return Argument("result", len(self.commands) - 1)

    def pure(self, encoded: bytes) -> Argument:
        """A value in BCS."""
        return self._input(Pure(encoded))

    def u64(self, number: int) -> Argument:
        return self.pure(bcs.u64(number))

    def text(self, text: str) -> Argument:
        return self.pure(bcs.text(text))

    def owned(self, stored: StoredObject) -> Argument:
        """An owned or immutable object, at this version."""
        return self._input(OwnedObject(reference(stored)))

    def shared(self, stored: StoredObject, *, mutable: bool = True) -> Argument:
        return self._input(SharedObject(stored.id, stored.owner.initial_version, mutable))

    def clock(self) -> Argument:
        return self._input(SharedObject(CLOCK_ID, 1, mutable=False))

    def withdrawal(self, amount: int, currency: str) -> Argument:
        return self._input(Withdrawal(amount, currency, from_sponsor=False))

    def call(
        self, package: bytes, name: str, *arguments: Argument, type_arguments: Sequence[str] = ()
    ) -> Argument:
        """Call ``module::function``."""
        module, _, function = name.partition("::")
        return self._command(CallCommand(package, module, function, tuple(type_arguments), arguments))

    def split(self, coin: Argument, *amounts: Argument) -> Argument:
        return self._command(SplitCoins(coin, amounts))

    def merge(self, target: Argument, *sources: Argument) -> Argument:
        return self._command(MergeCoins(target, sources))

    def transfer(self, recipient: bytes, *objects: Argument) -> Argument:
        return self._command(TransferObjects(objects, self.pure(recipient)))

    def vector(self, *elements: Argument, element_type: str | None = None) -> Argument:
        return self._command(MakeMoveVector(element_type, elements))

    def publish(self, modules: Sequence[bytes], dependencies: Sequence[bytes]) -> Argument:
        """Publish a package; the result is its ``UpgradeCap``."""
        return self._command(Publish(tuple(modules), tuple(dependencies)))

    def upgrade(
        self, package: bytes, ticket: Argument, modules: Sequence[bytes], dependencies: Sequence[bytes]
    ) -> Argument:
        """Upgrade a package with an ``UpgradeTicket``; the result is the ``UpgradeReceipt``."""
        return self._command(Upgrade(tuple(modules), tuple(dependencies), package, ticket))

    def build(
        self,
        key: Key,
        *,
        coins: Sequence[StoredObject] = (),
        price: int = 1_000,
        budget: int = DEFAULT_BUDGET,
        expiration: int | ValidDuring | None = None,
    ) -> bytes:
        """BCS ``TransactionData``; without ``coins`` gas comes from the address balance."""
        payment = tuple(map(reference, coins))
        gas = GasData(payment, key.address, price, budget)
        return encode_transaction(
            self.inputs, self.commands, sender=key.address, gas=gas, expiration=expiration
        )


def valid_now(chain: bytes, epoch: int, nonce: int) -> ValidDuring:
    """The expiration that payment from an address balance needs."""
    return ValidDuring(epoch, epoch + 1, None, None, chain, nonce)
