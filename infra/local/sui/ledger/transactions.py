"""Transactions: the structure of BCS ``TransactionData`` and how it is read.

Addresses and digests are raw bytes, type tags canonical strings. What Sui knows but this ledger does not
simulate is read as far as needed to be refused with a clear sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..bytecode.types import Datatype, MoveType, Primitive, Vector, canonical
from .bcs import BcsError, Reader
from .digests import hash_named
from .errors import invalid, unimplemented

MAX_TRANSACTION_BYTES = 128 * 1024
MAX_PURE_ARGUMENT_BYTES = 16 * 1024
"""A pure argument must be shorter than this."""
MAX_TYPE_DEPTH = 16
_PRIMITIVES = {
    0: "bool", 1: "u8", 2: "u64", 3: "u128", 4: "address", 5: "signer", 8: "u16", 9: "u32", 10: "u256",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ObjectRef:
    id: bytes
    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Pure:
    value: bytes


@dataclass(frozen=True, slots=True)
class OwnedObject:
    """An object that is owned by an address, or immutable."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class SharedObject:
    id: bytes
    initial_version: int
    mutable: bool


@dataclass(frozen=True, slots=True)
class Receiving:
    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A reservation on the sender's address balance of ``coin_type``."""

    amount: int
    coin_type: str
    from_sponsor: bool


Input = Pure | OwnedObject | SharedObject | Receiving | Withdrawal


@dataclass(frozen=True, slots=True)
class Argument:
    """``gas``; ``input`` i; ``result`` of command i, with ``nested`` for one of several results."""

    kind: str
    index: int = 0
    nested: int | None = None


@dataclass(frozen=True, slots=True)
class CallCommand:
    package: bytes
    module: str
    function: str
    type_arguments: tuple[str, ...]
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
class MakeMoveVector:
    element_type: str | None
    elements: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Upgrade:
    modules: tuple[bytes, ...]
    dependencies: tuple[bytes, ...]
    package: bytes
    ticket: Argument


Command = CallCommand | TransferObjects | SplitCoins | MergeCoins | Publish | MakeMoveVector | Upgrade


@dataclass(frozen=True, slots=True)
class GasData:
    payment: tuple[ObjectRef, ...]
    owner: bytes
    price: int
    budget: int


@dataclass(frozen=True, slots=True)
class ValidDuring:
    min_epoch: int | None
    max_epoch: int | None
    min_timestamp: int | None
    max_timestamp: int | None
    chain: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class TransactionData:
    """``expiration`` is None, a last epoch, or a validity window. ``encoded`` is what was signed."""

    inputs: tuple[Input, ...]
    commands: tuple[Command, ...]
    sender: bytes
    gas: GasData
    expiration: int | ValidDuring | None
    encoded: bytes
    digest: bytes


def transaction_digest(encoded: bytes) -> bytes:
    return hash_named("TransactionData", encoded)


def decode_transaction(encoded: bytes) -> TransactionData:
    """Read BCS ``TransactionData``.

    Raises:
        TransactionRefusedError: malformed, over a limit, or of a kind that is not simulated.
    """
    if len(encoded) > MAX_TRANSACTION_BYTES:
        raise invalid(
            f"The transaction has {len(encoded)} bytes; Sui takes at most {MAX_TRANSACTION_BYTES} (128 KiB)."
        )
    reader = _TransactionReader(encoded)
    try:
        data = reader.transaction(encoded)
        reader.finish()
    except BcsError as error:
        raise invalid(f"The transaction is not valid BCS TransactionData: {error}.") from error
    for position, argument in enumerate(data.inputs):
        if isinstance(argument, Pure) and len(argument.value) >= MAX_PURE_ARGUMENT_BYTES:
            raise invalid(
                f"Pure input {position} has {len(argument.value)} bytes; it must be shorter than "
                f"{MAX_PURE_ARGUMENT_BYTES}."
            )
    return data


