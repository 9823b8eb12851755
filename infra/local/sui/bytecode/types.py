"""Move types as they stand in a module's signatures, and their canonical text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ABILITIES = {1: "copy", 2: "drop", 4: "store", 8: "key"}
"""Bit of an ability in a binary ability set."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """``bool``, ``address``, ``signer`` or an unsigned integer."""

    name: str


@dataclass(frozen=True, slots=True)
class TypeParameter:
    index: int


@dataclass(frozen=True, slots=True)
class Vector:
    element: MoveType


@dataclass(frozen=True, slots=True)
class Datatype:
    """A struct or an enum."""

    address: bytes
    module: str
    name: str
    arguments: tuple[MoveType, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    mutable: bool
    target: MoveType


MoveType = Primitive | TypeParameter | Vector | Datatype | Reference


class TypeTextError(ValueError):
    """A text that is no Move type."""


def strip_reference(move_type: MoveType) -> MoveType:
    """The type itself, whether it is passed by value or by reference."""
    return move_type.target if isinstance(move_type, Reference) else move_type


def render(move_type: MoveType, module_name: Callable[[bytes, str], str]) -> str:
    """The type as Move text; ``module_name`` says how ``address::module`` is written."""

    def text(inner: MoveType) -> str:
        return render(inner, module_name)

    match move_type:
        case Primitive(name):
            return name
        case TypeParameter(index):
            return f"T{index}"
        case Vector(element):
            return f"vector<{text(element)}>"
        case Reference(mutable, target):
            return ("&mut " if mutable else "&") + text(target)
        case Datatype(address, module, name, arguments):
            inner = f"<{','.join(map(text, arguments))}>" if arguments else ""
            return f"{module_name(address, module)}::{name}{inner}"


def canonical(move_type: MoveType) -> str:
    """Addresses with 64 digits, no spaces but the one after ``&mut``."""
    return render(move_type, lambda address, module: f"0x{address.hex()}::{module}")


def substitute(move_type: MoveType, arguments: Sequence[MoveType]) -> MoveType:
    """The type with its type parameters replaced by ``arguments``."""
    match move_type:
        case TypeParameter(index):
            return arguments[index]
        case Vector(element):
            return Vector(substitute(element, arguments))
        case Reference(mutable, target):
            return Reference(mutable, substitute(target, arguments))
        case Datatype(address, module, name, inner):
            return Datatype(address, module, name, tuple(substitute(a, arguments) for a in inner))
        case Primitive():
            return move_type


_TOKEN = re.compile(r"\s*(::|<|>|,|[A-Za-z_][A-Za-z0-9_]*|0x[0-9a-fA-F]+|[0-9a-fA-F]{64})")
_PRIMITIVES = frozenset({"bool", "address", "signer", "u8", "u16", "u32", "u64", "u128", "u256"})


def parse_type(text: str) -> MoveType:
    """Read a type tag such as ``vector<0x2::coin::Coin<0x2::sui::SUI>>``.

    Raises:
        TypeTextError: it is not one.
    """
    tokens: list[str] = []
    position = 0
    stripped = text.strip()
    while position < len(stripped):
        matched = _TOKEN.match(stripped, position)
        if matched is None:
            raise TypeTextError(f"not a Move type: {text!r}")
        tokens.append(matched[1])
        position = matched.end()
    try:
        parsed, end = _parse(tokens, 0)
    except (IndexError, ValueError) as error:
        raise TypeTextError(f"not a Move type: {text!r}") from error
    if end != len(tokens):
        raise TypeTextError(f"not a Move type: {text!r}")
    return parsed


def _parse(tokens: list[str], at: int) -> tuple[MoveType, int]:
    head = tokens[at]
    if head in _PRIMITIVES:
        return Primitive(head), at + 1
    if head == "vector":
        arguments, at = _parse_arguments(tokens, at + 1)
        if len(arguments) != 1:
            raise ValueError("vector takes one type argument")
        return Vector(arguments[0]), at
    digits = head.removeprefix("0x")
    if tokens[at + 1] != "::" or tokens[at + 3] != "::" or len(digits) > 64:
        raise ValueError("a datatype is address::module::name")
    address, module, name = bytes.fromhex(digits.rjust(64, "0")), tokens[at + 2], tokens[at + 4]
    if not (module.isidentifier() and name.isidentifier()):
        raise ValueError("module and name are identifiers")
    at += 5
    inner: tuple[MoveType, ...] = ()
    if at < len(tokens) and tokens[at] == "<":
        inner, at = _parse_arguments(tokens, at)
    return Datatype(address, module, name, inner), at


def _parse_arguments(tokens: list[str], at: int) -> tuple[tuple[MoveType, ...], int]:
    if tokens[at] != "<":
        raise ValueError("type arguments stand in <>")
    found: list[MoveType] = []
    while tokens[at] != ">":
        argument, at = _parse(tokens, at + 1)
        found.append(argument)
        if tokens[at] not in {",", ">"}:
            raise ValueError("type arguments are separated by commas")
    return tuple(found), at + 1
