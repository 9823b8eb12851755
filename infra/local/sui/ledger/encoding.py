"""Transactions to BCS: the counterpart of :mod:`.transactions`, for the faucet and for tests."""

from __future__ import annotations

from collections.abc import Sequence

from . import bcs
from .transactions import (
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
    Receiving,
    SharedObject,
    SplitCoins,
    TransferObjects,
    Upgrade,
    ValidDuring,
    Withdrawal,
)
from .type_tags import encode_type, parsed


def encode_transaction(
    inputs: Sequence[Input],
    commands: Sequence[Command],
    *,
    sender: bytes,
    gas: GasData,
    expiration: int | ValidDuring | None = None,
) -> bytes:
    """BCS ``TransactionData``."""
    return b"".join(
        (
            b"\0\0",
            bcs.vector(map(_input, inputs)),
            bcs.vector(map(_command, commands)),
            sender,
            bcs.vector(map(_object_ref, gas.payment)),
            gas.owner,
            bcs.u64(gas.price),
            bcs.u64(gas.budget),
            _expiration(expiration),
        )
    )


def _object_ref(ref: ObjectRef) -> bytes:
    return ref.id + bcs.u64(ref.version) + bcs.blob(ref.digest)


def _type(type_tag: str) -> bytes:
    return encode_type(parsed(type_tag))


def _input(argument: Input) -> bytes:
    match argument:
        case Pure(value):
            return b"\0" + bcs.blob(value)
        case OwnedObject(ref):
            return b"\1\0" + _object_ref(ref)
        case SharedObject(object_id, initial_version, mutable):
            return b"\1\1" + object_id + bcs.u64(initial_version) + bytes([mutable])
        case Receiving(ref):
            return b"\1\2" + _object_ref(ref)
        case Withdrawal(amount, currency, from_sponsor):
            return b"\2\0" + bcs.u64(amount) + b"\0" + _type(currency) + bytes([from_sponsor])


def _argument(argument: Argument) -> bytes:
    if argument.kind == "gas":
        return b"\0"
    if argument.kind == "input":
        return b"\1" + bcs.u16(argument.index)
    if argument.nested is None:
        return b"\2" + bcs.u16(argument.index)
    return b"\3" + bcs.u16(argument.index) + bcs.u16(argument.nested)


def _arguments(arguments: Sequence[Argument]) -> bytes:
    return bcs.vector(map(_argument, arguments))


def _command(command: Command) -> bytes:  # noqa: PLR0911 - one case per command
    match command:
        case CallCommand(package, module, function, type_arguments, arguments):
            name = package + bcs.text(module) + bcs.text(function)
            return b"\0" + name + bcs.vector(map(_type, type_arguments)) + _arguments(arguments)
        case TransferObjects(objects, recipient):
            return b"\1" + _arguments(objects) + _argument(recipient)
        case SplitCoins(coin, amounts):
            return b"\2" + _argument(coin) + _arguments(amounts)
        case MergeCoins(target, sources):
            return b"\3" + _argument(target) + _arguments(sources)
        case Publish(modules, dependencies):
            return b"\4" + bcs.vector(map(bcs.blob, modules)) + bcs.vector(dependencies)
        case MakeMoveVector(element_type, elements):
            element = None if element_type is None else _type(element_type)
            return b"\5" + bcs.option(element) + _arguments(elements)
        case Upgrade(modules, dependencies, package, ticket):
            code = bcs.vector(map(bcs.blob, modules)) + bcs.vector(dependencies)
            return b"\6" + code + package + _argument(ticket)


def _expiration(expiration: int | ValidDuring | None) -> bytes:
    match expiration:
        case None:
            return b"\0"
        case int():
            return b"\1" + bcs.u64(expiration)
        case ValidDuring(first, last, earliest, latest, chain, nonce):
            window = (bcs.option(None if n is None else bcs.u64(n)) for n in (first, last, earliest, latest))
            return b"\2" + b"".join(window) + bcs.blob(chain) + bcs.u32(nonce)
