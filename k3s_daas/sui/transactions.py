"""Building programmable transactions off line, and reading them back.

Nothing here asks an endpoint: versions, gas price, epoch and chain id are the caller's. Gas normally comes
from the sender's address balance, so no coin object has to be found, leased or locked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from k3s_daas.bcs import Reader, Writer
from k3s_daas.errors import PayloadTooLargeError, WireFormatError
from k3s_daas.sui.digests import transaction_digest
from k3s_daas.sui.transaction_bcs import decode_transaction_data, encode_transaction
from k3s_daas.sui.transaction_data import (
    GAS_COIN,
    Argument,
    ArgumentKind,
    Command,
    Expiration,
    GasData,
    Input,
    MakeMoveVec,
    MergeCoins,
    MoveCall,
    ObjectRef,
    OwnedInput,
    Publish,
    PureInput,
    SharedInput,
    SplitCoins,
    TransactionData,
    TransferObjects,
    Upgrade,
    ValidDuring,
)
from k3s_daas.sui.type_tags import VECTOR_U8, TypeTag

__all__ = [
    "GAS_COIN",
    "AddressBalanceGas",
    "Argument",
    "CoinGas",
    "DecodedTransaction",
    "MoveCall",
    "ObjectRef",
    "PtbBuilder",
    "decode_transaction",
    "transaction_digest",
]

T = TypeVar("T")

# Sui's protocol limits: a pure argument must be shorter than 16 KiB, a transaction at most 128 KiB.
MAX_PURE_BYTES = 16 * 1024 - 1
MAX_TRANSACTION_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class AddressBalanceGas:
    """Gas from the sender's address balance (SIP-58).

    `budget` in MIST, `price` in MIST per unit (at least the reference price). Valid in `epoch` and the next
    one, on the chain `chain_id` (base58). `nonce` (u32) tells otherwise equal transactions apart: choose it,
    and a retry has the same digest.
    """

    budget: int
    price: int
    epoch: int
    chain_id: str
    nonce: int


@dataclass(frozen=True, slots=True)
class CoinGas:
    """Gas from SUI coins that the sender owns: for an address whose balance is still empty.

    `last_epoch` is the last epoch in which the transaction is valid; None means that it never expires.
    """

    budget: int
    price: int
    coins: tuple[ObjectRef, ...]
    last_epoch: int | None = None


class PtbBuilder:
    """Collects inputs and commands of one programmable transaction; `build` gives its BCS.

    Every method that adds something returns the `Argument` that later commands use for it.
    """

    def __init__(self) -> None:
        self._inputs: list[Input] = []
        self._commands: list[Command] = []
        self._objects: dict[bytes, int] = {}

    def pure(self, data: bytes) -> Argument:
        """A plain value, as BCS. Raises `PayloadTooLargeError` from 16 KiB on."""
        if len(data) > MAX_PURE_BYTES:
            raise PayloadTooLargeError(
                f"a transaction input holds at most {MAX_PURE_BYTES} bytes: split the value",
                size=len(data),
                limit=MAX_PURE_BYTES,
            )
        return self._input(PureInput(data))

    def shared(self, object_id: bytes, initial_version: int, mutable: bool) -> Argument:
        """A shared object. Asked for twice, it stays one input, mutable if any use is."""
        known = self._objects.get(object_id)
        if known is None:
            return self._object(object_id, SharedInput(object_id, initial_version, mutable))
        present = self._inputs[known]
        if not isinstance(present, SharedInput) or present.initial_version != initial_version:
            raise ValueError("the same object is used as two different inputs")
        self._inputs[known] = SharedInput(object_id, initial_version, mutable or present.mutable)
        return Argument(ArgumentKind.INPUT, known)

    def owned(self, ref: ObjectRef) -> Argument:
        """An owned or immutable object at exactly this version; asked for twice, it stays one input."""
        known = self._objects.get(ref.id)
        if known is None:
            return self._object(ref.id, OwnedInput(ref))
        if self._inputs[known] != OwnedInput(ref):
            raise ValueError("the same object is used as two different inputs")
        return Argument(ArgumentKind.INPUT, known)

    def move_call(
        self,
        package: bytes,
        module: str,
        function: str,
        args: Sequence[Argument] = (),
        type_args: Sequence[TypeTag] = (),
    ) -> Argument:
        """Calls a Move function; the result is its (only) return value."""
        return self._command(MoveCall(package, module, function, tuple(type_args), tuple(args)))

    def make_vec_of_bytes(self, chunks: Sequence[Argument]) -> Argument:
        """`vector<vector<u8>>` of pure `vector<u8>` inputs."""
        return self._command(MakeMoveVec(VECTOR_U8, tuple(chunks)))

    def split_coins(self, coin: Argument, amounts: Sequence[int]) -> list[Argument]:
        """Takes `amounts` MIST out of a coin (`GAS_COIN` for the gas coin); one new coin each."""
        amount_inputs = tuple(self.pure(Writer().u64(amount).finish()) for amount in amounts)
        result = self._command(SplitCoins(coin, amount_inputs))
        return [Argument(ArgumentKind.NESTED_RESULT, result.index, nested) for nested in range(len(amounts))]

    def merge_coins(self, target: Argument, sources: Sequence[Argument]) -> None:
        """Merges `sources` into `target`."""
        self._command(MergeCoins(target, tuple(sources)))

    def transfer(self, objects: Sequence[Argument], recipient: bytes) -> None:
        """Gives objects to an address."""
        self._command(TransferObjects(tuple(objects), self.pure(Writer().address(recipient).finish())))

    def publish(self, modules: Sequence[bytes], dependencies: Sequence[bytes]) -> Argument:
        """Publishes a package; the result is its `UpgradeCap`, which must be transferred or used."""
        return self._command(Publish(tuple(modules), tuple(dependencies)))

    def upgrade(
        self, package: bytes, ticket: Argument, modules: Sequence[bytes], dependencies: Sequence[bytes]
    ) -> Argument:
        """Upgrades `package` (its latest id) with a `0x2::package::UpgradeTicket`.

        The result is the `UpgradeReceipt`, which `0x2::package::commit_upgrade` must take.
        """
        return self._command(Upgrade(tuple(modules), tuple(dependencies), package, ticket))

    def build(self, sender: bytes, *, gas: AddressBalanceGas | CoinGas) -> bytes:
        """The BCS TransactionData. Raises `PayloadTooLargeError` over Sui's 128 KiB."""
        payment = gas.coins if isinstance(gas, CoinGas) else ()
        expiration: Expiration
        if isinstance(gas, CoinGas):
            expiration = gas.last_epoch
        else:
            expiration = ValidDuring(gas.epoch, gas.epoch + 1, gas.chain_id, gas.nonce)
        gas_data = GasData(payment, sender, gas.price, gas.budget)
        transaction = encode_transaction(
            TransactionData(tuple(self._inputs), tuple(self._commands), sender, gas_data, expiration)
        )
        if len(transaction) > MAX_TRANSACTION_BYTES:
            raise PayloadTooLargeError(
                f"a transaction holds at most {MAX_TRANSACTION_BYTES} bytes",
                size=len(transaction),
                limit=MAX_TRANSACTION_BYTES,
            )
        return transaction

    def _object(self, object_id: bytes, value: Input) -> Argument:
        self._objects[object_id] = len(self._inputs)
        return self._input(value)

    def _input(self, value: Input) -> Argument:
        self._inputs.append(value)
        return Argument(ArgumentKind.INPUT, len(self._inputs) - 1)

    def _command(self, command: Command) -> Argument:
        self._commands.append(command)
        return Argument(ArgumentKind.RESULT, len(self._commands) - 1)


