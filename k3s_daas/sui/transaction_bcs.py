"""The BCS of `TransactionData`, both ways.

Layout: `sui_types::transaction` (version 1 with a programmable transaction, the only kind that users sign).
Not written with pysui's BCS classes: they build bytes one at a time (5 ms for 16 KB, each way), write a wrong
tag for `vector<u8>`, and accept non-canonical input. The tests compare the two where pysui is right.
"""

from __future__ import annotations

from collections.abc import Callable

from k3s_daas.bcs import BcsError, Reader, Writer
from k3s_daas.sui.digests import DIGEST_BYTES, digest_bytes, to_base58
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
    WithdrawalInput,
)
from k3s_daas.sui.type_tags import read_type_tag, write_type_tag

_VERSION_1 = 0
_PROGRAMMABLE = 0


def encode_transaction(data: TransactionData) -> bytes:
    """The bytes that are signed and hashed. `ValueError` if a value does not fit its type."""
    writer = Writer()
    writer.uleb128(_VERSION_1).uleb128(_PROGRAMMABLE)
    writer.vector(data.inputs, _write_input).vector(data.commands, _write_command)
    writer.address(data.sender).vector(data.gas.payment, _write_ref)
    writer.address(data.gas.owner).u64(data.gas.price).u64(data.gas.budget)
    _write_expiration(writer, data.expiration)
    return writer.finish()


def decode_transaction_data(data: bytes) -> TransactionData:
    """Reads the canonical BCS of a user's transaction. Raises `BcsError` for anything else."""
    reader = Reader(data)
    if reader.uleb128() != _VERSION_1 or reader.uleb128() != _PROGRAMMABLE:
        raise BcsError("not a programmable transaction of version 1")
    inputs, commands = tuple(reader.vector(_read_input)), tuple(reader.vector(_read_command))
    sender, payment = reader.address(), tuple(reader.vector(_read_ref))
    gas = GasData(payment, reader.address(), reader.u64(), reader.u64())
    expiration = _read_expiration(reader)
    reader.finish()
    return TransactionData(inputs, commands, sender, gas, expiration)


def _write_digest(writer: Writer, digest: str) -> None:
    writer.byte_vector(digest_bytes(digest))


def _read_digest(reader: Reader) -> str:
    data = reader.byte_vector()
    if len(data) != DIGEST_BYTES:
        raise BcsError(f"a digest has {DIGEST_BYTES} bytes, got {len(data)}")
    return to_base58(data)


def _write_ref(writer: Writer, ref: ObjectRef) -> None:
    writer.address(ref.id).u64(ref.version)
    _write_digest(writer, ref.digest)


def _read_ref(reader: Reader) -> ObjectRef:
    return ObjectRef(reader.address(), reader.u64(), _read_digest(reader))


def _write_argument(writer: Writer, argument: Argument) -> None:
    writer.uleb128(argument.kind)
    if argument.kind is not ArgumentKind.GAS_COIN:
        writer.u16(argument.index)
    if argument.kind is ArgumentKind.NESTED_RESULT:
        writer.u16(argument.nested)


def _read_argument(reader: Reader) -> Argument:
    variant = reader.uleb128()
    if variant > ArgumentKind.NESTED_RESULT:
        raise BcsError(f"unknown argument variant {variant}")
    kind = ArgumentKind(variant)
    if kind is ArgumentKind.GAS_COIN:
        return GAS_COIN
    return Argument(kind, reader.u16(), reader.u16() if kind is ArgumentKind.NESTED_RESULT else 0)


# Variants of CallArg, then of ObjectArg inside it.
_PURE, _OBJECT, _WITHDRAWAL = 0, 1, 2
_OWNED, _SHARED, _RECEIVING = 0, 1, 2


def _write_input(writer: Writer, value: Input) -> None:
    match value:
        case PureInput(data):
            writer.uleb128(_PURE).byte_vector(data)
        case SharedInput(object_id, initial_version, mutable):
            writer.uleb128(_OBJECT).uleb128(_SHARED).address(object_id).u64(initial_version).boolean(mutable)
        case OwnedInput(ref, receiving):
            writer.uleb128(_OBJECT).uleb128(_RECEIVING if receiving else _OWNED)
            _write_ref(writer, ref)
        case WithdrawalInput(amount, type_tag, from_sponsor):
            # Reservation::MaxAmountU64 and WithdrawalTypeArg::Balance are the only variants: both 0.
            writer.uleb128(_WITHDRAWAL).uleb128(0).u64(amount).uleb128(0)
            write_type_tag(writer, type_tag)
            writer.uleb128(int(from_sponsor))


