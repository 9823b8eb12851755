"""Arguments of Move calls: bytes on the wire, and the values that they are by a parameter's type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from k3s_daas.bcs import Reader, Writer
from k3s_daas.errors import BcsError

PURE_LIMIT = 16 * 1024
"""A pure argument is shorter than this."""


class MalformedError(Exception):
    """No value of the parameter's type: such a call must be refused before the contract runs."""


@dataclass(frozen=True, slots=True)
class Pure:
    """A pure input, whatever its bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Chunks:
    """``vector<vector<u8>>`` of several pure inputs."""

    parts: tuple[Pure, ...]


@dataclass(frozen=True, slots=True)
class Object:
    """An object of the chain, or an id that is none."""

    id: bytes


@dataclass(frozen=True, slots=True)
class Payment:
    """A coin with so many MIST, split from the sender's."""

    amount: int


@dataclass(frozen=True, slots=True)
class PolicyCall:
    """The result of ``cluster::new_policy`` in the same transaction."""

    arguments: tuple[Pure, ...]


Argument = Pure | Chunks | Object | Payment | PolicyCall

_READERS: dict[str, Callable[[Reader], Any]] = {
    "u8": Reader.u8,
    "u16": Reader.u16,
    "u64": Reader.u64,
    "bool": Reader.boolean,
    "address": Reader.address,
    "ID": Reader.address,
    "String": Reader.string,
    "vector<u8>": Reader.byte_vector,
    "vector<String>": lambda reader: reader.vector(Reader.string),
    "vector<vector<u8>>": lambda reader: reader.vector(Reader.byte_vector),
}
_WRITERS: dict[str, Callable[[Writer, Any], object]] = {
    "u8": Writer.u8,
    "u16": Writer.u16,
    "u64": Writer.u64,
    "bool": Writer.boolean,
    "address": Writer.address,
    "ID": Writer.address,
    "String": Writer.string,
    "vector<u8>": Writer.byte_vector,
    "vector<String>": lambda writer, value: writer.vector(value, Writer.string),
    "vector<vector<u8>>": lambda writer, value: writer.vector(value, Writer.byte_vector),
}
PURE_TYPES = frozenset(_READERS)


def encode(kind: str, value: Any) -> Pure:
    """A value as the pure input of a parameter of that type."""
    writer = Writer()
    _WRITERS[kind](writer, value)
    return Pure(writer.finish())


def decode(kind: str, argument: Argument) -> Any:
    """What a pure argument or a vector of them is to a parameter.

    Raises:
        MalformedError: no value of that type.
    """
    if isinstance(argument, Chunks) and kind == "vector<vector<u8>>":
        return [_read("vector<u8>", part.data) for part in argument.parts]
    if isinstance(argument, Pure) and kind in PURE_TYPES:
        return _read(kind, argument.data)
    raise MalformedError(f"{argument} is no {kind}")


def _read(kind: str, data: bytes) -> Any:
    if len(data) >= PURE_LIMIT:
        raise MalformedError("too long for a pure argument")
    reader = Reader(data)
    try:
        value = _READERS[kind](reader)
        reader.finish()
    except BcsError as error:
        raise MalformedError(str(error)) from error
    return value