class _TransactionReader(Reader):
    def transaction(self, encoded: bytes) -> TransactionData:
        if self.uleb() != 0:
            raise BcsError("only TransactionData V1 exists")
        if (kind := self.uleb()) != 0:
            raise unimplemented(
                f"Transaction kind {kind} is a system transaction; users send programmable ones."
            )
        inputs = self.vector(self.input)
        commands = self.vector(self.command)
        sender = self.address()
        gas = GasData(self.vector(self.object_ref), self.address(), self.u64(), self.u64())
        return TransactionData(
            inputs, commands, sender, gas, self.expiration(), encoded, transaction_digest(encoded)
        )

    def object_ref(self) -> ObjectRef:
        return ObjectRef(self.address(), self.u64(), self.digest())

    def input(self) -> Input:
        match self.uleb():
            case 0:
                return Pure(self.blob())
            case 1:
                return self.object_argument()
            case 2:
                return self.withdrawal()
        raise BcsError("unknown kind of input")

    def object_argument(self) -> OwnedObject | SharedObject | Receiving:
        match self.uleb():
            case 0:
                return OwnedObject(self.object_ref())
            case 1:
                return SharedObject(self.address(), self.u64(), self.boolean())
            case 2:
                return Receiving(self.object_ref())
        raise BcsError("unknown kind of object input")

    def withdrawal(self) -> Withdrawal:
        if self.uleb() != 0:
            raise BcsError("unknown kind of reservation")
        amount = self.u64()
        if self.uleb() != 0:
            raise BcsError("unknown kind of withdrawal")
        coin_type = canonical(self.type_tag())
        source = self.uleb()
        if source > 1:
            raise BcsError("unknown source of a withdrawal")
        return Withdrawal(amount, coin_type, source == 1)

    def argument(self) -> Argument:
        match self.uleb():
            case 0:
                return Argument("gas")
            case 1:
                return Argument("input", self.u16())
            case 2:
                return Argument("result", self.u16())
            case 3:
                return Argument("result", self.u16(), self.u16())
        raise BcsError("unknown kind of argument")

    def command(self) -> Command:  # noqa: PLR0911 - one case per command
        match self.uleb():
            case 0:
                return CallCommand(
                    self.address(), self.text(), self.text(), self.vector(self.type_text), self.arguments()
                )
            case 1:
                return TransferObjects(self.arguments(), self.argument())
            case 2:
                return SplitCoins(self.argument(), self.arguments())
            case 3:
                return MergeCoins(self.argument(), self.arguments())
            case 4:
                return Publish(self.vector(self.blob), self.vector(self.address))
            case 5:
                return MakeMoveVector(self.option(self.type_text), self.arguments())
            case 6:
                return Upgrade(
                    self.vector(self.blob), self.vector(self.address), self.address(), self.argument()
                )
        raise BcsError("unknown command")

    def arguments(self) -> tuple[Argument, ...]:
        return self.vector(self.argument)

    def type_text(self) -> str:
        return canonical(self.type_tag())

    def type_tag(self, depth: int = 0) -> MoveType:
        if depth > MAX_TYPE_DEPTH:
            raise BcsError(f"a type is nested more than {MAX_TYPE_DEPTH} deep")
        tag = self.uleb()
        if tag in _PRIMITIVES:
            return Primitive(_PRIMITIVES[tag])
        if tag == 6:
            return Vector(self.type_tag(depth + 1))
        if tag == 7:
            return Datatype(
                self.address(), self.text(), self.text(), self.vector(lambda: self.type_tag(depth + 1))
            )
        raise BcsError("unknown type tag")

    def expiration(self) -> int | ValidDuring | None:
        match self.uleb():
            case 0:
                return None
            case 1:
                return self.u64()
            case 2:
                first, last, earliest, latest = (self.option(self.u64) for _ in range(4))
                return ValidDuring(first, last, earliest, latest, self.digest(), self.u32())
        raise BcsError("unknown kind of expiration")
