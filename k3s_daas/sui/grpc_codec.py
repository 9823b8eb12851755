"""Sui's gRPC messages to bytes and back: betterproto2's message classes, in a loop of our own.

betterproto2 reads byte by byte and asks Python's warning filters about each field that it writes: that was a
quarter of what a call cost. Here a class is looked at once, and what remains is one loop over the bytes.
It refuses what betterproto2 takes: a field of another wire type, one that ends beyond its message, nesting
without end.

Wire format: https://protobuf.dev/programming-guides/encoding/. Unknown fields are passed over; of several
fields with one number the last one counts (messages are not merged). Maps and floating-point numbers are
passed over, too: they are in what endpoints add, as the JSON of an event, and in nothing that is read here.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

import betterproto2
from grpclib.encoding.base import CodecBase

_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_64_BITS = (1 << 64) - 1
# As deep as protobuf's own readers go.
_MAX_DEPTH = 100

_Number = Callable[[int], Any]
_Piece = Callable[[bytes, int, int, int], Any]


def _signed(bits: int) -> _Number:
    sign = 1 << (bits - 1)
    return lambda number: ((number & ((sign << 1) - 1)) ^ sign) - sign


_signed_32 = _signed(32)
_NUMBERS: dict[str, _Number] = {
    betterproto2.TYPE_UINT64: _64_BITS.__and__,
    betterproto2.TYPE_UINT32: 0xFFFFFFFF.__and__,
    betterproto2.TYPE_INT64: _signed(64),
    betterproto2.TYPE_INT32: _signed_32,
    betterproto2.TYPE_BOOL: bool,
}
_PIECES: dict[str, _Piece] = {
    betterproto2.TYPE_STRING: lambda data, start, stop, _: str(data[start:stop], "utf-8"),
    betterproto2.TYPE_BYTES: lambda data, start, stop, _: data[start:stop],
}


class MessageCodec(CodecBase):  # type: ignore[misc]  # grpclib is followed as untyped
    """For a grpclib channel. `decode` raises ValueError or LookupError for bytes that are no such message."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        if not isinstance(message, message_type):
            raise TypeError(f"a {message_type.__name__} is to be sent, not a {type(message).__name__}")
        return encoded(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return _read(_shape(message_type), data, 0, len(data), 0)
        except OverflowError as error:  # a moment beyond the year 9999
            raise ValueError(f"a {message_type.__name__} holds a value out of range") from error


def encoded(message: Any) -> bytes:
    """A message's bytes. Raises TypeError for a field of a kind that is not written here."""
    out = bytearray()
    for field in _shape(message.__class__).written:
        value = getattr(message, field.name)
        if field.repeated:
            for item in value:
                out += field.key
                out += field.write(item)
        elif value is not None and (value or field.presence):
            out += field.key
            out += field.write(value)
    return bytes(out)


class _Written(NamedTuple):
    name: str
    key: bytes
    write: Callable[[Any], bytes]
    repeated: bool
    presence: bool
    """A field that can be absent is written even if it holds a zero."""


class _Expected(NamedTuple):
    name: str
    repeated: bool
    number: _Number | None
    """For a varint."""
    piece: _Piece | None
    """For a length-prefixed piece: of these bytes, from here, to there, at this depth."""
    packed: bool


class _Shape(NamedTuple):
    message: type
    expected: dict[int, _Expected]
    """By key: field number and wire type."""
    numbers: set[int]
    """Of the fields that are read."""
    written: list[_Written]


@cache
def _shape(message: Any) -> _Shape:
    hints = get_type_hints(message, vars(sys.modules[message.__module__]), {})
    shape = _Shape(message, {}, set(), [])
    for field in dataclasses.fields(message):
        meta = betterproto2.FieldMetadata.get(field)
        arguments = get_args(hints[field.name])
        kind = arguments[0] if arguments else hints[field.name]
        number, piece = _readers(meta, kind)
        if number is not None or piece is not None:
            shape.numbers.add(meta.number)
        if number is not None:
            shape.expected[meta.number << 3 | _VARINT] = _Expected(
                field.name, meta.repeated, number, None, packed=False
            )
        if number is not None and meta.repeated:
            shape.expected[meta.number << 3 | _SIZED] = _Expected(
                field.name, True, None, _packed(number), packed=True
            )
        if piece is not None:
            shape.expected[meta.number << 3 | _SIZED] = _Expected(
                field.name, meta.repeated, None, piece, packed=False
            )
        wire_type = _SIZED if number is None else _VARINT
        shape.written.append(
            _Written(
                field.name,
                _varint_bytes(meta.number << 3 | wire_type),
                _writer(meta, field.name),
                meta.repeated,
                presence=bool(meta.optional or meta.group or meta.proto_type == betterproto2.TYPE_MESSAGE),
            )
        )
    return shape


def _readers(meta: Any, kind: Any) -> tuple[_Number | None, _Piece | None]:
    if meta.proto_type in _NUMBERS:
        return _NUMBERS[meta.proto_type], None
    if meta.proto_type == betterproto2.TYPE_ENUM:
        return lambda number: kind(_signed_32(number)), None
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        return None, _nested(kind) if meta.unwrap is None else _wrapped(meta.unwrap)
    return None, _PIECES.get(meta.proto_type)


def _nested(kind: Any) -> _Piece:
    return lambda data, start, stop, depth: _read(_shape(kind), data, start, stop, depth + 1)


def _wrapped(wrapper: Callable[[], type]) -> _Piece:
    """For a message that betterproto2 has as a Python value, as the timestamp is a datetime."""

    def read(data: bytes, start: int, stop: int, depth: int) -> Any:
        return _read(_shape(wrapper()), data, start, stop, depth + 1).to_wrapped()

    return read


def _packed(number: _Number) -> _Piece:
    def read(data: bytes, start: int, stop: int, _: int) -> list[Any]:
        found = []
        while start < stop:
            value, start = _varint(data, start)
            found.append(number(value))
        if start != stop:
            raise ValueError("a packed field ends within a number")
        return found

    return read


def _read(shape: _Shape, data: bytes, at: int, end: int, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("messages are nested too deeply")
    values: dict[str, Any] = {}
    while at < end:
        key = data[at]
        if key < 0x80:
            at += 1
        else:
            key, at = _varint(data, at)
        field = shape.expected.get(key)
        if field is None:
            at = _passed_over(shape, key, data, at)
            continue
        value, at = _varint(data, at)
        if field.piece is not None:
            stop = at + value
            if stop > end:
                raise ValueError(f"{field.name} ends beyond its message")
            value = field.piece(data, at, stop, depth)
            at = stop
        elif field.number is not None:
            value = field.number(value)
        if not field.repeated:
            values[field.name] = value
        elif field.packed:
            values.setdefault(field.name, []).extend(value)
        else:
            values.setdefault(field.name, []).append(value)
    if at != end:
        raise ValueError(f"a {shape.message.__name__} ends within a field")
    return shape.message(**values)


def _passed_over(shape: _Shape, key: int, data: bytes, at: int) -> int:
    """Where the next field begins, after one that we do not know."""
    number, wire_type = key >> 3, key & 7
    if number in shape.numbers:
        raise ValueError(f"field {number} of a {shape.message.__name__} has a form that is not read here")
    if wire_type in _FIXED_BYTES:
        return at + _FIXED_BYTES[wire_type]
    if wire_type not in (_VARINT, _SIZED):
        raise ValueError(f"the wire type {wire_type} does not exist")
    value, at = _varint(data, at)
    return at + value if wire_type == _SIZED else at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while shift < 70:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    raise ValueError("a number is longer than ten bytes")


def _writer(meta: Any, name: str) -> Callable[[Any], bytes]:
    if meta.proto_type in _NUMBERS or meta.proto_type == betterproto2.TYPE_ENUM:
        return _varint_bytes
    if meta.proto_type == betterproto2.TYPE_STRING:
        return lambda value: _sized(value.encode())
    if meta.proto_type == betterproto2.TYPE_BYTES:
        return _sized
    if meta.proto_type == betterproto2.TYPE_MESSAGE and meta.unwrap is None:
        return lambda value: _sized(encoded(value))
    return _unwritten(name)


def _unwritten(name: str) -> Callable[[Any], bytes]:
    def refuse(_: Any) -> bytes:
        raise TypeError(f"{name} is of a kind that is not written here: add it to grpc_codec")

    return refuse


def _sized(data: bytes) -> bytes:
    return _varint_bytes(len(data)) + data


def _varint_bytes(value: int | IntEnum) -> bytes:
    number = int(value) & _64_BITS
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
