"""May a package be upgraded to other modules? Sui's rules for the policy ``compatible``.

What was public, and what is stored, must stay: modules, public functions with their signatures, datatypes
with abilities, type parameters and layout. Everything else is free: bodies, private and ``public(package)``
functions, entry functions that are not public, new modules, datatypes and functions. (Rules:
``Compatibility::upgrade_check`` of the Move binary format.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .interface import (
    DatatypeDeclaration,
    Field,
    FunctionDeclaration,
    ModuleInterface,
    Parameter,
    read_interface,
)
from .types import Datatype, MoveType, Reference, Vector

_OWN = bytes(32)


def incompatibilities(old: Sequence[bytes], new: Sequence[bytes]) -> list[str]:
    """Why a package of the modules ``old`` cannot be upgraded to ``new``; empty if it can.

    Both are bytecode, as compiled (own address zero) or as published (own address the original package id):
    each package's own address counts as the same. Each reason is a sentence that names module and item.

    Raises:
        BytecodeError: a module is not understood.
    """
    before = {one.name: one for one in map(read_interface, old)}
    after = {one.name: one for one in map(read_interface, new)}
    reasons = []
    for name, module in sorted(before.items()):
        if name not in after:
            reasons.append(f"module {name} is missing")
        else:
            reasons += _module_reasons(module, after[name])
    return reasons


def _module_reasons(before: ModuleInterface, after: ModuleInterface) -> Iterator[str]:
    for name, datatype in before.datatypes.items():
        what = f"{before.name}::{name}"
        if name not in after.datatypes:
            yield f"type {what} is missing"
        else:
            same = _Comparison(before.address, after.address)
            yield from same.datatypes(f"type {what}", datatype, after.datatypes[name])
    for name, function in before.functions.items():
        what = f"public function {before.name}::{name}"
        if function.visibility != "public":
            continue
        if name not in after.functions:
            yield f"{what} is missing"
        elif after.functions[name].visibility != "public":
            yield f"{what} is no longer public"
        else:
            yield from _Comparison(before.address, after.address).functions(
                what, function, after.functions[name]
            )


class _Comparison:
    """Compares declarations of two versions, taking their own addresses for the same."""

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after

    def datatypes(self, what: str, old: DatatypeDeclaration, new: DatatypeDeclaration) -> Iterator[str]:
        if set(old.abilities) != set(new.abilities):
            yield f"{what} changes its abilities from {_listed(old.abilities)} to {_listed(new.abilities)}"
        if _constraints(old.type_parameters) != _constraints(new.type_parameters):
            yield f"{what} changes its type parameters"
        if bool(old.variants) != bool(new.variants):
            yield f"{what} is a struct in one version and an enum in the other"
        elif self._fields(old.fields, self._before) != self._fields(new.fields, self._after):
            yield f"{what} changes its fields"
        elif self._variants(old, self._before) != self._variants(new, self._after):
            yield f"{what} changes its variants"

    def functions(self, what: str, old: FunctionDeclaration, new: FunctionDeclaration) -> Iterator[str]:
        if self._types(old.parameters, self._before) != self._types(new.parameters, self._after):
            yield f"{what} changes its parameters"
        if self._types(old.returns, self._before) != self._types(new.returns, self._after):
            yield f"{what} changes its return values"
        if not _asks_no_more(old.type_parameters, new.type_parameters):
            yield f"{what} changes its type parameters"

    @staticmethod
    def _types(types: Sequence[MoveType], own: bytes) -> list[MoveType]:
        return [_neutral(one, own) for one in types]

    def _fields(self, fields: Sequence[Field], own: bytes) -> list[tuple[str, MoveType]]:
        return [(one.name, _neutral(one.type, own)) for one in fields]

    def _variants(
        self, declared: DatatypeDeclaration, own: bytes
    ) -> list[tuple[str, list[tuple[str, MoveType]]]]:
        return [(name, self._fields(fields, own)) for name, fields in declared.variants]


def _neutral(move_type: MoveType, own: bytes) -> MoveType:
    """The type with the package's own address as zero."""
    match move_type:
        case Vector(element):
            return Vector(_neutral(element, own))
        case Reference(mutable, target):
            return Reference(mutable, _neutral(target, own))
        case Datatype(address, module, name, arguments):
            inner = tuple(_neutral(argument, own) for argument in arguments)
            return Datatype(_OWN if address == own else address, module, name, inner)
    return move_type


def _constraints(parameters: Sequence[Parameter]) -> list[tuple[frozenset[str], bool]]:
    return [(frozenset(one.constraints), one.phantom) for one in parameters]


def _asks_no_more(old: Sequence[Parameter], new: Sequence[Parameter]) -> bool:
    """A function may ask less of its type arguments than before, never more."""
    return len(old) == len(new) and all(
        set(after.constraints) <= set(before.constraints) for before, after in zip(old, new, strict=True)
    )


def _listed(abilities: Sequence[str]) -> str:
    return ", ".join(abilities) or "none"
