"""Sui's `TransactionData` as values: what `sui_types::transaction` calls a programmable transaction, version
1.

Its BCS is in `transaction_bcs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from k3s_daas.sui.type_tags import TypeTag


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One version of an owned object. `digest` is base58."""

    id: bytes
    version: int
    digest: str


class ArgumentKind(IntEnum):
    """Where an argument comes from; the values are the BCS variants."""

    GAS_COIN = 0
    INPUT = 1
    RESULT = 2
    NESTED_RESULT = 3


@dataclass(frozen=True, slots=True)
class Argument:
    """A value inside a programmable transaction: the gas coin, an input, or a command's result."""

    kind: ArgumentKind
    index: int = 0
    nested: int = 0


GAS_COIN = Argument(ArgumentKind.GAS_COIN)


@dataclass(frozen=True, slots=True)
class PureInput:
    """BCS bytes of a plain value."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SharedInput:
    """A shared object, from the version at which it was shared."""

    id: bytes
    initial_version: int
    mutable: bool


@dataclass(frozen=True, slots=True)
class OwnedInput:
    """An owned or immutable object at one version; `receiving` if it was sent to an object."""

    ref: ObjectRef
    receiving: bool = False


@dataclass(frozen=True, slots=True)
class WithdrawalInput:
    """At most `amount` of the balance type `type_tag` from an address balance."""

    amount: int
    type_tag: TypeTag
    from_sponsor: bool = False


Input = PureInput | SharedInput | OwnedInput | WithdrawalInput


@dataclass(frozen=True, slots=True)
class MoveCall:
    package: bytes
    module: str
    function: str
    type_arguments: tuple[TypeTag, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class TransferObjects:
    objects: tuple[Argument, ...]
    recipient: Argument


@dataclass(frozen=True, slots=True)
class SplitCoins:
    coin: Argument
    amounts: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class MergeCoins:
    target: Argument
    sources: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    modules: tuple[bytes, ...]
    dependencies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MakeMoveVec:
    element: TypeTag | None
    elements: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Upgrade:
    modules: tuple[bytes, ...]
    dependencies: tuple[bytes, ...]
    package: bytes
    ticket: Argument


Command = MoveCall | TransferObjects | SplitCoins | MergeCoins | Publish | MakeMoveVec | Upgrade


@dataclass(frozen=True, slots=True)
class GasData:
    """Who pays. No payment object means: from the owner's address balance. `price` and `budget` in MIST."""

    payment: tuple[ObjectRef, ...]
    owner: bytes
    price: int
    budget: int


@dataclass(frozen=True, slots=True)
class ValidDuring:
    """Valid in epochs `min_epoch` to `max_epoch` on the chain with this base58 id; `nonce` is a u32."""

    min_epoch: int | None
    max_epoch: int | None
    chain_id: str
    nonce: int
    min_timestamp: int | None = None
    max_timestamp: int | None = None


# An int is the last epoch in which the transaction is valid; None means that it never expires.
Expiration = ValidDuring | int | None


@dataclass(frozen=True, slots=True)
class TransactionData:
    """A transaction as signed."""

    inputs: tuple[Input, ...]
    commands: tuple[Command, ...]
    sender: bytes
    gas: GasData
    expiration: Expiration