def _read_input(reader: Reader) -> Input:
    variant = reader.uleb128()
    if variant == _PURE:
        return PureInput(reader.byte_vector())
    if variant == _OBJECT:
        variant = reader.uleb128()
        if variant == _SHARED:
            return SharedInput(reader.address(), reader.u64(), reader.boolean())
        if variant in (_OWNED, _RECEIVING):
            return OwnedInput(_read_ref(reader), receiving=variant == _RECEIVING)
        raise BcsError(f"unknown object argument variant {variant}")
    if variant == _WITHDRAWAL and reader.uleb128() == 0:
        amount = reader.u64()
        if reader.uleb128() == 0:
            return WithdrawalInput(amount, read_type_tag(reader), reader.boolean())
    raise BcsError(f"unknown input variant {variant}")


def _write_arguments(writer: Writer, arguments: tuple[Argument, ...]) -> None:
    writer.vector(arguments, _write_argument)


def _read_arguments(reader: Reader) -> tuple[Argument, ...]:
    return tuple(reader.vector(_read_argument))


def _write_modules(writer: Writer, modules: tuple[bytes, ...], dependencies: tuple[bytes, ...]) -> None:
    writer.vector(modules, Writer.byte_vector).vector(dependencies, Writer.address)


def _read_modules(reader: Reader) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    return tuple(reader.vector(Reader.byte_vector)), tuple(reader.vector(Reader.address))


def _write_command(writer: Writer, command: Command) -> None:
    match command:
        case MoveCall(package, module, function, type_arguments, arguments):
            writer.uleb128(0).address(package).string(module).string(function)
            writer.vector(type_arguments, write_type_tag)
            _write_arguments(writer, arguments)
        case TransferObjects(objects, recipient):
            writer.uleb128(1)
            _write_arguments(writer, objects)
            _write_argument(writer, recipient)
        case SplitCoins(coin, amounts):
            writer.uleb128(2)
            _write_argument(writer, coin)
            _write_arguments(writer, amounts)
        case MergeCoins(target, sources):
            writer.uleb128(3)
            _write_argument(writer, target)
            _write_arguments(writer, sources)
        case Publish(modules, dependencies):
            writer.uleb128(4)
            _write_modules(writer, modules, dependencies)
        case MakeMoveVec(element, elements):
            writer.uleb128(5).boolean(element is not None)
            if element is not None:
                write_type_tag(writer, element)
            _write_arguments(writer, elements)
        case Upgrade(modules, dependencies, package, ticket):
            writer.uleb128(6)
            _write_modules(writer, modules, dependencies)
            writer.address(package)
            _write_argument(writer, ticket)


def _read_move_call(reader: Reader) -> MoveCall:
    package, module, function = reader.address(), reader.string(), reader.string()
    return MoveCall(package, module, function, tuple(reader.vector(read_type_tag)), _read_arguments(reader))


# In the order of the BCS variants.
_COMMAND_READERS: tuple[Callable[[Reader], Command], ...] = (
    _read_move_call,
    lambda reader: TransferObjects(_read_arguments(reader), _read_argument(reader)),
    lambda reader: SplitCoins(_read_argument(reader), _read_arguments(reader)),
    lambda reader: MergeCoins(_read_argument(reader), _read_arguments(reader)),
    lambda reader: Publish(*_read_modules(reader)),
    lambda reader: MakeMoveVec(reader.option(read_type_tag), _read_arguments(reader)),
    lambda reader: Upgrade(*_read_modules(reader), reader.address(), _read_argument(reader)),
)


def _read_command(reader: Reader) -> Command:
    variant = reader.uleb128()
    if variant >= len(_COMMAND_READERS):
        raise BcsError(f"unknown command variant {variant}")
    return _COMMAND_READERS[variant](reader)


# Variants of TransactionExpiration.
_NEVER, _EPOCH, _VALID_DURING = 0, 1, 2


def _write_expiration(writer: Writer, expiration: Expiration) -> None:
    match expiration:
        case None:
            writer.uleb128(_NEVER)
        case ValidDuring():
            writer.uleb128(_VALID_DURING)
            for bound in (expiration.min_epoch, expiration.max_epoch):
                writer.option(bound, Writer.u64)
            for bound in (expiration.min_timestamp, expiration.max_timestamp):
                writer.option(bound, Writer.u64)
            _write_digest(writer, expiration.chain_id)
            writer.u32(expiration.nonce)
        case epoch:
            writer.uleb128(_EPOCH).u64(epoch)


def _read_expiration(reader: Reader) -> Expiration:
    variant = reader.uleb128()
    if variant == _NEVER:
        return None
    if variant == _EPOCH:
        return reader.u64()
    if variant == _VALID_DURING:
        min_epoch, max_epoch, min_timestamp, max_timestamp = (reader.option(Reader.u64) for _ in range(4))
        chain_id, nonce = _read_digest(reader), reader.u32()
        return ValidDuring(min_epoch, max_epoch, chain_id, nonce, min_timestamp, max_timestamp)
    raise BcsError(f"unknown expiration variant {variant}")