@dataclass(frozen=True, slots=True)
class DecodedTransaction:
    """A transaction read back from its bytes."""

    data: TransactionData

    @property
    def sender(self) -> bytes:
        return self.data.sender

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self.data.inputs

    @property
    def commands(self) -> tuple[Command, ...]:
        return self.data.commands

    @property
    def move_calls(self) -> list[MoveCall]:
        """The Move calls, in order."""
        return [command for command in self.data.commands if isinstance(command, MoveCall)]

    def resolve_pure(self, argument: Argument) -> bytes:
        """The BCS of the plain input that `argument` names. Raises `WireFormatError` if it names none."""
        value = self._resolve_input(argument)
        if not isinstance(value, PureInput):
            raise WireFormatError("the argument is not a plain input of the transaction")
        return value.data

    def resolve_object(self, argument: Argument) -> bytes:
        """The id of the object input that `argument` names. Raises `WireFormatError` if it names none."""
        value = self._resolve_input(argument)
        if isinstance(value, SharedInput):
            return value.id
        if isinstance(value, OwnedInput):
            return value.ref.id
        raise WireFormatError("the argument is not an object input of the transaction")

    def resolve_chunks(self, argument: Argument) -> list[bytes]:
        """The byte vectors that a `vector<vector<u8>>` argument is made of.

        Understands what `make_vec_of_bytes` writes, and a single plain input. Raises `WireFormatError` for
        the rest.
        """
        if argument.kind is ArgumentKind.INPUT:
            return _read_all(self.resolve_pure(argument), lambda reader: reader.vector(Reader.byte_vector))
        commands = self.data.commands
        if argument.kind is not ArgumentKind.RESULT or argument.index >= len(commands):
            raise WireFormatError("the argument is not a vector built in the transaction")
        command = commands[argument.index]
        if not isinstance(command, MakeMoveVec) or command.element != VECTOR_U8:
            raise WireFormatError("the argument is not a vector of byte vectors")
        return [_read_all(self.resolve_pure(element), Reader.byte_vector) for element in command.elements]

    def _resolve_input(self, argument: Argument) -> Input:
        if argument.kind is not ArgumentKind.INPUT or argument.index >= len(self.data.inputs):
            raise WireFormatError("the argument is not an input of the transaction")
        return self.data.inputs[argument.index]


def _read_all(data: bytes, read: Callable[[Reader], T]) -> T:
    reader = Reader(data)
    value = read(reader)
    reader.finish()
    return value


@lru_cache(maxsize=8)
def decode_transaction(transaction: bytes) -> DecodedTransaction:
    """Reads a user's programmable transaction. Raises `WireFormatError` for anything else.

    The last few are kept: who checks a transaction reads it more than once, and many answers make it long.
    """
    return DecodedTransaction(decode_transaction_data(transaction))
