"""Packages, datatypes and functions as ``sui.rpc.v2`` messages, read from published bytecode."""

from __future__ import annotations

from collections.abc import Sequence

from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..bytecode.interface import (
    DatatypeDeclaration,
    Field,
    FunctionDeclaration,
    ModuleInterface,
    Parameter,
    read_interface,
)
from ..bytecode.types import Datatype, MoveType, Primitive, Reference, TypeParameter, Vector
from ..execution import PackageInterface
from ..ledger.digests import hex_address
from .masks import Tree, subtree, wants

_ABILITIES = {
    "copy": v2.Ability.COPY,
    "drop": v2.Ability.DROP,
    "store": v2.Ability.STORE,
    "key": v2.Ability.KEY,
}
_VISIBILITIES = {
    "private": v2.FunctionDescriptorVisibility.PRIVATE,
    "public": v2.FunctionDescriptorVisibility.PUBLIC,
    "package": v2.FunctionDescriptorVisibility.FRIEND,
}


def package_message(package: PackageInterface, mask: Tree) -> v2.Package:
    identity = hex_address(package.id)
    message = v2.Package(storage_id=identity, original_id=identity, version=1)
    if wants(mask, "modules"):
        inner = subtree(mask, "modules")
        message.modules = [
            _module(package.id, name, code, inner) for name, code in sorted(package.modules.items())
        ]
    if wants(mask, "type_origins"):
        message.type_origins = [
            v2.TypeOrigin(module_name=name, datatype_name=datatype, package_id=identity)
            for name, code in sorted(package.modules.items())
            for datatype in read_interface(code).datatypes
        ]
    return message


def _module(package: bytes, name: str, code: bytes, mask: Tree) -> v2.Module:
    message = v2.Module(name=name, contents=code)
    if wants(mask, "datatypes") or wants(mask, "functions"):
        interface = read_interface(code)
        message.datatypes = [datatype_message(package, interface, d) for d in interface.datatypes.values()]
        message.functions = [function_message(package, f) for f in interface.functions.values()]
    return message


def function_message(package: bytes, function: FunctionDeclaration) -> v2.FunctionDescriptor:
    """A function with all its parameters, ``TxContext`` included."""
    return v2.FunctionDescriptor(
        name=function.name,
        visibility=_VISIBILITIES[function.visibility],
        is_entry=function.entry,
        type_parameters=_type_parameters(function.type_parameters),
        parameters=[_signature(package, parameter) for parameter in function.parameters],
        returns=[_signature(package, returned) for returned in function.returns],
    )


def datatype_message(
    package: bytes, module: ModuleInterface, datatype: DatatypeDeclaration
) -> v2.DatatypeDescriptor:
    kinds = v2.DatatypeDescriptorDatatypeKind
    return v2.DatatypeDescriptor(
        type_name=f"{hex_address(package)}::{module.name}::{datatype.name}",
        defining_id=hex_address(package),
        module=module.name,
        name=datatype.name,
        abilities=[_ABILITIES[ability] for ability in datatype.abilities],
        type_parameters=_type_parameters(datatype.type_parameters),
        kind=kinds.ENUM if datatype.variants else kinds.STRUCT,
        fields=_fields(package, datatype.fields),
        variants=[
            v2.VariantDescriptor(name=name, position=position, fields=_fields(package, fields))
            for position, (name, fields) in enumerate(datatype.variants)
        ],
    )


def _fields(package: bytes, fields: Sequence[Field]) -> list[v2.FieldDescriptor]:
    return [
        v2.FieldDescriptor(name=field.name, position=position, type=_body(package, field.type))
        for position, field in enumerate(fields)
    ]


def _type_parameters(parameters: Sequence[Parameter]) -> list[v2.TypeParameter]:
    return [
        v2.TypeParameter(constraints=[_ABILITIES[a] for a in p.constraints], is_phantom=p.phantom)
        for p in parameters
    ]


def _signature(package: bytes, move_type: MoveType) -> v2.OpenSignature:
    references = v2.OpenSignatureReference
    if isinstance(move_type, Reference):
        reference = references.MUTABLE if move_type.mutable else references.IMMUTABLE
        return v2.OpenSignature(reference=reference, body=_body(package, move_type.target))
    return v2.OpenSignature(body=_body(package, move_type))


def _body(package: bytes, move_type: MoveType) -> v2.OpenSignatureBody:
    types = v2.OpenSignatureBodyType
    match move_type:
        case Primitive(name):
            return v2.OpenSignatureBody(type=types[name.upper()])
        case Vector(element):
            return v2.OpenSignatureBody(
                type=types.VECTOR, type_parameter_instantiation=[_body(package, element)]
            )
        case TypeParameter(index):
            return v2.OpenSignatureBody(type=types.TYPE_PARAMETER, type_parameter=index)
        case Datatype(address, module, name, arguments):
            home = address if any(address) else package  # a module's own zero address
            return v2.OpenSignatureBody(
                type=types.DATATYPE,
                type_name=f"{hex_address(home)}::{module}::{name}",
                type_parameter_instantiation=[_body(package, argument) for argument in arguments],
            )
    raise TypeError("a reference cannot stand inside a type")
