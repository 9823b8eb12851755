"""What types mean: abilities, and the extent and the JSON of BCS values, read from published bytecode."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from ..bytecode.interface import DatatypeDeclaration, Field, ModuleInterface, Parameter, read_interface
from ..bytecode.types import Datatype, MoveType, Primitive, TypeParameter, Vector, canonical, substitute
from ..execution import PackageInterface
from ..linkage import Linkage, defining_type
from .bcs import BcsError, Reader
from .digests import hex_address
from .type_tags import MOVE_STDLIB, SUI_FRAMEWORK, parsed

_PLAIN = ("copy", "drop", "store")
_WIDTHS = {"bool": 1, "u8": 1, "u16": 2, "u32": 4, "u64": 8, "u128": 16, "u256": 32, "address": 32}
_U8, _U64, _ADDRESS = Primitive("u8"), Primitive("u64"), Primitive("address")
_ANY = Parameter(())


def _builtin(
    name: str, abilities: tuple[str, ...], *fields: tuple[str, MoveType], parameters: int = 0
) -> DatatypeDeclaration:
    declared = tuple(Field(field_name, field_type) for field_name, field_type in fields)
    return DatatypeDeclaration(name, abilities, (Parameter((), phantom=True),) * parameters, declared)


def _framework(module: str, name: str, *arguments: MoveType) -> Datatype:
    return Datatype(SUI_FRAMEWORK, module, name, arguments)


_UID, _ID = _framework("object", "UID"), _framework("object", "ID")
BUILTIN: dict[tuple[bytes, str, str], DatatypeDeclaration] = {
    (MOVE_STDLIB, "string", "String"): _builtin("String", _PLAIN, ("bytes", Vector(_U8))),
    (MOVE_STDLIB, "ascii", "String"): _builtin("String", _PLAIN, ("bytes", Vector(_U8))),
    (MOVE_STDLIB, "option", "Option"): DatatypeDeclaration(
        "Option", _PLAIN, (_ANY,), (Field("vec", Vector(TypeParameter(0))),)
    ),
    (SUI_FRAMEWORK, "object", "ID"): _builtin("ID", _PLAIN, ("bytes", _ADDRESS)),
    (SUI_FRAMEWORK, "object", "UID"): _builtin("UID", ("store",), ("id", _ID)),
    (SUI_FRAMEWORK, "sui", "SUI"): _builtin("SUI", ("drop",)),
    (SUI_FRAMEWORK, "balance", "Balance"): _builtin("Balance", ("store",), ("value", _U64), parameters=1),
    (SUI_FRAMEWORK, "coin", "Coin"): _builtin(
        "Coin",
        ("key", "store"),
        ("id", _UID),
        ("balance", _framework("balance", "Balance", TypeParameter(0))),
        parameters=1,
    ),
    (SUI_FRAMEWORK, "clock", "Clock"): _builtin("Clock", ("key",), ("id", _UID), ("timestamp_ms", _U64)),
    (SUI_FRAMEWORK, "package", "UpgradeCap"): _builtin(
        "UpgradeCap", ("key", "store"), ("id", _UID), ("package", _ID), ("version", _U64), ("policy", _U8)
    ),
    (SUI_FRAMEWORK, "dynamic_field", "Field"): DatatypeDeclaration(
        "Field",
        ("key",),
        (_ANY, _ANY),
        (Field("id", _UID), Field("name", TypeParameter(0)), Field("value", TypeParameter(1))),
    ),
    (SUI_FRAMEWORK, "dynamic_object_field", "Wrapper"): DatatypeDeclaration(
        "Wrapper", _PLAIN, (_ANY,), (Field("name", TypeParameter(0)),)
    ),
}
"""Framework types that the ledger handles itself; every other one is read from bytecode."""


_PURE_STRUCTS = frozenset({("string", "String"), ("ascii", "String"), ("object", "ID")})


def is_pure_type(move_type: MoveType) -> bool:
    """Whether Sui takes pure bytes for a parameter of this type: primitives, strings, ids, and of these
    vectors and options."""
    match move_type:
        case Primitive(name):
            return name != "signer"
        case Vector(element):
            return is_pure_type(element)
        case Datatype(address, module, name, arguments) if address in {MOVE_STDLIB, SUI_FRAMEWORK}:
            if (module, name) == ("option", "Option"):
                return len(arguments) == 1 and is_pure_type(arguments[0])
            return (module, name) in _PURE_STRUCTS
    return False


class UnknownTypeError(ValueError):
    """No published module declares the type."""


class Datatypes:
    """The datatypes of all published packages."""

    def __init__(self) -> None:
        self._packages: dict[bytes, PackageInterface] = {}
        self._linkages: dict[bytes, Linkage] = {}
        self._modules: dict[tuple[bytes, str], ModuleInterface] = {}
        self._abilities: dict[str, frozenset[str]] = {}

    def register(self, package: PackageInterface) -> None:
        self._packages[package.id] = package
        for code in package.modules.values():
            self.declare(package.id, read_interface(code))

    def declare(self, package: bytes, module: ModuleInterface) -> None:
        """Make a module's types known as those of ``package``."""
        self._modules[package, module.name] = module

    def module(self, package: bytes, name: str) -> ModuleInterface | None:
        return self._modules.get((package, name))

    def declaration(self, datatype: Datatype) -> DatatypeDeclaration:
        """Raises: UnknownTypeError."""
        builtin = BUILTIN.get((datatype.address, datatype.module, datatype.name))
        if builtin is not None:
            return builtin
        module = self._modules.get((datatype.address, datatype.module))
        if module is None or datatype.name not in module.datatypes:
            raise UnknownTypeError(f"no published module declares {canonical(datatype)}")
        return module.datatypes[datatype.name]

    def abilities(self, type_tag: str) -> frozenset[str]:
        """The abilities of a concrete type.

        Raises:
            UnknownTypeError: no published module declares it.
        """
        known = self._abilities.get(type_tag)
        if known is None:
            known = self._abilities[type_tag] = self._abilities_of(parsed(type_tag))
        return known

    def _abilities_of(self, move_type: MoveType) -> frozenset[str]:
        match move_type:
            case Vector(element):
                return self._abilities_of(element) & frozenset(_PLAIN)
            case Datatype():
                declared = self.declaration(move_type)
                if len(declared.type_parameters) != len(move_type.arguments):
                    raise UnknownTypeError(f"{canonical(move_type)} has a wrong number of type arguments")
                abilities = frozenset(declared.abilities)
                for parameter, argument in zip(declared.type_parameters, move_type.arguments, strict=True):
                    if not parameter.phantom:
                        inner = self._abilities_of(argument)
                        abilities = frozenset(a for a in abilities if ("store" if a == "key" else a) in inner)
                return abilities
        return frozenset(_PLAIN)

    def linkage(self, package: bytes) -> Linkage:
        """The versions that the bytecode of this version of a package names."""
        known = self._linkages.get(package)
        if known is None:
            known = Linkage(self._packages.get, self._packages.get(package))
            if package in self._packages:
                self._linkages[package] = known
        return known

    def defining(self, type_tag: str) -> str:
        """A canonical type tag with every type under the version of its package that introduced it."""
        return canonical(defining_type(self._packages.get, parsed(type_tag)))

    def fields(self, datatype: Datatype, declared: tuple[Field, ...]) -> tuple[Field, ...]:
        """Fields as type tags, with the type's arguments put in."""
        linkage = self.linkage(datatype.address)

        def concrete(move_type: MoveType) -> MoveType:
            return substitute(linkage.defining(move_type), datatype.arguments)

        return tuple(Field(field.name, concrete(field.type)) for field in declared)

    def walk(self, move_type: MoveType, reader: Reader) -> Any:
        """Read one value and return its JSON form (u64 and up as decimal text, vector<u8> in base64).

        Raises:
            BcsError: the bytes are no value of this type.
            UnknownTypeError: a type inside is not published.
        """
        match move_type:
            case Primitive("bool"):
                return reader.boolean()
            case Primitive("address"):
                return hex_address(reader.address())
            case Primitive(name) if name in _WIDTHS:
                number = reader.unsigned(_WIDTHS[name])
                return number if _WIDTHS[name] <= 4 else str(number)
            case Vector(Primitive("u8")):
                return base64.b64encode(reader.blob()).decode("ascii")
            case Vector(element):
                return [self.walk(element, reader) for _ in range(reader.uleb())]
            case Datatype():
                return self._walk_datatype(move_type, reader)
        raise BcsError(f"{move_type} has no values in BCS")

    def _walk_datatype(self, datatype: Datatype, reader: Reader) -> Any:
        special = _SPECIAL.get((datatype.address, datatype.module, datatype.name))
        if special is not None:
            return special(self, datatype, reader)
        declared = self.declaration(datatype)
        if declared.variants:
            index = reader.uleb()
            if index >= len(declared.variants):
                raise BcsError(f"{declared.name} has no variant {index}")
            name, variant_fields = declared.variants[index]
            return {"@variant": name} | self._walk_fields(datatype, variant_fields, reader)
        fields = declared.fields
        if not fields:  # only in the table above: the compiler gives an empty struct one boolean
            reader.boolean()
            return {}
        return self._walk_fields(datatype, fields, reader)

    def _walk_fields(self, datatype: Datatype, fields: tuple[Field, ...], reader: Reader) -> dict[str, Any]:
        return {field.name: self.walk(field.type, reader) for field in self.fields(datatype, fields)}


