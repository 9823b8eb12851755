"""What a Move module declares: its identity, datatypes and functions, read from its bytecode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from .instructions import skip_code
from .reader import BytecodeError, Cursor, ModuleLayout, Table, read_layout
from .types import ABILITIES, Datatype, MoveType, Primitive, Reference, TypeParameter, Vector

_PRIMITIVE_TOKENS = {
    0x1: "bool",
    0x2: "u8",
    0x3: "u64",
    0x4: "u128",
    0x5: "address",
    0xC: "signer",
    0xD: "u16",
    0xE: "u32",
    0xF: "u256",
}
Entry = TypeVar("Entry")
VISIBILITIES = {0: "private", 1: "public", 3: "package"}
NATIVE_FLAG, ENTRY_FLAG = 0x2, 0x4


@dataclass(frozen=True, slots=True)
class Parameter:
    """A type parameter of a datatype or function."""

    constraints: tuple[str, ...]
    phantom: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: MoveType


@dataclass(frozen=True, slots=True)
class DatatypeDeclaration:
    """A struct (``fields``) or an enum (``variants``)."""

    name: str
    abilities: tuple[str, ...]
    type_parameters: tuple[Parameter, ...]
    fields: tuple[Field, ...] = ()
    variants: tuple[tuple[str, tuple[Field, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionDeclaration:
    name: str
    visibility: str
    entry: bool
    native: bool
    type_parameters: tuple[Parameter, ...]
    parameters: tuple[MoveType, ...]
    returns: tuple[MoveType, ...]
    visibility_offset: int
    """Where the visibility byte stands in the module; the flag byte (native, entry) is the next."""


@dataclass(frozen=True, slots=True)
class ModuleInterface:
    address: bytes
    name: str
    dependencies: tuple[tuple[bytes, str], ...]
    """Every other module that the bytecode names."""
    datatypes: dict[str, DatatypeDeclaration]
    functions: dict[str, FunctionDeclaration]

    @property
    def id(self) -> tuple[bytes, str]:
        return self.address, self.name


def abilities_of(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in ABILITIES.items() if bits & bit)


@lru_cache(maxsize=512)
def read_interface(module: bytes) -> ModuleInterface:
    """Read a module's declarations.

    Raises:
        BytecodeError: the bytes are no Move module, or one of a format that is not understood here.
    """
    try:
        return _InterfaceReader(module).read()
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise BytecodeError("the module's tables contradict each other") from error


class _InterfaceReader:
    def __init__(self, module: bytes) -> None:
        self.module = module
        self.layout: ModuleLayout = read_layout(module)
        self.identifiers = self._entries(Table.IDENTIFIERS, lambda c: c.blob().decode("ascii"))
        self.addresses = self._entries(Table.ADDRESSES, lambda c: c.take(32))
        self.modules = self._entries(
            Table.MODULE_HANDLES, lambda c: (self.addresses[c.uleb()], self.identifiers[c.uleb()])
        )
        self.datatypes = self._entries(Table.DATATYPE_HANDLES, self._datatype_handle)
        self.signatures = self._entries(Table.SIGNATURES, self._signature)
        self.functions = self._entries(Table.FUNCTION_HANDLES, self._function_handle)

    def read(self) -> ModuleInterface:
        own = self.modules[Cursor(self.layout.tail).uleb()]
        structs = self._entries(Table.STRUCT_DEFINITIONS, self._struct)
        enums = self._entries(Table.ENUM_DEFINITIONS, self._enum)
        functions = self._entries(Table.FUNCTION_DEFINITIONS, self._function)
        return ModuleInterface(
            *own,
            tuple(module for module in self.modules if module != own),
            {declared.name: declared for declared in structs + enums},
            {declared.name: declared for declared in functions},
        )

    def _entries(self, kind: Table, read: Callable[[Cursor], Entry]) -> list[Entry]:
        span = self.layout.span(kind)
        if span is None:
            return []
        cursor = Cursor(self.module, span.start, span.start + span.length)
        found = []
        while not cursor.exhausted:
            found.append(read(cursor))
        return found

    def _datatype_handle(
        self, cursor: Cursor
    ) -> tuple[tuple[bytes, str], str, tuple[str, ...], tuple[Parameter, ...]]:
        module, name = self.modules[cursor.uleb()], self.identifiers[cursor.uleb()]
        abilities = abilities_of(cursor.uleb())
        parameters = tuple(
            Parameter(abilities_of(cursor.uleb()), bool(cursor.byte())) for _ in range(cursor.uleb())
        )
        return module, name, abilities, parameters

    def _function_handle(self, cursor: Cursor) -> tuple[str, int, int, tuple[Parameter, ...]]:
        cursor.uleb()  # the module: definitions are the module's own
        name, parameters, returns = self.identifiers[cursor.uleb()], cursor.uleb(), cursor.uleb()
        return (
            name,
            parameters,
            returns,
            tuple(Parameter(abilities_of(cursor.uleb())) for _ in range(cursor.uleb())),
        )

    def _signature(self, cursor: Cursor) -> tuple[MoveType, ...]:
        return tuple(self._type(cursor) for _ in range(cursor.uleb()))

    def _type(self, cursor: Cursor) -> MoveType:
        token = cursor.byte()
        if token in _PRIMITIVE_TOKENS:
            return Primitive(_PRIMITIVE_TOKENS[token])
        match token:
            case 0x6 | 0x7:
                return Reference(token == 0x7, self._type(cursor))
            case 0x8 | 0xB:
                (address, module), name, *_ = self.datatypes[cursor.uleb()]
                count = cursor.uleb() if token == 0xB else 0
                return Datatype(address, module, name, tuple(self._type(cursor) for _ in range(count)))
            case 0x9:
                return TypeParameter(cursor.uleb())
            case 0xA:
                return Vector(self._type(cursor))
        raise BytecodeError(f"unknown type token {token:#x}")

    def _fields(self, cursor: Cursor) -> tuple[Field, ...]:
        return tuple(Field(self.identifiers[cursor.uleb()], self._type(cursor)) for _ in range(cursor.uleb()))

    def _struct(self, cursor: Cursor) -> DatatypeDeclaration:
        _, name, abilities, parameters = self.datatypes[cursor.uleb()]
        declared = cursor.byte() == 2  # 1 is a native struct, which has no fields
        return DatatypeDeclaration(name, abilities, parameters, self._fields(cursor) if declared else ())

    def _enum(self, cursor: Cursor) -> DatatypeDeclaration:
        _, name, abilities, parameters = self.datatypes[cursor.uleb()]
        cursor.byte()  # "declared", the only kind there is
        variants = tuple(
            (self.identifiers[cursor.uleb()], self._fields(cursor)) for _ in range(cursor.uleb())
        )
        return DatatypeDeclaration(name, abilities, parameters, variants=variants)

    def _function(self, cursor: Cursor) -> FunctionDeclaration:
        name, parameters, returns, type_parameters = self.functions[cursor.uleb()]
        offset = cursor.position
        visibility, flags = VISIBILITIES[cursor.byte()], cursor.byte()
        for _ in range(cursor.uleb()):
            cursor.uleb()  # acquires: always empty in Sui
        if not flags & NATIVE_FLAG:
            skip_code(cursor, with_jump_tables=self.layout.version_field[0] >= 7)
        return FunctionDeclaration(
            name,
            visibility,
            bool(flags & ENTRY_FLAG),
            bool(flags & NATIVE_FLAG),
            type_parameters,
            self.signatures[parameters],
            self.signatures[returns],
            offset,
        )