def _utf8(_: Datatypes, __: Datatype, reader: Reader) -> str:
    return reader.text()


def _ascii(_: Datatypes, __: Datatype, reader: Reader) -> str:
    text = reader.blob()
    if not text.isascii():
        raise BcsError("an ascii::String has bytes above 127")
    return text.decode("ascii")


def _option(types: Datatypes, datatype: Datatype, reader: Reader) -> Any:
    present = reader.uleb()
    if present > 1:
        raise BcsError("an Option has at most one element")
    return types.walk(datatype.arguments[0], reader) if present else None


def _id(_: Datatypes, __: Datatype, reader: Reader) -> str:
    return hex_address(reader.address())


def _balance(_: Datatypes, __: Datatype, reader: Reader) -> str:
    return str(reader.u64())


_SPECIAL: dict[tuple[bytes, str, str], Callable[[Datatypes, Datatype, Reader], Any]] = {
    (MOVE_STDLIB, "string", "String"): _utf8,
    (MOVE_STDLIB, "ascii", "String"): _ascii,
    (MOVE_STDLIB, "option", "Option"): _option,
    (SUI_FRAMEWORK, "object", "ID"): _id,
    (SUI_FRAMEWORK, "object", "UID"): _id,
    (SUI_FRAMEWORK, "balance", "Balance"): _balance,
}
